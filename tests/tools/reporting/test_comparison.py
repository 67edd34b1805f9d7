"""Arms are told apart only beyond noise, and the paper's tables stand with what was published."""

from pathlib import Path

import numpy as np
import pytest

from tests.tools.reporting.fixtures import directions, result
from tools.reporting import languages, paper
from tools.reporting.tables import summary
from tools.reporting.comparison import Comparison
from tools.reporting.inputs import Material, parse_result
from tools.reporting.queries import WAYS, pack
from tools.reporting.pairs import Cell, pairs
from tools.reporting.report import Report
from tools.reporting.terminal import comparison_text, markdown_table

QUERIES = 200


def ranked(name, shift=0, images="00000000000000aa", **changes):
    """A result on 200 images whose ranks are 1 to 200 and ``shift`` more, the same in every seed."""
    ranks = np.arange(1, QUERIES + 1) + shift
    way = {"ranks": pack(ranks), "groups": pack(np.arange(QUERIES))}
    values = {"R@1": float((ranks <= 1).mean()), "R@5": float((ranks <= 5).mean()), "R@10": float((ranks <= 10).mean())}
    values |= {"mean_rank": float(ranks.mean()), "median_rank": float(np.median(ranks))}
    entry = {"images": images, "texts": images, "num_images": QUERIES, "part": False, **dict.fromkeys(WAYS, way)}
    data = result(name, drift=None, zeroshot=None, retrieval={"short": dict.fromkeys(WAYS, values)})
    queries = {"retrieval": {"short": entry}, "drift": {}, "zeroshot": {}}
    data |= {"queries": queries, "bootstrap": {"resamples": 200, "level": 0.95, "seed": 0}, **changes}
    return parse_result(data, Path(f"{name}.json"))


def rank_column(comparison):
    return next(column for column in comparison.table(summary).columns if column.name == "rank")


def test_a_constant_shift_of_the_ranks_is_beyond_noise():
    comparison = Comparison([ranked("CLIP", 3), ranked("ProCLIP")])
    found = comparison.difference("ProCLIP", "CLIP", rank_column(comparison))
    # paired query by query, every difference is -3: there is no noise in it
    assert (found.value, found.low, found.high) == (-3, -3, -3)
    assert not found.within_noise


def test_seeds_that_disagree_are_within_noise():
    results = [ranked(f"A (seed {seed})", shift) for seed, shift in enumerate((0, 8))]
    results += [ranked(f"B (seed {seed})", shift) for seed, shift in enumerate((6, 4))]
    comparison = Comparison(results)
    found = comparison.difference("A", "B", rank_column(comparison))
    assert found.value == pytest.approx(-1)
    assert found.within_noise  # -6 in one seed, +4 in the other
    table = comparison.table(summary)
    assert ("B", 1) in table.level
    assert "105.5 ± 1.4≈" in comparison_text(comparison)


def test_only_seeds_that_both_arms_have_are_compared_and_clip_stands_against_all():
    results = [ranked("CLIP", 10), *(ranked(f"A (seed {s})", s) for s in (0, 1)), ranked("B (seed 1)", 0)]
    comparison = Comparison(results)
    column = rank_column(comparison)
    assert comparison.difference("A", "B", column).value == pytest.approx(1)  # seed 1 alone
    assert comparison.difference("A", "CLIP", column).value == pytest.approx(0.5 - 10)


def test_results_of_other_images_or_without_ranks_are_not_compared():
    other = ranked("B", images="00000000000000bb")
    without = parse_result(result("C"), Path("C.json"))
    comparison = Comparison([ranked("A"), other, without])
    column = rank_column(comparison)
    assert comparison.difference("A", "B", column) is None
    assert comparison.difference("A", "C", column) is None


def test_the_pairs_table_shows_differences_intervals_and_seeds():
    results = [ranked("CLIP", 3), *(ranked(f"ProCLIP (seed {seed})") for seed in (0, 1))]
    ((arm, cells),) = pairs(Report(Material(results=results), "x"))
    minus = "\N{MINUS SIGN}"
    assert arm == "CLIP"
    assert cells[1] == Cell(f"{minus}3.0", f"[{minus}3.0, {minus}3.0]", "2 of 2 seeds", "better")


def test_the_verdict_counts_what_stands_beyond_noise():
    # of 200 ranks, R@1, R@5, R@10 lose 1, 3, 3 queries by a shift of 3; the ranks lose 3 each
    report = Report(Material(results=[ranked("LLM2CLIP", 3), ranked("ProCLIP")]), "x")
    assert report.verdict.headline.startswith(
        "ProCLIP is the best arm in 2 of 2 measures. Beyond noise it beats LLM2CLIP in 2 of 2. It is beaten by none"
    )


def test_published_rows_stand_below_where_their_sets_are_among_the_results():
    sets = {"mine": directions(0.1, 9), "coco-karpathy": directions(0.2, 5), "Flickr30k": directions(0.3, 4)}
    table = paper.retrieval([parse_result(result("ProCLIP", retrieval=sets), Path("p.json"))])
    assert [column.group for column in table.columns[::2]] == ["Flickr30k", "COCO", "mine"]
    assert table.references == ("CLIP, published", "LLM2CLIP, published", "ProCLIP, published")
    assert dict(table.rows)["ProCLIP, published"] == (0.928, 0.811, 0.664, 0.519, None, None)
    assert not table.is_best("ProCLIP, published", 0)
    assert "| *LLM2CLIP, published* | 92.4 % | 80.1 % | 65.5 % | 49.7 % | - | - |" in markdown_table(table)
    assert paper.retrieval([parse_result(result("CLIP"), Path("c.json"))]).references == ()


def zero_shot_result(names, accuracy):
    sets = {name: {"accuracy": accuracy, "top1": accuracy, "top5": 0.9, "primary": "top1"} for name in names}
    return parse_result(result("ProCLIP", zeroshot_sets=sets), Path("p.json"))


def test_the_published_average_stands_only_beside_that_of_all_eleven_sets():
    some = paper.zero_shot([zero_shot_result(["imagenet", "cifar10"], 0.5)])
    assert [column.name for column in some.columns] == ["CIFAR10", "ImageNet", "average of 2"]
    assert dict(some.rows)["ProCLIP, published"] == (0.966, 0.625, None)
    every = paper.zero_shot([zero_shot_result(list(paper.ZERO_SHOT), 0.5)])
    assert len(every.columns) == 12
    assert every.columns[-1].name == "average of 11"
    assert [dict(every.rows)[arm][-1] for arm in every.references] == [0.757, 0.544, 0.649]
    assert dict(every.rows)["ProCLIP"][-1] == pytest.approx(0.5)


def test_many_sets_are_summed_up_by_their_mean_without_the_parts():
    sets = {f"set{i}": directions(0.1 * i, 10 * i) for i in range(1, 6)}
    data = result("A", retrieval=sets, drift=None, zeroshot=None, sets={"set5": {"part": True}})
    table = summary([parse_result(data, Path("a.json"))])
    assert [(column.group, column.name) for column in table.columns] == [("4 sets", "recall"), ("4 sets", "rank")]
    # mean ranks 10, 20, 30, 40 from image to text, one more from text to image
    assert table.rows[0][1][1] == 25.5


def test_languages_are_rows_and_their_mean_stands_first():
    first = {"en": directions(0.4, 9), "bn": directions(0.1, 9)}
    arms = [
        parse_result(result("A", languages={"xm3600": first}), Path("a.json")),
        parse_result(result("B", languages={"xm3600": {"en": directions(0.3, 9)}}), Path("b.json")),
    ]
    assert languages.rows("xm3600", arms) == [("all", [0.25, None]), ("bn", [0.1, None]), ("en", [0.4, 0.3])]
    assert "<strong>40.0 %</strong>" in languages.section(arms)
    assert languages.section([parse_result(result("C"), Path("c.json"))]) is None
