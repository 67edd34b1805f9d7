"""Stage 2: self-distillation and its teacher, and where the stage starts from."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from store.common.errors import CheckpointError, ConfigError
from store.common.fingerprint import fingerprint
from store.common.settings import build
from tests.embedder.small_models import save_clip
from tests.trainer.conftest import KEYS
from tests.trainer.examples import CAPTION_DIM, add_field, make_store
from trainer.checkpoint.folder import save_checkpoint
from trainer.model.adapter import Adapter
from trainer.model.identity import require_teacher
from trainer.objectives.losses import INITIAL_LOGIT_SCALE
from trainer.stage1 import Stage1, Stage1Config
from trainer.stage2 import PRECISIONS, Stage2, Stage2Config


def load(stage: Stage2) -> dict[str, torch.Tensor]:
    return stage.data.load(np.arange(8), 0, np.arange(8))


# ---- self-distillation


def make_stage(settings: dict, **more) -> Stage2:
    torch.manual_seed(0)
    return Stage2(build(Stage2Config, settings | {"num_blocks": 1, "expansion": 2, **more}))


def perturb(module: torch.nn.Module) -> None:
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=random)


def regulariser(stage: Stage2, batch) -> tuple[float, torch.Tensor]:
    """``L_reg`` and its gradient with respect to one of the image tower's weights: what w adds to the loss."""
    weight = next(p for p in stage.objective.image.parameters() if p.requires_grad)
    losses, gradients = [], []
    for w in (0.0, 1.0):
        stage.objective.weight = w
        loss, _ = stage.module(batch)
        losses.append(loss.item())
        gradients.append(torch.autograd.grad(loss, weight)[0])
    return losses[1] - losses[0], gradients[1] - gradients[0]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("teacher", ["ema", "fixed"])
@pytest.mark.parametrize("lora_rank", [0, 3])
def test_the_regulariser_is_zero_up_to_rounding_at_step_0_and_is_not_after_the_weights_move(
    settings, teacher, precision, lora_rank
):
    stage = make_stage(settings, teacher=teacher, precision=precision, lora_rank=lora_rank)
    stage.module.to(PRECISIONS[precision])
    assert stage.objective.teacher.model.dtype == stage.objective.image.dtype
    batch = load(stage)
    value, gradient = regulariser(stage, batch)
    assert value == pytest.approx(0.0, abs=1e-4)
    assert gradient.abs().max() < 1e-4
    perturb(stage.objective.image)
    value, gradient = regulariser(stage, batch)
    assert value > 0.01
    assert gradient.abs().max() > 0.001
    assert gradient.isfinite().all()


@pytest.mark.parametrize(("lambda_reg", "weight"), [(4e-4, 0.2048), (1e-3, 0.512), (1.0, 512.0)])
@pytest.mark.parametrize("batch_size", [3, 8])
def test_lambda_reg_weighs_the_means_512_times_at_every_batch_size(lambda_reg, weight, batch_size, settings):
    stage = make_stage(settings, lambda_reg=lambda_reg)
    perturb(stage.objective.image)
    batch = {name: value[:batch_size] for name, value in load(stage).items() if isinstance(value, torch.Tensor)}
    loss, report = stage.module(batch)
    assert report["loss"] is loss
    regulariser = report["loss/distill_instance"].item() + 255.5 * report["loss/distill_structure"].item()
    assert loss.item() - report["loss/contrastive"].item() == pytest.approx(weight * regulariser, rel=1e-3)


def test_the_regulariser_is_as_published_with_reference_scaling(settings):
    """lambda_reg times sums over the 8 samples and their 28 pairs."""
    stage = make_stage(settings, scaling="reference", lambda_reg=0.5)
    perturb(stage.objective.image)
    loss, report = stage.module(load(stage))
    sums = 8 * report["loss/distill_instance"].item() + 28 * report["loss/distill_structure"].item()
    assert loss.item() - report["loss/contrastive"].item() == pytest.approx(0.5 * sums, rel=1e-4)


def test_the_teacher_takes_no_gradient_and_is_no_part_of_the_module(settings):
    stage = make_stage(settings)
    teacher = stage.objective.teacher.model
    theirs = {id(parameter) for parameter in teacher.parameters()}
    assert not theirs & {id(parameter) for parameter in stage.module.parameters()}
    assert not any(name.startswith("teacher") for name in stage.module.state_dict())
    perturb(stage.objective.image)
    stage.module(load(stage))[0].backward()
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in teacher.parameters())
    assert all(parameter.grad is not None for parameter in stage.objective.image.vision.visual_projection.parameters())


@pytest.mark.parametrize("more", [{"lambda_reg": 0.0}, {"lock_image": True}])
def test_without_self_distillation_there_is_no_teacher(settings, more):
    stage = make_stage(settings, **more)
    assert stage.objective.teacher is None
    assert not stage.extra_files()
    _, report = stage.module(load(stage))
    assert set(report) == {"loss", "loss/contrastive", "temperature"}
    assert report["temperature"].item() == pytest.approx(0.07)


def test_a_locked_image_tower_is_not_trained(settings):
    stage = make_stage(settings, lock_image=True)
    stage.module(load(stage))[0].backward()
    trained = {name for name, parameter in stage.module.named_parameters() if parameter.grad is not None}
    assert trained == {"logit_scale", *(f"adapter.{name}" for name, _ in stage.objective.adapter.named_parameters())}


# ---- where the stage starts from


@pytest.fixture
def stage1_run(settings, tmp_path) -> Path:
    """A checkpoint of stage 1 with weights of its own."""
    more = {"output": tmp_path / "stage1", "store": settings["store"], "fields": ("llm/short",), "batch_size": 4}
    config = build(Stage1Config, more | {"teacher_fields": ("clip/short",), "num_blocks": 2, "expansion": 3})
    torch.manual_seed(9)
    stage = Stage1(config)
    weights = dict(stage.module.state_dict())
    save_checkpoint(config.run.output, {"model": weights}, {"stage": "stage1", "step": 3, **stage.info}, 1)
    return config.run.output


def test_it_starts_from_stage_1s_adapter_whatever_its_shape(settings, stage1_run):
    stage = make_stage(settings, stage1=stage1_run)
    assert stage.info["adapter"] == {"dim_in": CAPTION_DIM, "dim_out": 16, "num_blocks": 2, "expansion": 3}
    torch.manual_seed(9)
    original = Adapter(CAPTION_DIM, 16, num_blocks=2, expansion=3)  # as the fixture drew it
    for name, value in stage.objective.adapter.named_parameters():
        assert torch.equal(value, original.get_parameter(name))
    assert stage.objective.logit_scale.item() == pytest.approx(INITIAL_LOGIT_SCALE)


def test_without_stage_1_the_adapter_is_fresh(settings):
    stage = make_stage(settings, num_blocks=4, expansion=2)
    assert stage.info["adapter"] == {"dim_in": CAPTION_DIM, "dim_out": 16, "num_blocks": 4, "expansion": 2}


def change_info(run: Path, **values) -> None:
    (file,) = run.glob("checkpoints/*/checkpoint.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_a_checkpoint_of_another_stage_is_refused(settings, stage1_run):
    change_info(stage1_run, stage="stage2")
    with pytest.raises(CheckpointError, match="is a checkpoint of stage2; --stage1 takes one of stage1"):
        make_stage(settings, stage1=stage1_run)


def test_a_checkpoint_for_vectors_of_another_width_is_refused(settings, stage1_run):
    change_info(stage1_run, adapter={"dim_in": 99, "dim_out": 16, "num_blocks": 2, "expansion": 3})
    with pytest.raises(CheckpointError, match=r"maps 99 to 16 dimensions; fields llm/short, llm/long .* need 12 to 16"):
        make_stage(settings, stage1=stage1_run)


def test_a_checkpoint_for_vectors_of_another_model_is_refused(settings, stage1_run, tmp_path):
    path = make_store(tmp_path / "other.store", KEYS)
    add_field(path, "mistral/short", KEYS, CAPTION_DIM, revision="v2")
    with pytest.raises(ConfigError, match=r"was trained on vectors of 'llm'; field 'mistral/short' .* of 'mistral'"):
        make_stage(settings, store=path, fields=("mistral/short",), stage1=stage1_run)


# ---- whose text space stage 1 learned


def stage1_of(settings, folder: Path, revision: str) -> Path:
    """A checkpoint of stage 1 whose teacher has this revision."""
    path = make_store(folder / "captions.store", KEYS)
    add_field(path, "ours/short", KEYS, 16, kind="clip-text", revision=revision)
    fields = {"fields": ("llm/short",), "teacher_fields": ("ours/short",)}
    config = build(Stage1Config, {"output": folder / "run", "store": path, "batch_size": 4, **fields})
    stage = Stage1(config)
    info = {"stage": "stage1", "step": 3, **stage.info}
    save_checkpoint(config.run.output, {"model": dict(stage.module.state_dict())}, info, 1)
    return config.run.output


def test_a_clip_that_is_not_stage_1s_teacher_is_refused(settings, clip_folder, tmp_path):
    run = stage1_of(settings, tmp_path / "own", fingerprint(clip_folder))
    assert make_stage(settings, stage1=run).info["adapter"]["dim_out"] == 16
    save_clip(tmp_path / "other" / "clip", seed=1)
    other = {"stage1": run, "clip": str(tmp_path / "other" / "clip")}
    with pytest.raises(ConfigError, match=r"learned the text space of 'ours' \(xxh3:.* is another model \(xxh3:"):
        make_stage(settings, **other)
    assert make_stage(settings, **other, check_clip=False).info["clip"] == other["clip"]


def test_a_hub_id_is_compared_by_its_commit(clip_folder, tmp_path, monkeypatch):
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--someone--tiny-clip"
    shutil.copytree(clip_folder, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    teacher = {"model": "someone/tiny-clip", "revision": commit}
    require_teacher("someone/tiny-clip", teacher, "it")
    with pytest.raises(ConfigError, match=f"it learned the text space of .* is another model .{commit}.: give that"):
        require_teacher("someone/tiny-clip", teacher | {"revision": commit[::-1]}, "it")


def test_what_cannot_be_compared_passes(clip_folder):
    for revision in ("main", "0123456789abcdef0123456789abcdef01234567"):  # a folder has no commit
        require_teacher(str(clip_folder), {"model": "clip", "revision": revision}, "it")
    require_teacher("someone/absent", {"model": "clip", "revision": "xxh3:0"}, "it")
    require_teacher("someone/absent", None, "it")
