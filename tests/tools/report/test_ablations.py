"""The paper's ablations are filled by what checkpoints say of their training."""

from pathlib import Path

import pytest

from tests.tools.report.fixtures import directions, result
from tools.report.material.inputs import parse_result
from tools.report.results.ablations import ablation_tables
from tools.report.results.comparison import Comparison


def trained(arm, name=None, imagenet=0.5, clip="clip", **training):
    """A result of an arm whose R@1 is 0.2 from image to text and from text to image."""
    entry = {"arm": arm, "stage": "stage2", "adapter": {"num_blocks": 4}, "lambda_reg": 4e-4, "recipe": "proclip-3m"}
    scores = {"imagenet": {"accuracy": imagenet}, "dtd": {"accuracy": 0.1}}
    data = result(name or arm, clip=clip, retrieval={"all": directions(0.2, 9)}, drift=None, zeroshot_sets=scores)
    data["training"] = entry | training
    return parse_result(data, Path("a.json"))


def tables(results):
    return {one.heading: one.table for one in ablation_tables(Comparison(results))}


def test_components_are_shown_with_the_published_figures_next_to_them():
    clip = parse_result(result("CLIP", retrieval={"all": directions(0.1, 9)}, drift=None), Path("c.json"))
    arms = ["stage1@structure=False", "stage1", "no-distillation", "proclip"]
    table = tables([clip, *(trained(arm) for arm in arms)])["Components (table 5)"]
    assert table.groups == [("measured here", 3), ("paper", 3)]
    assert [column.name for column in table.columns] == 2 * ["ImageNet", "average I → T", "average T → I"]
    assert dict(table.rows)["CLIP"] == (None, 0.1, 0.1, 0.745, 0.669, 0.555)
    assert dict(table.rows)["stage1@structure=False"] == (0.5, 0.2, 0.2, 0.589, 0.693, 0.594)
    assert table.ranking(3) == []


def test_the_weight_is_read_from_the_checkpoint():
    arms = [trained(f"proclip@lambda_reg={text}", imagenet=0.1, lambda_reg=float(text)) for text in ("2e-4", "1e-3")]
    table = tables([*arms, trained("proclip@lambda_reg=5,epochs=3", lambda_reg=5.0)])
    rows = dict(table["Weight of the self-distillation (table 7)"].rows)
    assert {name: row[3] for name, row in rows.items()} == {
        "proclip@lambda_reg=2e-4": 0.603,
        "proclip@lambda_reg=1e-3": 0.625,
    }


def test_base_models_are_known_by_name():
    arms = [
        trained(arm, f"{arm}, {clip}", clip=clip)
        for clip in ("EVA02-L-14", "google/siglip2-so400m-patch14-224")
        for arm in ("llm2clip", "proclip")
    ]
    rows = tables(arms)["Base models (table 6)"].rows
    assert [row[3] for _, row in rows] == [0.564, 0.668, 0.638, 0.677]


def test_embedders_are_compared_on_the_sets_that_the_paper_gives():
    arms = [trained("proclip", n, embedder={"model": f"models/{n}"}) for n in ("NV-Embed-v2", "Llama-3-8B-CC", "other")]
    table = tables(arms)["Embedders (figure 6)"]
    names = [f"{column.group}: {column.name}" for column in table.columns]
    coco = names.index("paper: COCO T → I")
    assert [row[coco] for _, row in table.rows] == [0.517, 0.519, None]


def test_data_and_adapter_are_matched_by_scale_and_blocks():
    deep = trained("proclip@num_blocks=12", recipe="proclip-30m", adapter={"num_blocks": 12})
    rows = dict(tables([trained("proclip"), deep])["Data and adapter (table 14)"].rows)
    assert rows["proclip"][3:] == pytest.approx((0.625, 0.83, 0.805))
    assert rows["proclip@num_blocks=12"][3:] == pytest.approx((0.715, 0.868, 0.828))


def test_an_ablation_without_variation_is_absent():
    assert tables([trained("llm2clip", lambda_reg=0.0), trained("proclip")]) == {}
