"""The averages of a result, by hand: which sets count in which table, and with which accuracy."""

import numpy as np
import pytest
import torch

from tools.evaluate.result import Result
from tools.report.material.queries import measurements
from trainer.evaluation.sets.class_names import Classes
from trainer.evaluation.sets.contrasts import Contrasts
from trainer.evaluation.texts import Texts

EYE = torch.eye(4)


def retrieval(result, name, right, **entries):
    """Four images with a caption each, of which the first ``right`` lie at their image and the others elsewhere."""
    texts = torch.cat([EYE[:right], EYE[right:].roll(1, dims=0)])
    own = Texts(texts, [(i,) for i in range(4)], [f"{name}/{i}" for i in range(4)], entries.pop("language", ""))
    result.add_retrieval(name, EYE, list("abcd"), [own], [own], **entries)


def zeroshot(result, name, guesses, labels, primary, table="zeroshot"):
    images = EYE[torch.tensor(guesses)]
    keys = [str(i) for i in range(len(guesses))]
    classes = Classes("label", {}, [], primary, table)
    result.add_zeroshot(name, images, keys, classes, EYE[:3], torch.tensor(labels))


def test_retrieval_averages_over_whole_sets_in_one_language_both_ways():
    result = Result(parts={"last": torch.tensor([2, 3])})  # of docci no caption of the last two is right
    retrieval(result, "coco", 4)
    retrieval(result, "docci", 2)
    assert result.retrieval["docci, last"]["text_to_image"]["R@1"] == 0
    retrieval(result, "xm3600", 0, language="en")
    averages = result.entries()["averages"]
    assert averages["retrieval"]["sets"] == ["coco", "docci"]
    for way in ("image_to_text", "text_to_image"):
        assert averages["retrieval"][way]["R@1"] == pytest.approx((1 + 0.5) / 2)
        assert averages["multilingual"][way]["R@1"] == 0
    found = measurements({"queries": result.queries, "bootstrap": {"resamples": 9, "level": 0.95, "seed": 0}})
    assert found["retrieval"][""]["image_to_text/R@1"].value == pytest.approx(0.75)


def test_zero_shot_averages_each_sets_own_accuracy_without_the_robustness_sets():
    """pets: 3 of class 0 right, the one of class 1 wrong: top-1 3/4, mean per class 1/2. food: 1 of 2 right."""
    result = Result()
    zeroshot(result, "pets", [0, 0, 0, 0], [0, 0, 0, 1], "mean_per_class")
    zeroshot(result, "food", [2, 0], [2, 1], "top1")
    zeroshot(result, "imagenet-a", [0, 0], [1, 1], "top1", "robustness")
    zeroshot(result, "imagenet-r", [1, 0], [1, 1], "top1", "robustness")
    entries = result.entries()
    averages = entries["averages"]
    assert averages["zeroshot"]["accuracy"] == pytest.approx((0.5 + 0.5) / 2)
    assert averages["zeroshot"]["top1"] == pytest.approx((0.75 + 0.5) / 2)
    assert entries["zeroshot"]["accuracy"] == averages["zeroshot"]["accuracy"]
    assert averages["robustness"]["accuracy"] == pytest.approx((0 + 0.5) / 2)
    assert averages["robustness"]["sets"] == ["imagenet-a", "imagenet-r"]


def test_kinds_count_equally_in_the_mean_of_a_set_of_contrasts():
    """swap: 1 of 1 right; add: 1 of 3 right."""
    contrasts = Contrasts(table="composition")
    for kind, numbers in (("swap", [0]), ("add", [1, 2, 3])):
        for number in numbers:
            contrasts.ask(kind, (f"{number}.jpg",), {f"{kind}/{number}#true": "t", f"{kind}/{number}#false": "f"})
    true, false = EYE, EYE.clone()
    texts = torch.stack([true[0], false[1], true[1], false[2], true[0], false[2], true[0], false[3]])
    result = Result()
    result.add_contrasts("sugar", contrasts, EYE, texts)
    entry = result.entries()["composition"]["sugar"]
    assert {kind: one["accuracy"] for kind, one in entry["kinds"].items()} == {"swap": 1, "add": pytest.approx(1 / 3)}
    assert entry["accuracy"] == pytest.approx((1 + 1 / 3) / 2)
    found = measurements({"queries": result.queries, "bootstrap": {"resamples": 9, "level": 0.95, "seed": 0}})
    assert found["composition"]["sugar"]["accuracy"].value == pytest.approx((1 + 1 / 3) / 2)
    replicates = found["composition"]["sugar/swap"]["accuracy"].replicates
    assert set(replicates[np.isfinite(replicates)]) == {1.0}  # some draws have no image of the one question


def test_cka_is_averaged_over_the_sets_where_it_means_something():
    """Fewer than 4 images have none; neither have images that are all equally far from each other."""
    result = Result()
    line, half = torch.tensor([[0.0], [1.0], [3.0], [7.0]]), torch.tensor([[1.0], [1.0], [0.0], [0.0]])
    result.add_cka("coco", line, line)
    result.add_cka("docci", half, half.roll(1, dims=0))  # -1/2, see tests/trainer/evaluation/test_cka.py
    result.add_cka("tiny", EYE[:3], EYE[:3])
    result.add_cka("same", EYE, EYE)
    assert result.entries()["averages"]["cka"] == {"sets": ["coco", "docci"], "cka": pytest.approx((1 - 0.5) / 2)}
