"""The headline says in plain words what was shown, and under which conditions."""

from pathlib import Path

import pytest

from tests.tools.report.fixtures import ARMS, directions, log_lines, result
from tools.report.material.conditions import chance
from tools.report.material.inputs import Material, Run, parse_result
from tools.report.pages.contents import Report
from tools.report.results.claims import claims

SHORT = {"short": directions(0.1, 20)}


def arm(name, **changes):
    return parse_result(result(name, **changes), Path("arm.json"))


def plain(name, recall=0.1, **changes):
    """A result with one retrieval set and nothing else."""
    return arm(name, drift=None, zeroshot=None, retrieval={"all": directions(recall, 20)}, **changes)


def report(results, runs=(), **changes):
    return Report(Material(runs, results), "x", **changes)


def test_claims_are_long_captions_short_captions_zero_shot_and_drift():
    table = claims([arm(name) for name in ARMS])
    assert [column.name for column in table.columns] == [
        *("retrieval, long captions", "retrieval, short captions", "zero-shot accuracy", "drift, mean rank")
    ]
    # recall is twice R@1, which is 5 / 33.25 of long captions and 4 / 33.25 of short ones; ranks 42.5 and 43.5
    assert dict(table.rows)["ProCLIP"] == pytest.approx((10 / 33.25, 8 / 33.25, 9 / 33.25, 43.0))


def test_the_papers_sets_of_long_captions_are_known_and_parts_have_claims_of_their_own():
    names = ["coco", "Urban-1k", "dci", "coco, dogs", "dci, dogs"]
    values = {name: directions(0.1 * place, 9) for place, name in enumerate(names, start=1)}
    sets = {"coco, dogs": {"part": True}, "dci, dogs": {"part": True}}
    table = claims([arm("A", retrieval=values, sets=sets, drift=None, zeroshot=None)])
    assert [column.phrase for column in table.columns] == [
        *("retrieval of long captions", "retrieval of short captions", "retrieval of dogs")
    ]
    assert table.rows[0][1] == pytest.approx((0.5, 0.2, 0.9))


def test_the_headline_groups_claims_by_what_they_show():
    assert report([arm(name) for name in ARMS]).headline == (
        "In retrieval of long captions and retrieval of short captions, ProCLIP is better than CLIP and LLM2CLIP. "
        "In zero-shot accuracy, it is better than LLM2CLIP but worse than CLIP. "
        "In drift, it is better than LLM2CLIP. "
        "Whether that is more than chance is not known: the results hold no ranks."
    )


def test_a_proclip_that_loses_is_said_to_lose():
    text = report([plain("CLIP", 0.2), plain("LLM2CLIP", 0.3), plain("ProCLIP", 0.1)]).headline
    assert text.startswith("In retrieval, ProCLIP is worse than CLIP and LLM2CLIP.")


def test_without_clip_and_llm2clip_every_other_arm_is_named():
    text = report([plain("other", 0.2), plain("third", 0.1), plain("ProCLIP seed 1", 0.1)]).headline
    assert text.startswith("In retrieval, ProCLIP seed 1 is no different beyond noise from third but worse than other.")


def test_every_point_of_a_grid_is_compared_with_its_own_clip():
    trained = {name: {"arm": name, "stage": "stage2"} for name in ("proclip", "llm2clip")}
    results = [
        plain("CLIP, b32", 0.1, checkpoint=None),
        plain("CLIP, l14", 0.2, checkpoint=None),
        plain("ProCLIP, b32, 10 samples", 0.3, training=trained["proclip"]),
        plain("LLM2CLIP, b32, 10 samples", 0.2, training=trained["llm2clip"]),
        plain("ProCLIP, l14, 10 samples", 0.1, training=trained["proclip"]),
    ]
    first, second = report(results).contests
    assert [name for name, _ in first.rows] == ["CLIP, b32", "LLM2CLIP, b32, 10 samples"]
    assert [(name, cells[0].kind) for name, cells in second.rows] == [("CLIP, l14", "worse")]


def test_without_proclip_the_headline_names_the_leaders():
    two = [plain("A", 0.2), plain("B", 0.1)]
    assert report(two).headline == "Best arms: A in retrieval."
    assert report([plain("A"), plain("B")]).headline == "The arms share no measure."


def test_a_single_arm_is_described_and_no_arm_is_not_judged():
    assert report([plain("CLIP")]).headline == "CLIP on 500 images: retrieval 20.0 %."
    assert report([]).headline == "These runs have not been evaluated yet."


def test_wins_are_counted_seed_by_seed_and_ties_are_no_wins():
    ours = [plain(f"ProCLIP (seed {seed})", recall) for seed, recall in enumerate((0.3, 0.2, 0.1))]
    theirs = [plain(f"LLM2CLIP (seed {seed})", 0.2) for seed in range(3)]
    (contest,) = report([*ours, *theirs, plain("CLIP", 0.1)]).contests
    assert {name: cells[0].seeds for name, cells in contest.rows} == {
        "LLM2CLIP": "1 of 3 seeds",
        "CLIP": "2 of 3 seeds",
    }


def test_conditions_name_model_pretraining_data_budgets_test_sets_and_seeds():
    training = {"recipe": "proclip-3m", "stage": "stage2", "step": 20, "datasets": {"a": {"samples": 3000}}}
    changes = {
        "clip": "openai/clip-vit-base-patch32",
        "training": training,
        "sets": {"all": {"num_images": 500}, "all, dogs": {"num_images": 50, "part": True}},
    }
    results = [plain(f"{name} (seed {seed})", **changes) for name in ("LLM2CLIP", "ProCLIP") for seed in (0, 1)]
    assert report(results).conditions == [
        "Base model: openai/clip-vit-base-patch32 (ViT-B/32).",
        "OpenAI's CLIP was pretrained on 400 million pairs from the web that are not public: they may hold images like "
        "the test images.",
        "Fine-tuned on 3,000 samples, by the recipe proclip-3m.",
        "Equal budgets: every tuned arm was given 20 steps in stage 2.",
        "Evaluated on all (500 images).",
        "Each arm was trained with 2 seeds: values are means ± standard deviation.",
    ]


def test_unequal_budgets_unknown_pretraining_and_a_single_seed_are_said():
    runs = [
        Run(name, Path(name), {"stage": "stage2"}, list(log_lines(steps))) for name, steps in (("a", 20), ("b", 30))
    ]
    found = report([plain("CLIP"), plain("ProCLIP")], runs).conditions
    assert "--pretraining" in found[1]
    assert found[2] == "Budgets are not equal: samples in stage 2: a 51,200, b 76,800."
    assert found[3:] == [
        "Evaluated on 500 test images.",
        "Each arm was trained once, with one seed: how far another seed would move it is not known.",
    ]
    assert report([plain("CLIP")], pretraining="It has seen scenes.").conditions[1] == "It has seen scenes."


def test_chance_is_estimated_from_the_fewest_images():
    # two standard errors of a share of one half: 2 * sqrt(0.25 / 400) = 0.05
    assert "With 400 images" in chance([arm("A", num_images=400), arm("B", num_images=1000)])
    assert "±5.0 points" in chance([arm("A", num_images=400)])
