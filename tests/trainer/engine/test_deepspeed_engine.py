"""Optimiser settings by hand: which parameters decay, and the learning rate of every step."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch

from store.common.errors import ConfigError
from store.common.settings import build
from trainer.engine.deepspeed_engine import float32_copies, learning_rate_at, parameter_groups
from trainer.model.adapter import Adapter
from trainer.settings.config import RunConfig


def make_config(**settings) -> RunConfig:
    return build(RunConfig, {"output": Path("run"), "learning_rate": 1.0, **settings})


def test_matrices_decay_and_biases_norms_and_the_temperature_do_not():
    module = torch.nn.Module()
    module.adapter = Adapter(4, 2, num_blocks=1)
    module.logit_scale = torch.nn.Parameter(torch.ones(1))
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    decayed, free = parameter_groups(module.named_parameters(), 0.05)
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.05, 0.0)
    assert {names[id(parameter)] for parameter in decayed["params"]} == {
        "adapter.blocks.0.up.weight",
        "adapter.blocks.0.down.weight",
        "adapter.projection.weight",
    }
    assert len(free["params"]) == len(names) - 3
    assert "logit_scale" in {names[id(parameter)] for parameter in free["params"]}


def test_each_share_of_the_learning_rate_has_groups_of_its_own():
    module = torch.nn.ModuleDict({"slow": torch.nn.Linear(3, 3), "fast": torch.nn.Linear(3, 3)})
    groups = parameter_groups(module.named_parameters(), 0.05, lambda name: 0.25 if "slow" in name else 1.0)
    found = [(group["lr_scale"], group["weight_decay"], len(group["params"][0].shape)) for group in groups]
    assert found == [(0.25, 0.05, 2), (0.25, 0.0, 1), (1.0, 0.05, 2), (1.0, 0.0, 1)]


def test_parameters_that_are_not_trained_are_in_no_group():
    layer = torch.nn.Linear(3, 3)
    layer.weight.requires_grad_(False)
    (group,) = parameter_groups(layer.named_parameters(), 0.05)
    assert group["params"] == [layer.bias]


def test_weights_are_copied_only_where_they_will_be_rounded():
    layer = torch.nn.Linear(3, 3)
    assert float32_copies(layer, "fp32") == {}
    assert set(float32_copies(layer, "bf16")) == set(layer.parameters())


def test_the_learning_rate_warms_up_linearly_and_falls_as_a_cosine():
    optim = make_config(warmup_steps=4).optim
    rates = [learning_rate_at(step, optim, 12) for step in range(13)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    # eight steps of cosine: 1 at the first, one half in the middle, 0 after the last
    assert rates[4] == 1.0
    assert rates[8] == pytest.approx(0.5)
    assert rates[6] == pytest.approx(0.5 + 0.5**1.5)  # (1 + cos 45 degrees) / 2
    assert rates[12] == pytest.approx(0.0)
    assert all(a > b for a, b in pairwise(rates[4:]))


def test_without_warm_up_the_first_step_has_the_peak():
    assert learning_rate_at(0, make_config().optim, 10) == 1.0
    assert learning_rate_at(0, make_config().optim, 1) == 1.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0; expected at least 1"),
        ({"epochs": 0}, "epochs is 0; expected at least 1"),
        ({"max_steps": 0}, "max_steps is 0; expected at least 1"),
        ({"learning_rate": -1.0}, r"learning_rate is -1\.0; expected above 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan; expected above 0"),
        ({"beta2": 1.0}, r"beta2 is 1\.0; expected between 0 and 1"),
        ({"weight_decay": -0.1}, r"weight_decay is -0\.1; expected at least 0"),
        ({"workers": -1}, "workers is -1; expected at least 0"),
        ({"seed": -1}, "seed is -1; expected at least 0"),
        ({"threads": 0}, "threads is 0; expected at least 1"),
        ({"keep_checkpoints": 0}, "keep_checkpoints is 0; expected at least 1"),
        ({"checkpoint_minutes": 0.0}, r"checkpoint_minutes is 0\.0; expected above 0"),
        ({"zero_stage": 4}, "zero_stage is 4; expected 0, 1 or 2"),
        ({"precision": "fp16", "zero_stage": 0}, "precision fp16 with zero_stage 0 is refused"),
        ({"zero_stage": 3}, "zero_stage 3 is refused: it splits the parameters themselves"),
    ],
)
def test_settings_out_of_range_are_refused_naming_value_and_range(settings, message):
    with pytest.raises(ConfigError, match=message):
        make_config(**settings)
