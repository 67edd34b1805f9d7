"""``keyclip compare``: settings that do not fit are refused before anything is trained."""

import pytest

from store.common.errors import ConfigError
from tools.commands.compare import Config
from tools.compare.arms import expand


def config(**changes):
    settings = {
        "output": "out",
        "clip": ("clip",),
        "finetune_shards": ("a.tar",),
        "test_shards": ("b.tar",),
        "store": "s",
    }
    return Config(**settings | changes)


def test_by_default_all_eight_arms_of_the_paper_are_compared():
    titles = [arm.title for arm in expand(config().arms)]
    assert titles == [
        "CLIP",
        "LiT",
        "LLM2CLIP",
        "stage 1 only",
        "without self-distillation",
        "without structure loss",
        "ProCLIP, fixed teacher",
        "ProCLIP",
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": ()}, r"arms is \(\); expected at least one"),
        ({"seeds": (1, 1)}, "seeds names one twice: 1, 1"),
        ({"stage2_steps": 0}, "stage2_steps is 0; expected at least 1"),
        ({"finetune_samples": (0,)}, r"finetune_samples is \(0,\); expected numbers of at least 1, each once"),
        ({"finetune_samples": (5, 5)}, r"finetune_samples is \(5, 5\); expected"),
        ({"epochs": 0}, "epochs is 0; expected at least 1"),
        ({"clip": ("a", "b")}, "several clips need a name each, as NAME=a; got a, b"),
        ({"model": ("a=x", "a=y")}, "several models need a name each"),
        ({"model": ("a",), "embedder": ("x", "y")}, r"one model has no 2 names \(x, y\); give one of them"),
        ({"store": None}, "give --store with all vectors in it, or --model"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        config(**changes)
