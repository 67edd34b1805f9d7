"""Training state to a checkpoint and back: float32 master weights, Adam moments, and further files of the stage."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from store.common.errors import CheckpointError, ConfigError
from trainer.checkpoint import folder as run_folder
from trainer.data.order import key_digests
from trainer.engine.loss_scale import loss_scale_state, set_loss_scale_state
from trainer.engine.master_weights import MOMENTS, adam_step, full_state, set_full_state
from trainer.objectives.gather import require_same
from trainer.run.stage import Stage, StageConfig

SHARED_OUTPUT = "--output must be on a file system that all machines of the run share"


def save_training_state(config: StageConfig, engine: Any, stage: Stage, step: int, total_steps: int, rank: int) -> None:
    """Write a checkpoint; independent of the number of ranks and of the ZeRO stage. A collective call.

    Weights that are not trained are left out: the stage is built from them.
    """
    weights: dict[str, torch.Tensor] = {}
    moments: dict[str, torch.Tensor] = {}
    trained = {name: p for name, p in engine.module.named_parameters() if p.requires_grad}
    for name, parameter in trained.items():
        state = full_state(engine, parameter, wanted=rank == 0)
        if rank == 0:
            weights[name] = state["master"]
            moments |= {f"{name}/{moment}": state[moment] for moment in MOMENTS}
    if rank == 0:
        info = {
            "stage": stage.name,
            "step": step,
            "total_steps": total_steps,
            "finished": step == total_steps,
            "samples": step * config.run.batch_size,
            "adam_step": adam_step(engine, iter(trained.values())),
            "loss_scale": loss_scale_state(engine),
            "config": run_folder.plain(config),
            **stage.info,
        }
        files = {"model": weights, "optimizer": moments, **stage.extra_files()}
        run_folder.save_checkpoint(config.run.output, files, info, config.run.keep_checkpoints)
    dist.barrier()


def load_training_state(run: Path, engine: Any, stage: Stage) -> int:
    """Restore the newest checkpoint of a run; returns the step it was written after, 0 where there is none.

    Raises:
        CheckpointError: the checkpoint does not hold what the stage's module needs.
        ConfigError: the data has other samples than when the run began, or in another order.
        RanksDisagreeError: not every rank sees the newest checkpoint.
    """
    stage.info["keys"] = key_digests(stage.data.sources)  # once; every checkpoint of this start holds them
    checkpoints = run_folder.list_checkpoints(run)
    info: dict[str, Any] = run_folder.read_checkpoint_info(checkpoints[-1]) if checkpoints else {"step": 0}
    require_same(info["step"], f"the newest checkpoint's step in {str(run)!r}", SHARED_OUTPUT, engine.device)
    if not checkpoints:
        return 0
    newest = checkpoints[-1]
    require_same_data(info, stage.info, newest)
    weights, moments = run_folder.read_tensors(newest, "model"), run_folder.read_tensors(newest, "optimizer")
    for name, parameter in engine.module.named_parameters():
        if parameter.requires_grad:
            values = {"master": _tensor(weights, name, parameter, newest)}
            values |= {moment: _tensor(moments, f"{name}/{moment}", parameter, newest) for moment in MOMENTS}
            set_full_state(engine, parameter, values, run_folder.entry(info, "adam_step", newest))
    set_loss_scale_state(engine, info.get("loss_scale"))
    stage.load_extra_files(lambda name: run_folder.read_tensors(newest, name))
    stage.after_load(engine)
    return int(info["step"])


def _tensor(tensors: Mapping[str, torch.Tensor], name: str, like: torch.Tensor, checkpoint: Path) -> torch.Tensor:
    """Raises: CheckpointError: there is no tensor of this name and shape."""
    if name not in tensors or tensors[name].shape != like.shape:
        raise CheckpointError(f"checkpoint {str(checkpoint)!r} holds no {name!r} of shape {tuple(like.shape)}")
    return tensors[name]


def require_same_data(there: Mapping[str, Any], here: Mapping[str, Any], checkpoint: Path) -> None:
    """Refuse data with other samples, or in another order: step and sample would no longer belong together.

    ``there`` are the entries of the checkpoint, ``here`` the entries of this start. ``datasets`` describes the datasets
    as ``trainer.data.order.describe`` does, ``keys`` holds digests of their keys (none in an earlier version).

    Raises: ConfigError: a dataset has another number of samples, or other keys.
    """
    remedy = (
        "the epoch cannot continue without repeating or skipping some; give the data as it was, or another --output"
    )
    described, keys = here.get("datasets") or {}, there.get("keys") or {}
    datasets = described if there.get("datasets") is None else there["datasets"]
    for name, dataset in described.items():
        before, now = datasets.get(name, {}).get("samples", 0), dataset["samples"]
        if before != now:
            what = f"dataset {name!r} had {before} samples when {str(checkpoint)!r} was written and has {now} now"
            raise ConfigError(f"{what}: {remedy}")
    for name, digest in here["keys"].items():
        if keys.get(name, digest) != digest:
            what = f"dataset {name!r} has other samples, or the same in another order, than when {str(checkpoint)!r}"
            raise ConfigError(f"{what} was written: {remedy}")
