"""The interface between a training stage and the loop: a module, its data, and the state outside the module."""

from typing import Any, Protocol

import torch
from torch import nn

from trainer.data.loader import StreamedData, TrainingData
from trainer.evaluation.validation import Validation
from trainer.model.adapter import Adapter
from trainer.model.tower_base import Tower
from trainer.settings.config import RunConfig

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class StageConfig(Protocol):
    """The settings of a stage: a frozen dataclass with the settings of the run as a part."""

    @property
    def run(self) -> RunConfig: ...


class Stage:
    """Base of the stages; ``module(batch)`` returns ``(loss, report)`` and knows no optimiser, rank or logger.

    Attributes:
        name: as in ``python -m trainer NAME`` and in checkpoints.
        module: what DeepSpeed wraps; its parameters that require a gradient are trained.
        data: the samples.
        info: json-ready facts that a reader of the checkpoint needs to rebuild the module.
        evaluated: the evaluation sets of the run, and the tower and adapter that are evaluated on them.
    """

    name: str
    module: nn.Module
    data: TrainingData | StreamedData
    info: dict[str, Any]
    evaluated: tuple[Validation, Tower, Adapter] | None = None
    locked = False
    """Whether the image tower stays as it is."""

    def to(self, device: torch.device) -> None:
        """Move what is outside the module (the engine moves the module)."""

    def lr_scale(self, name: str) -> float:
        """The share of the learning rate that a parameter of the module gets."""
        return 1.0

    def after_step(self, engine: Any) -> None:
        """Called after every optimiser step that changed the weights."""

    def after_load(self, engine: Any) -> None:
        """Called when the weights of a checkpoint are loaded."""

    def evaluate(self, step: int, last: bool, device: torch.device) -> dict[str, float]:
        """The results on the run's evaluation sets after ``step``, by name; none where none is due. Collective."""
        if self.evaluated is None:
            return {}
        validation, tower, adapter = self.evaluated
        if not validation.is_due(step, last):
            return {}
        return validation.measure(tower, adapter, device, locked=self.locked)

    def extra_files(self) -> dict[str, dict[str, torch.Tensor]]:
        """Further files of a checkpoint: ``{name: tensors}``."""
        return {}

    def load_extra_files(self, read: Any) -> None:
        """Restore :meth:`extra_files`; ``read(name)`` returns the tensors of one."""

    def finish(self, weights: dict[str, torch.Tensor]) -> None:
        """Called on rank 0 when the run is finished, with the float32 weights of the last checkpoint."""
