"""The paper's figures come from the package's data, as fractions, and name arms and measures that there are."""

import pytest

from tools.compare.arms import GROUPS, expand
from tools.report import published
from tools.report.results import paper


def test_figures_are_fractions_by_measure():
    row = published.find("retrieval_r1", "ViT-L/14", "ProCLIP", "3M")
    assert (row.values["coco_i2t"], row.values["urban1k_t2i"], row.values["avg_i2t"]) == (0.664, 0.923, 0.83)
    assert published.find("zeroshot", "ViT-L/14", "CLIP").values["avg"] == 0.757
    assert published.find("robustness", "ViT-L/14", "LLM2CLIP", "30M").values["imagenet_a"] == 0.527
    assert published.find("linear_probe", "ViT-B/16", "ProCLIP", "3M").values["imagenet"] == 0.797


@pytest.mark.parametrize(
    ("name", "rows", "measures"),
    [("retrieval_r1", 21, 14), ("zeroshot", 21, 12), ("robustness", 7, 5), ("linear_probe", 13, 12)],
)
def test_tables_are_whole(name, rows, measures):
    table = published.table(name)
    assert len(table) == rows
    assert {len(row.values) for row in table} == {measures}
    assert all(0 < value < 1 for row in table for value in row.values.values())


def test_ablations_name_the_arms_of_keyclip_compare():
    for row in published.table("ablations"):
        (arm,) = expand([row.about["arm"]])
        assert arm.name == row.about["arm"]
    arms = {
        study: [row.about["arm"] for row in published.study(study)] for study in ("components", "lambda_reg", "scale")
    }
    assert arms["components"] == list(GROUPS["table5"])
    assert arms["lambda_reg"] == list(GROUPS["table7"])
    assert set(arms["scale"]) == set(GROUPS["table14"])


def test_ablations_agree_with_the_tables_they_repeat():
    repeated = [row for row in published.study("scale") if row.about["num_blocks"] == "4" and row.data != "1M"]
    assert len(repeated) == 6
    for row in repeated:
        retrieval = published.find("retrieval_r1", row.base_model, row.method, row.data).values
        zero_shot = published.find("zeroshot", row.base_model, row.method, row.data).values
        expected = {name: retrieval[name] for name in ("avg_i2t", "avg_t2i")} | {"imagenet": zero_shot["imagenet"]}
        assert row.values == expected


def test_values_that_are_not_published_are_absent():
    (row,) = published.study("embedder")
    assert "avg_i2t" not in row.values
    assert row.values["coco_t2i"] == 0.517


def test_a_row_that_is_not_there_or_not_alone_is_an_error():
    with pytest.raises(LookupError, match="0 rows of LiT on ViT-L/14"):
        published.find("zeroshot", "ViT-L/14", "LiT")
    with pytest.raises(LookupError, match="3 rows of ProCLIP on ViT-L/14 at None in zeroshot; expected one"):
        published.find("zeroshot", "ViT-L/14", "ProCLIP")


def test_the_report_s_sets_are_the_columns_of_the_paper():
    retrieval = published.table("retrieval_r1")[0].values
    assert {name for name in paper.RETRIEVAL if name != "xm3600"} == {
        name.removesuffix("_i2t") for name in retrieval if name.endswith("_i2t") and name != "avg_i2t"
    }
    assert set(paper.ZERO_SHOT) == set(published.table("zeroshot")[0].values) - {"avg"}
