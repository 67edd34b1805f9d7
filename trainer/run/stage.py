"""What a training stage is to the loop: a module, its data, and what lives beside the module."""

from typing import Any

import torch
from torch import nn

from trainer.data.loader import StreamedData, TrainingData

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Stage:
    """Base of the stages; ``module(batch)`` returns ``(loss, report)``, both knowing no optimiser, rank or logger.

    Attributes:
        name: as in ``python -m trainer NAME`` and in checkpoints.
        module: what DeepSpeed wraps; its parameters that require a gradient are trained.
        data: the samples.
        info: json-ready facts that a reader of the checkpoint needs to rebuild the module.
    """

    name: str
    module: nn.Module
    data: TrainingData | StreamedData
    info: dict[str, Any]

    def to(self, device: torch.device) -> None:
        """Move what lives beside the module (the engine moves the module)."""

    def lr_scale(self, name: str) -> float:
        """The share of the learning rate that a parameter of the module gets."""
        return 1.0

    def after_step(self, engine: Any) -> None:
        """Called after every optimiser step that changed the weights."""

    def after_load(self, engine: Any) -> None:
        """Called when the weights of a checkpoint have been put in place."""

    def evaluate(self, step: int, last: bool, device: torch.device) -> dict[str, float]:
        """What the run's evaluation sets say after ``step``: values by name; none where none is due. Collective."""
        return {}

    def extra_files(self) -> dict[str, dict[str, torch.Tensor]]:
        """Further files of a checkpoint: ``{name: tensors}``."""
        return {}

    def load_extra_files(self, read: Any) -> None:
        """Restore :meth:`extra_files`; ``read(name)`` returns the tensors of one."""

    def finish(self, weights: dict[str, torch.Tensor]) -> None:
        """Called on rank 0 when the run is finished, with the float32 weights of the last checkpoint."""
