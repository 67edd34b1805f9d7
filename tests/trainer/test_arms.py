"""The arms that papers compare, each by its flags: where it starts, what moves, and which losses there are."""

from pathlib import Path

import numpy as np
import pytest
import torch

from store.common.command import parse_config
from store.common.errors import ConfigError
from store.common.settings import build as make
from tests.trainer.examples import CAPTION_DIM
from trainer.checkpoint.folder import save_checkpoint
from trainer.engine.deepspeed_engine import parameter_groups
from trainer.model.adapter import Adapter
from trainer.stage1 import Stage1, Stage1Config
from trainer.stage2 import Stage2, Stage2Config

SHAPE = {"dim_in": CAPTION_DIM, "dim_out": 16, "num_blocks": 4, "expansion": 2}
TWELVE = SHAPE | {"num_blocks": 12}
ALL = {"adapter", "image", "logit_scale"}
DISTILLED = {"loss", "loss/contrastive", "loss/distill_instance", "loss/distill_structure", "temperature"}
PLAIN = {"loss", "loss/contrastive", "temperature"}


@pytest.fixture
def stage1(settings, tmp_path) -> Path:
    """A run of stage 1 with the paper's adapter, which is the default."""
    fields = {"fields": ("llm/short",), "teacher_fields": ("clip/short",)}
    config = make(Stage1Config, {"output": tmp_path / "stage1", "store": settings["store"], **fields})
    torch.manual_seed(9)
    stage = Stage1(config)
    info = {"stage": "stage1", "step": 3, **stage.info}
    save_checkpoint(config.run.output, {"model": dict(stage.module.state_dict())}, info, 1)
    return config.run.output


def build(settings: dict, flags: list[object]) -> Stage2:
    """The stage that a command line makes."""
    words: list[object] = []
    for name, value in settings.items():
        words += [f"--{name.replace('_', '-')}", *(value if isinstance(value, tuple) else [value])]
    config = parse_config(Stage2Config, [str(word) for word in [*words, *flags]], "stage2")
    torch.manual_seed(config.run.seed)
    return Stage2(config)


def tune(stage: Stage2, rate: float = 1e-2) -> list[dict[str, float]]:
    """Three steps with PyTorch's own AdamW; the reports."""
    groups = parameter_groups(stage.module.named_parameters(), 0.05, stage.lr_scale)
    for group in groups:
        group["lr"] = rate * group["lr_scale"]
    optimizer, reports = torch.optim.AdamW(groups), []
    for step in range(3):
        batch = stage.data.load(np.arange(8 * step, 8 * step + 8), 0, np.arange(8))
        loss, report = stage.module({name: value for name, value in batch.items() if isinstance(value, torch.Tensor)})
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if stage.objective.teacher is not None:
            stage.objective.teacher.follow(stage.objective.image, stage.lora)
        reports.append({name: value.item() for name, value in report.items()})
    return reports


def weights(stage: Stage2) -> dict[str, torch.Tensor]:
    found = {name: value.detach().clone() for name, value in stage.module.named_parameters()}
    if stage.objective.teacher is not None:
        teacher = stage.objective.teacher.model
        found |= {f"teacher.{name}": value.detach().clone() for name, value in teacher.named_parameters()}
    return found


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    """The names of what changed."""
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


@pytest.mark.parametrize(
    ("flags", "from_stage1", "arm", "parts", "losses"),
    [
        ([], True, "proclip", ALL | {"teacher"}, DISTILLED),
        (["--teacher", "fixed"], True, "fixed", ALL, DISTILLED),
        (["--structure", "False"], True, "no-structure", ALL | {"teacher"}, DISTILLED),
        (["--lambda-reg", "0"], True, "no-distillation", ALL, PLAIN),
        (["--lambda-reg", 0], False, "llm2clip", ALL, PLAIN),
        (["--lock-image", "True"], False, "lit", {"adapter", "logit_scale"}, PLAIN),
        (["--lock-image", "True"], True, "lit", {"adapter", "logit_scale"}, PLAIN),
        (["--lora-rank", "2"], True, "proclip", ALL | {"teacher"}, DISTILLED),
        (["--lora-rank", "2", "--teacher", "fixed"], True, "fixed", ALL, DISTILLED),
    ],
    ids=["proclip", "fixed", "no structure", "contrastive", "llm2clip", "lit", "lit after 1", "lora", "lora fixed"],
)
def test_an_arm_starts_where_it_should_moves_what_it_should_and_has_its_losses(
    flags, from_stage1, arm, parts, losses, settings, stage1
):
    stage = build(settings, [*flags, "--ema-momentum", "0.5", *(["--stage1", stage1] if from_stage1 else [])])
    assert (stage.info["arm"], stage.info["adapter"]) == (arm, SHAPE)
    torch.manual_seed(9)
    start = Adapter(**SHAPE)  # as stage 1 drew it
    same = [torch.equal(p, start.state_dict().get(n, p + 1)) for n, p in stage.objective.adapter.named_parameters()]
    assert all(same) == from_stage1
    before = weights(stage)
    reports = tune(stage)
    changed = moved(before, weights(stage))
    assert {name.split(".")[0] for name in changed} == parts
    assert all(set(report) == losses for report in reports)
    image = {name for name in changed if name.startswith("image.")}
    if "--lora-rank" in flags:
        assert all("lora_" in name for name in image)
    elif "image" in parts:
        assert image == {name for name in before if name.startswith("image.")}
    if losses == DISTILLED:
        total = 0.2048 * (reports[-1]["loss/distill_instance"] + 255.5 * reports[-1]["loss/distill_structure"])
        assert reports[-1]["loss"] == pytest.approx(reports[-1]["loss/contrastive"] + total, rel=1e-4)
        assert total > 0
        assert (reports[-1]["loss/distill_structure"] == 0) == ("--structure" in flags)


def test_equal_seeds_give_equal_runs_and_another_seed_another(settings):
    flags = ["--lora-rank", "2", "--layer-decay", "0.5"]
    runs = [build(settings, [*flags, "--seed", seed]) for seed in (0, 0, 1)]
    first, again, other = (tune(stage) for stage in runs)
    assert first == again
    assert first != other
    assert not moved(weights(runs[0]), weights(runs[1]))


def test_gradient_checkpointing_changes_no_loss(settings):
    first, again = (tune(build(settings, ["--gradient-checkpointing", value])) for value in ("False", "True"))
    assert first == again


def test_layers_nearer_to_the_pixels_move_less(settings):
    """Adam's first steps are as long as the rate: a decay of 0.1 over two blocks leaves a thousandth at the pixels."""
    stage = build(settings, ["--layer-decay", "0.1", "--lambda-reg", "0"])
    before = weights(stage)
    tune(stage, rate=1e-2)
    after = weights(stage)

    def distance(part: str) -> float:
        return max((after[name] - before[name]).abs().max().item() for name in before if part in name)

    parts = ("patch_embedding", "layers.0.mlp.fc1.weight", "layers.1.mlp.fc1.weight", "visual_projection")
    rates = (1e-5, 1e-4, 1e-3, 1e-2)
    for part, rate in zip(parts, rates, strict=True):
        assert 0.5 * rate < distance(part) < 4 * rate
    assert distance("adapter.projection.weight") > 0.5e-2


def test_the_adapter_of_12_blocks_of_table_14(settings):
    assert build(settings, ["--num-blocks", "12"]).info["adapter"] == TWELVE


def test_a_run_is_called_what_its_comparison_calls_it(settings):
    assert build(settings, ["--arm", "proclip@lambda_reg=1e-3"]).info["arm"] == "proclip@lambda_reg=1e-3"
    assert build(settings, []).info["arm"] == "no-stage1"


@pytest.mark.parametrize("flags", [["--distill-weight", "1.0"], ["--distill_weight=0.5"]])
def test_the_weight_of_earlier_versions_is_refused_with_its_conversion(flags, settings):
    with pytest.raises(ConfigError, match=r"--distill-weight is gone; give lambda_reg, .*distill_weight / 512 with"):
        build(settings, flags)


def test_a_settings_file_with_the_weight_of_earlier_versions_is_refused_too(settings, tmp_path):
    (tmp_path / "old.yaml").write_text("distill_weight: 1.0\n")
    with pytest.raises(ConfigError, match=r"old\.yaml' sets 'distill_weight', which is gone; give lambda_reg"):
        build(settings, ["--config", tmp_path / "old.yaml"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lambda_reg": -1.0}, r"lambda_reg is -1\.0; expected at least 0"),
        ({"beta1": 1.0}, r"beta1 is 1\.0; expected at least 0 and below 1"),
        ({"epsilon": 0.0}, r"epsilon is 0\.0; expected above 0"),
        ({"lora_rank": -1}, "lora_rank is -1; expected at least 0"),
        ({"lora_rank": 2, "lora_alpha": 0.0}, r"lora_alpha is 0\.0; expected above 0"),
        ({"lora_alpha": 4.0}, "say how LoRA is done; give lora_rank too"),
        ({"lora_targets": ("q_proj",)}, "say how LoRA is done; give lora_rank too"),
        ({"layer_decay": 1.5}, r"layer_decay is 1\.5; expected above 0 and at most 1"),
        ({"layer_decay": 0.0}, r"layer_decay is 0\.0; expected above 0 and at most 1"),
        ({"lock_image": True, "lora_rank": 2}, "lock_image trains nothing of the image tower"),
        ({"lock_image": True, "layer_decay": 0.85}, "lock_image trains nothing of the image tower"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(changes, message, settings):
    with pytest.raises(ConfigError, match=message):
        make(Stage2Config, settings | changes)
