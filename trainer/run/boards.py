"""Boards that show a run's numbers: TensorBoard where it is installed, Weights & Biases where a project is named."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from store.common.errors import ConfigError


class TensorBoard:
    """Event files in ``RUN/tensorboard``; events that an earlier start wrote after ``first`` steps are superseded."""

    def __init__(self, run: Path, first: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(run / "tensorboard"), purge_step=first + 1 if first else None)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class Wandb:
    """A run of a Weights & Biases project. A continued run keeps the id in ``RUN/wandb-id.txt``.

    Raises: ConfigError: the package is not installed, or the run cannot be started.
    """

    def __init__(self, run: Path, project: str, settings: Mapping[str, Any]) -> None:
        try:
            import wandb
        except ImportError as error:
            raise ConfigError("wandb_project is given and wandb is not installed: pip install wandb") from error
        file = run / "wandb-id.txt"
        known = file.read_text(encoding="utf-8").strip() if file.exists() else None
        try:
            self._run = wandb.init(
                project=project, name=run.name, id=known, resume="allow", dir=str(run), config=dict(settings)
            )
        except wandb.Error as error:
            raise ConfigError(f"wandb cannot start a run of project {project!r}: {error}; see wandb login") from error
        file.write_text(f"{self._run.id}\n", encoding="utf-8")

    def add(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


def open_boards(run: Path, first: int, project: str | None, settings: Mapping[str, Any]) -> list[TensorBoard | Wandb]:
    """The boards of a run that has done ``first`` steps."""
    boards: list[TensorBoard | Wandb] = [TensorBoard(run, first)] if importlib.util.find_spec("tensorboard") else []
    return boards + ([Wandb(run, project, settings)] if project is not None else [])
