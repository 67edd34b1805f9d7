"""The interface of every image tower to the trainer, whatever its library."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from store.common.files import write_json
from trainer.images.transform import ImageTransform
from trainer.model.processor import processor_settings


@dataclass(frozen=True, slots=True)
class Tower:
    """An image tower with its width and its transform.

    Attributes:
        model: maps (B, 3, H, W) pixels to (B, E) features, not normalised.
        dim: E, the width of the joint space.
        transform: from image bytes to pixels.
    """

    model: "ImageTower"
    dim: int
    transform: ImageTransform

    def save(self, folder: Path) -> None:
        """Write config, weights and image processor settings, for the tower's own library and for ``--clip``."""
        self.model.save(folder)
        write_json(folder / "preprocessor_config.json", self.model.processor_settings(self.transform))


class ImageTower(nn.Module):
    """A vision tower as a function from pixels to the image embedding of its CLIP.

    Attributes:
        vision: the library's own module.
        blocks: its transformer layers, first to last; the same modules as in ``vision``.
    """

    vision: nn.Module

    def __init__(self, vision: nn.Module) -> None:
        super().__init__()
        self.vision = vision

    def forward(self, image_BCHW: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    @property
    def blocks(self) -> nn.ModuleList:
        raise NotImplementedError

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def normalized(self, image_BCHW: torch.Tensor) -> torch.Tensor:
        """L2-normalised features, (B, E) float32."""
        return F.normalize(self(image_BCHW).float(), dim=-1)

    def checkpoint_gradients(self) -> None:
        """Compute each layer anew in the backward pass instead of keeping its activations."""
        vision: Any = self.vision
        vision.activation_checkpointing_enable({"use_reentrant": False})
        self.train()  # transformers looks at it

    def save(self, folder: Path) -> None:
        """Write config and weights, for ``from_pretrained`` of the tower's class."""
        vision: Any = self.vision
        vision.save_pretrained(folder)

    def processor_settings(self, transform: ImageTransform) -> dict[str, Any]:
        """The settings of the image processor that feeds the tower in its library."""
        return processor_settings(transform)
