"""Token states to one vector: every pooling by hand, on the left and on the right of padding."""

import pytest
import torch

from embedder.models.pooling import pool, pooling_of_folder
from store.common.errors import ConfigError

# one caption of three tokens with states 1, 2 and 6, the first of them template; padding holds 100
RIGHT = (torch.tensor([[[1.0], [2.0], [6.0], [100.0]]]), [True, True, True, False], [False, True, True, False])
LEFT = (torch.tensor([[[100.0], [1.0], [2.0], [6.0]]]), [False, True, True, True], [False, False, True, True])
EXPECTED = {"mean": 3.0, "mean-text": 4.0, "last": 6.0, "cls": 1.0, "max": 6.0}


@pytest.mark.parametrize(("states", "mask", "text"), [RIGHT, LEFT], ids=["right-padded", "left-padded"])
@pytest.mark.parametrize("pooling", EXPECTED)
def test_each_pooling_sees_only_its_tokens(states, mask, text, pooling):
    vector = pool(states, torch.tensor([mask]), torch.tensor([text]), pooling)
    assert vector.tolist() == [[EXPECTED[pooling]]]


def test_means_are_taken_in_float32():
    states = torch.full((1, 512, 1), 1.001, dtype=torch.bfloat16)  # bfloat16 would stop adding at 256
    mask = torch.ones(1, 512, dtype=torch.bool)
    vector = pool(states, mask, mask, "mean")
    assert vector.dtype == torch.float32
    assert vector.item() == 1.0


def test_an_unknown_pooling_names_those_there_are():
    ones = torch.ones(1, 1, dtype=torch.bool)
    with pytest.raises(ConfigError, match="no pooling 'median'; there are mean, mean-text, last, cls, max"):
        pool(torch.ones(1, 1, 1), ones, ones, "median")


@pytest.mark.parametrize(
    ("settings", "pooling"),
    [
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_lasttoken": True, "include_prompt": True}, "last"),
        ({"pooling_mode_mean_tokens": True, "include_prompt": False}, "mean-text"),
        ({"pooling_mode": "lasttoken"}, "last"),
    ],
)
def test_the_pooling_of_a_sentence_transformers_folder_is_understood(settings, pooling):
    assert pooling_of_folder(settings) == pooling


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
        {"pooling_mode_weightedmean_tokens": True},
    ],
)
def test_a_pooling_that_is_not_implemented_is_refused(settings):
    with pytest.raises(ConfigError, match="name one with --pooling"):
        pooling_of_folder(settings)
