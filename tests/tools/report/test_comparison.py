"""Arms differ only beyond noise, and the paper's tables show the published rows."""

from pathlib import Path

import numpy as np
import pytest

from tests.tools.report.fixtures import directions, result
from tools.evaluate.packed_ranks import WAYS, pack
from tools.report.material.inputs import Material, parse_result
from tools.report.pages.contents import Report
from tools.report.pages.documents import markdown_table
from tools.report.pages.terminal import comparison_text
from tools.report.results import paper
from tools.report.results.claims import Cell, Contest
from tools.report.results.comparison import Comparison
from tools.report.results.summary import language_tables, summary

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


def test_the_contest_shows_differences_intervals_and_seeds():
    results = [ranked("CLIP", 3), *(ranked(f"ProCLIP (seed {seed})") for seed in (0, 1))]
    (contest,) = Report(Material(results=results), "x").contests
    # of 200 ranks, R@1, R@5 and R@10 lose 1, 3 and 3 by a shift of 3: a mean of 7 / 600
    ((arm, (recall,)),) = contest.rows
    assert (arm, recall.difference, recall.seeds) == ("CLIP", "+1.2", "2 of 2 seeds")
    assert recall.kind in ("better", "level")
    assert recall.interval.startswith("[")


def test_the_headline_counts_only_what_is_beyond_noise():
    shifted = Report(Material(results=[ranked("LLM2CLIP", 100), ranked("ProCLIP")]), "x")
    assert shifted.headline == "In retrieval, ProCLIP is better than LLM2CLIP."
    same = Report(Material(results=[ranked("CLIP"), ranked("LLM2CLIP", 100), ranked("ProCLIP")]), "x")
    assert same.headline == "In retrieval, ProCLIP is better than LLM2CLIP but no different beyond noise from CLIP."
    assert same.contests[0].rows[0][1] == (Cell("+0.0", "[+0.0, +0.0]", "", "level"),)
    assert isinstance(same.contests[0], Contest)


def test_published_rows_fit_the_base_model_and_the_others_are_folded():
    sets = {"mine": directions(0.1, 9), "coco-karpathy": directions(0.2, 5), "Flickr30k": directions(0.3, 4)}
    data = result("ProCLIP", retrieval=sets, drift=None, clip="openai/clip-vit-base-patch16")
    data["training"] = {"recipe": "proclip-15m-vitb16"}
    (one, *_) = paper.paper_tables(Comparison([parse_result(data, Path("p.json"))]))
    assert [name for name, _ in one.table.groups] == ["average of 3", "Flickr30k", "COCO", "mine"]
    assert one.table.references == ("CLIP, ViT-B/16, 400M", "LLM2CLIP, ViT-B/16, 15M", "ProCLIP, ViT-B/16, 15M")
    published = dict(one.table.rows)["CLIP, ViT-B/16, 400M"]
    assert (published[:2], published[-2:]) == ((None, None), (None, None))  # not the average of six sets, and not mine
    assert not one.table.is_best("CLIP, ViT-B/16, 400M", 2)
    assert len(one.others.rows) == 21 - 3
    assert "| *CLIP, ViT-B/16, 400M* | - | - |" in markdown_table(one.table)


def test_without_a_known_base_model_the_published_rows_are_those_of_vit_l_14_on_3m():
    sets = {"coco": directions(0.2, 5), "flickr30k": directions(0.3, 4)}
    (one, *_) = paper.paper_tables(Comparison([parse_result(result("ProCLIP", retrieval=sets), Path("p.json"))]))
    assert dict(one.table.rows)["ProCLIP, ViT-L/14, 3M"] == (None, None, 0.928, 0.811, 0.664, 0.519)
    (none, *_) = paper.paper_tables(Comparison([parse_result(result("CLIP"), Path("c.json"))]))
    assert (none.table.references, none.others) == ((), None)


def zero_shot_result(names, accuracy):
    sets = {name: {"accuracy": accuracy, "top1": accuracy, "top5": 0.9, "primary": "top1"} for name in names}
    return parse_result(result("ProCLIP", zeroshot_sets=sets), Path("p.json"))


def test_the_published_average_is_shown_only_for_all_eleven_sets():
    def table(names):
        found = paper.paper_tables(Comparison([zero_shot_result(names, 0.5)]))
        return next(one.table for one in found if one.heading.startswith("Zero-shot"))

    some = table(["imagenet", "cifar10"])
    assert [column.name for column in some.columns] == ["average of 2", "CIFAR10", "ImageNet"]
    assert dict(some.rows)["ProCLIP, ViT-L/14, 3M"] == (None, 0.966, 0.625)
    every = table(list(paper.ZERO_SHOT))
    assert len(every.columns) == 12
    assert [dict(every.rows)[arm][0] for arm in every.references] == [0.757, 0.544, 0.649]
    assert dict(every.rows)["ProCLIP"][0] == pytest.approx(0.5)


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
    rows = [("all", [0.25, None]), ("bn", [0.1, None]), ("en", [0.4, 0.3])]
    assert language_tables(arms) == [("xm3600", ["A", "B"], rows)]
    assert language_tables([parse_result(result("C"), Path("c.json"))]) == []
