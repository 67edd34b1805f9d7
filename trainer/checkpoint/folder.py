"""A training run on disk: its effective config, its log and its checkpoints.

    RUN/config.json                     every setting of the run
    RUN/log.jsonl                       one json object per logged step
    RUN/evaluations.jsonl               one per evaluation while training, if asked for
    RUN/checkpoints/step-00000500/      model.safetensors, optimizer.safetensors, checkpoint.json, ...

A checkpoint folder appears under its name only when everything in it is on disk.
"""

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NotRequired

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from typing_extensions import TypedDict

from store.common.checked import InvalidDataError, check, parse_json, read_json
from store.common.errors import CheckpointError, ConfigError
from store.common.files import flush, require_regular, write_json, write_whole
from store.common.settings import as_flat
from trainer.model.adapter import AdapterShape

LOG, EVALUATIONS = "log.jsonl", "evaluations.jsonl"
CHECKPOINT_FORMAT = "keyclip-checkpoint/1"
# Settings that may differ when a run continues: they change speed, bookkeeping or the length, not which samples a step
# trains on.
MAY_DIFFER = {
    "output", "arm", "epochs", "max_steps", "workers", "threads", "log_every", "wandb_project",
    "checkpoint_every", "checkpoint_minutes", "keep_checkpoints",
    "eval_every", "eval_sets", "eval_store", "eval_field",
    "accumulation",  # other ranks may need it; like their number it changes what InfoNCE compares
    "datasets",  # the file; its content is under "data"
}  # fmt: skip


class CheckpointInfo(TypedDict):
    """What ``checkpoint.json`` must hold, and the types of what it may hold; there may be more."""

    __pydantic_config__ = {"extra": "allow"}  # type: ignore[misc]  # noqa: RUF012
    step: Annotated[int, Field(ge=0, le=2**53)]
    stage: NotRequired[str]
    total_steps: NotRequired[int]
    finished: NotRequired[bool]
    samples: NotRequired[int]
    adam_step: NotRequired[int]
    loss_scale: NotRequired[dict[str, float] | None]
    config: NotRequired[dict[str, Any]]
    datasets: NotRequired[dict[str, dict[str, int | float]]]
    keys: NotRequired[dict[str, str]]
    adapter: NotRequired[AdapterShape]
    embedder: NotRequired[dict[str, str]]
    teacher: NotRequired[dict[str, str] | None]
    clip: NotRequired[str]
    clip_revision: NotRequired[str | None]
    lora: NotRequired[dict[str, Any] | None]


class LogRow(TypedDict):
    """A line of ``log.jsonl`` or ``evaluations.jsonl``; there is more in it."""

    __pydantic_config__ = {"extra": "allow"}  # type: ignore[misc]  # noqa: RUF012
    step: Annotated[int, Field(ge=0, le=2**53)]
    epoch_left_out: NotRequired[dict[str, int]]


def plain(config: Any) -> dict[str, Any]:
    """The settings of a config and its parts by name as json-ready values; paths as text."""

    def as_json(value: Any) -> Any:
        return dataclasses.asdict(value) if dataclasses.is_dataclass(type(value)) else str(value)

    return json.loads(json.dumps(as_flat(config), default=as_json))


def prepare(run: Path, stage: str, config: Any) -> None:
    """Make the run's folder, or check that the run there is this one.

    The settings of a start without a checkpoint do not count: it may have failed because of the one that changed.

    Raises: ConfigError: the folder holds a run of another stage or with other settings, or other files.
    """
    settings = {"stage": stage, **plain(config)}
    file = run / "config.json"
    if file.exists():
        remedy = "put the file back as it was, or give another --output"
        there = read_json(file, dict[str, Any], "the run's settings", remedy)
        differing = [text for name, text in differing_settings(there, settings).items() if name not in MAY_DIFFER]
        if differing and list_checkpoints(run):
            raise ConfigError(
                f"{str(run)!r} holds a run with other settings ({'; '.join(differing)}); give the same settings to "
                "continue it, or another --output"
            )
        if differing:
            shutil.rmtree(run / "tokenizer", ignore_errors=True)  # pretrain made it from the settings there
    elif run.exists() and any(run.iterdir()):
        raise ConfigError(f"{str(run)!r} exists and holds no run of this command; give another --output")
    run.mkdir(parents=True, exist_ok=True)
    write_json(file, settings)


def differing_settings(there: Mapping[str, Any], here: Mapping[str, Any]) -> dict[str, str]:
    """The settings that differ, by name, each with both values as text."""
    return {
        name: f"{name} {there.get(name)!r} there, {here.get(name)!r} here"
        for name in sorted(set(there) | set(here))
        if there.get(name) != here.get(name)
    }


def trim_log(run: Path, step: int, name: str = LOG) -> dict[str, Any] | None:
    """Drop the lines of a log after ``step``, which the continued run writes again, and a torn last line.

    Returns the last line that stays, None where there is none.
    """
    file = run / name
    if not file.exists():
        return None
    kept, last = [], None
    for line in file.read_bytes().splitlines(keepends=True):
        try:
            row = parse_json(line, LogRow, "a line")
        except InvalidDataError:
            continue
        if row["step"] <= step:
            kept.append(line if line.endswith(b"\n") else line + b"\n")
            last = dict(row)
    write_whole(file, b"".join(kept))
    return last


def save_checkpoint(
    run: Path, files: Mapping[str, Mapping[str, torch.Tensor]], info: Mapping[str, Any], keep: int
) -> Path:
    """Write ``{name: tensors}`` as ``name.safetensors`` and ``info`` as ``checkpoint.json``; drop old checkpoints."""
    folder = run / "checkpoints" / f"step-{info['step']:08d}"
    temporary = folder.with_name(f".{folder.name}.tmp")
    for left_over in folder.parent.glob(".step-*"):  # of a process that was killed
        shutil.rmtree(left_over)
    temporary.mkdir(parents=True)
    for name, tensors in files.items():
        contiguous = {key: tensor.contiguous() for key, tensor in tensors.items()}
        save_file(contiguous, temporary / f"{name}.safetensors", metadata={"format": "pt"})
        flush(temporary / f"{name}.safetensors")
    write_json(temporary / "checkpoint.json", {"format": CHECKPOINT_FORMAT, **info})
    flush(temporary)
    if folder.exists():  # the same step again, after a resume from an older checkpoint
        _remove(folder)
    temporary.replace(folder)
    flush(folder.parent)
    for old in list_checkpoints(run)[:-keep]:
        _remove(old)
    return folder


def _remove(checkpoint: Path) -> None:
    """Rename, then remove, so that a kill in between leaves nothing torn under a checkpoint's name."""
    hidden = checkpoint.with_name(f".{checkpoint.name}.old")
    checkpoint.replace(hidden)
    shutil.rmtree(hidden)


def list_checkpoints(run: Path) -> list[Path]:
    """The complete checkpoints of a run, oldest first."""
    return sorted((run / "checkpoints").glob("step-*"))


def find_checkpoint(path: Path) -> Path:
    """``path`` itself, or the newest checkpoint of a run's folder. Raises: CheckpointError: there is none."""
    if (path / "checkpoint.json").exists():
        return path
    if found := list_checkpoints(path):
        return found[-1]
    hint = "give a run's folder or one of its checkpoints/step-* folders"
    raise CheckpointError(f"no checkpoint at {str(path)!r}; {hint}")


def read_checkpoint_info(checkpoint: Path) -> dict[str, Any]:
    """``checkpoint.json``. Raises: CheckpointError: unreadable, or of a format that this version does not read."""
    file = checkpoint / "checkpoint.json"
    remedy = "give another checkpoint of the run, or remove this one to continue from the one before"
    try:
        info = read_json(file, dict[str, Any], "the checkpoint's description", remedy)
        if (found := info.get("format")) != CHECKPOINT_FORMAT:
            raise CheckpointError(
                f"the checkpoint {str(checkpoint)!r} is of format {found!r}; this version reads "
                f"{CHECKPOINT_FORMAT!r}; load it with the keyclip version that wrote it"
            )
        return dict(check(info, CheckpointInfo, f"the checkpoint's description {str(file)!r}", remedy))
    except InvalidDataError as error:
        raise CheckpointError(str(error)) from error


def entry(info: Mapping[str, Any], name: str, checkpoint: Path) -> Any:
    """An entry of ``checkpoint.json``. Raises: CheckpointError: there is none of this name."""
    if info.get(name) is None:
        raise CheckpointError(f"checkpoint.json of {str(checkpoint)!r} has no {name!r}; give another checkpoint")
    return info[name]


def read_tensors(checkpoint: Path, name: str) -> dict[str, torch.Tensor]:
    """The tensors of one file of a checkpoint. Raises: CheckpointError: absent or damaged."""
    try:
        file = checkpoint / f"{name}.safetensors"
        require_regular(file, f"the file {str(file)!r}")
        return load_file(file)
    except (OSError, ConfigError, SafetensorError) as error:
        message = f"{name}.safetensors of checkpoint {str(checkpoint)!r} cannot be read: {error}"
        raise CheckpointError(message) from error
