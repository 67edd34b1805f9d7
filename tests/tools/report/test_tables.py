"""Tables and verdicts say what the numbers say."""

from pathlib import Path

import pytest

from tests.tools.report.fixtures import ARMS, directions, result
from tools.report.material.average import average_results
from tools.report.material.inputs import parse_result
from tools.report.pages.documents import markdown_table
from tools.report.pages.terminal import text_table
from tools.report.results.comparison import Comparison
from tools.report.results.summary import details, summary
from tools.report.results.tables import spreads, unmoved


def arm(name, **changes):
    return parse_result(result(name, **changes), Path("arm.json"))


@pytest.fixture
def arms():
    return [arm(name) for name in ARMS]


def value(table, name, title):
    titles = [f"{column.group}: {column.name}" for column in table.columns]
    return dict(table.rows)[name][titles.index(title)]


def test_the_summary_takes_means_over_recalls_and_directions(arms):
    table = summary(arms)
    # ProCLIP: R@1 4 / 33.25, R@5 twice, R@10 three times as much: their mean is twice R@1
    assert value(table, "ProCLIP", "short: recall") == pytest.approx(2 * 4 / 33.25)
    # 33.25 from image to text, 34.25 from text to image
    assert value(table, "ProCLIP", "short: rank") == 33.75
    assert value(table, "ProCLIP", "long: rank") == 25.75
    assert value(table, "LLM2CLIP", "drift: rank") == 70.5
    assert value(table, "CLIP", "zero-shot: top-1") == 0.3


def test_measures_that_no_arm_has_are_left_out_and_single_gaps_are_none():
    table = summary(
        [arm("CLIP", zeroshot=None), arm("ProCLIP", zeroshot=None, retrieval={"short": directions(0.2, 9)})]
    )
    assert [column.group for column in table.columns] == ["short", "short", "long", "long", "drift"]
    assert value(table, "ProCLIP", "long: rank") is None
    assert table.ranking(3) == [("CLIP", 32.5)]


def test_the_best_is_the_highest_recall_and_the_lowest_rank(arms):
    table = summary(arms)
    best = {(name, i) for name in ARMS for i in range(len(table.columns)) if table.is_best(name, i)}
    assert best == {*(("ProCLIP", index) for index in (0, 1, 2, 3, 4, 6)), ("CLIP", 5)}


def test_values_that_look_equal_share_the_first_place_and_no_one_is_best_among_equals():
    two = [
        arm("A", num_images=9, zeroshot={"top1": 0.50004, "top5": 0.9, "num_classes": 3}),
        arm("B", num_images=9, zeroshot={"top1": 0.5, "top5": 0.8, "num_classes": 3}),
        arm("C", num_images=9, zeroshot={"top1": 0.4, "top5": 0.8, "num_classes": 3}),
    ]
    table = summary(two)
    top1 = [column.name for column in table.columns].index("top-1")
    assert [table.is_best(name, top1) for name in "ABC"] == [True, True, False]
    assert [table.is_best(name, 0) for name in "ABC"] == [False, False, False]


def test_arms_that_left_the_image_encoder_alone_do_not_compete_in_drift(arms):
    assert unmoved(arms) == {"CLIP", "stage 1 only"}
    table = summary(arms)
    assert table.ranking(4) == [("ProCLIP", 43.0), ("LLM2CLIP", 70.5)]
    heading, drift = details(arms)[-1]
    assert heading == "Drift probe"
    assert drift.is_best("ProCLIP", 3)


def test_details_hold_every_measure_of_both_directions(arms):
    tables = dict(details(arms))
    assert list(tables) == ["Retrieval, short", "Retrieval, long", "Drift probe"]
    rows = dict(tables["Retrieval, long"].rows)
    assert rows["CLIP"] == (0.125, 0.25, 0.375, 32.0, 7.0, 0.125, 0.25, 0.375, 33.0, 7.0)


def test_the_text_table_reads_as_written_by_hand():
    two = [
        arm("CLIP", drift=None, retrieval={"short": directions(0.1, 40.0)}),
        arm("ProCLIP", drift=None, retrieval={"short": directions(0.125, 40.0)}),
    ]
    assert text_table(two).split("\n\n")[0] == "\n".join(
        [
            "         short               zero-shot",
            "arm      recall ↑   rank ↓   top-1 ↑   top-5 ↑",
            "-----------------------------------------------",
            "CLIP       20.0 %     40.5    30.0 %*   50.0 %",
            "ProCLIP    25.0 %*    40.5    27.1 %    60.2 %*",
        ]
    )


def test_the_legend_explains_only_what_is_shown(arms):
    assert "drift: retrieval between" in text_table(arms)
    shown = text_table([arm("CLIP", drift=None), arm("ProCLIP", drift=None)])
    assert "drift" not in shown
    assert "recall: mean of R@1, R@5 and R@10" in shown


def test_long_group_names_do_not_shift_the_columns():
    sets = {"longSV_captions of another model": directions(0.1, 9), "raw": directions(0.1, 9)}
    two = [arm(name, drift=None, zeroshot=None, retrieval=sets) for name in "AB"]
    assert text_table(two).split("\n\n")[0] == "\n".join(
        [
            "     longSV_captions of another model  raw",
            "arm                recall ↑   rank ↓   recall ↑   rank ↓",
            "--------------------------------------------------------",
            "A                    20.0 %      9.5     20.0 %      9.5",
            "B                    20.0 %      9.5     20.0 %      9.5",
        ]
    )


def test_a_single_result_is_shown_in_full():
    single = arm("CLIP", retrieval={"short": directions(0.1, 40.0)}, drift=None)
    assert text_table([single]) == "\n".join(
        [
            "CLIP, 500 images         R@1     R@5    R@10  mean rank  median rank",
            "short, image to text  10.0 %  20.0 %  30.0 %       40.0          7.0",
            "short, text to image  10.0 %  20.0 %  30.0 %       41.0          7.0",
            "zero-shot over 120 classes: top-1 30.0 %, top-5 50.0 %",
        ]
    )


def test_the_json_objects_of_eval_can_be_shown_as_they_are(arms):
    assert text_table([result(name) for name in ARMS]) == text_table(arms)


def seeds_of(name, ranks, **changes):
    retrieval = [{"short": directions(0.1, rank)} for rank in ranks]
    return [
        arm(f"{name} (seed {seed})", retrieval=value, drift=None, zeroshot=None, **changes)
        for seed, value in enumerate(retrieval)
    ]


def test_seeds_of_an_arm_are_averaged():
    averaged = average_results([*seeds_of("A", [10, 20, 60]), *seeds_of("B", [5, 6, 7]), arm("C")])
    assert [(item.name, item.num_seeds) for item in averaged] == [("A", 3), ("B", 3), ("C", 1)]
    assert averaged[0].retrieval["short"]["image_to_text"]["mean_rank"] == 30.0
    assert averaged[0].retrieval["short"]["text_to_image"]["mean_rank"] == 31.0
    assert averaged[2].drift == arm("C").drift


def test_what_a_seed_lacks_is_not_averaged():
    full = [arm("A (seed 0)"), arm("A (seed 1)", drift=None, zeroshot=None, retrieval={"long": directions(0.1, 9)})]
    (averaged,) = average_results(full)
    assert (list(averaged.retrieval), averaged.drift, averaged.zeroshot) == (["long"], None, None)


def test_spreads_hold_deviation_lowest_and_highest_over_seeds():
    found = spreads([*seeds_of("A", [10, 20, 60]), arm("B", drift=None, zeroshot=None)], summary)
    # deviations of 10, 20, 60 from their mean 30: -20, -10, 30; (400 + 100 + 900) / 2 = 700
    assert found[("A", 1)].deviation == pytest.approx(700**0.5)
    assert (found[("A", 1)].low, found[("A", 1)].high) == (10.5, 60.5)
    assert {name for name, _ in found} == {"A"}


def test_seeds_are_one_line_of_mean_and_deviation():
    per_seed = [
        *seeds_of("A", [10, 20, 60]),
        arm("B", drift=None, zeroshot=None, retrieval={"short": directions(0.1, 9)}),
    ]
    text = text_table(per_seed)
    assert text.splitlines()[3:5] == [
        "A    20.0 ± 0.0 %   30.5 ± 26.5",
        "B          20.0 %           9.5*",
    ]
    assert "±: standard deviation over seeds (3 seeds)" in text
    assert "| A | 20.0 ± 0.0 % | 30.5 ± 26.5 |" in markdown_table(Comparison(per_seed).table(summary))


def test_the_markdown_table_has_bold_bests_and_escaped_bars():
    two = [
        arm("a|b", drift=None, zeroshot=None, retrieval={"short": directions(0.1, 40.0)}),
        arm("ProCLIP", drift=None, zeroshot=None, retrieval={"short": directions(0.125, 39.0)}),
    ]
    assert markdown_table(summary(two)).splitlines() == [
        "| arm | short: recall ↑ | short: rank ↓ |",
        "| --- | ---: | ---: |",
        "| a\\|b | 20.0 % | 40.5 |",
        "| ProCLIP | **25.0 %** | **39.5** |",
    ]
