"""CLIP's image tower, from a folder or hub id that transformers loads."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import nn

from store.errors import ConfigError
from trainer.images import ImageTransform, load_transform


@dataclass(frozen=True, slots=True)
class Tower:
    """An image tower with what belongs to it.

    Attributes:
        model: maps (B, 3, H, W) pixels to (B, E) features, not normalised.
        dim: E, the width of the joint space.
        transform: from image bytes to pixels.
    """

    model: "ImageTower"
    dim: int
    transform: ImageTransform


class ImageTower(nn.Module):
    """``CLIPVisionModelWithProjection`` as a function from pixels to features."""

    def __init__(self, vision: nn.Module) -> None:
        super().__init__()
        self.vision = vision

    def forward(self, image_BCHW: torch.Tensor) -> torch.Tensor:
        return self.vision(pixel_values=image_BCHW.to(self.dtype)).image_embeds

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def normalized(self, image_BCHW: torch.Tensor) -> torch.Tensor:
        """L2-normalised features, (B, E) float32."""
        return F.normalize(self(image_BCHW).float(), dim=-1)


def load_image_tower(clip: str) -> Tower:
    """Load the image tower and projection of a CLIP in float32.

    Raises:
        ConfigError: no such folder or hub id, or it holds no CLIP.
    """
    from transformers import AutoConfig, CLIPVisionModelWithProjection
    from transformers.utils import cached_file

    try:
        config = AutoConfig.from_pretrained(clip)
        if config.model_type != "clip":
            raise ConfigError(f"{clip!r} holds a model of type {config.model_type!r}; expected 'clip'")
        shape = config.vision_config
        shape.projection_dim = config.projection_dim  # CLIPModel goes by this one; the tower's own may be another
        with _quiet():
            loaded: Any = CLIPVisionModelWithProjection.from_pretrained(
                clip, config=shape, dtype=torch.float32, output_loading_info=True
            )
        settings = cached_file(clip, "preprocessor_config.json", _raise_exceptions_for_missing_entries=False)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        if isinstance(error, ConfigError):
            raise
        reason = str(error).split("\n")[0]
        raise ConfigError(f"no CLIP can be loaded from {clip!r} (a folder or a hub id): {reason}") from error
    vision, found = loaded
    if found["missing_keys"]:
        raise ConfigError(f"{clip!r} holds no weights for {sorted(found['missing_keys'])[0]!r} of the image tower")
    transform = load_transform(Path(settings) if settings else None, config.vision_config.image_size)
    return Tower(ImageTower(vision), config.projection_dim, transform)


@contextmanager
def _quiet() -> Iterator[None]:
    """The text tower's weights are left out on purpose; transformers would list each of them as unexpected."""
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
