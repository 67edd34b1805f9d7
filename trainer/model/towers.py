"""The towers of a CLIP, SigLIP or SigLIP2, from a folder or hub id that transformers loads.

Towers of open_clip are in ``trainer.model.open_clip_tower``.
"""

import logging
import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from store.common.errors import ConfigError
from trainer.images.transform import ImageTransform
from trainer.model.open_clip_tower import BUILT_IN, HUB, load_open_clip_tower
from trainer.model.processor import FILES, load_transform
from trainer.model.tower_base import ImageTower, Tower


class ClipTower(ImageTower):
    """``CLIPVisionModelWithProjection``: the projected class token."""

    output, layers = "image_embeds", "vision_model.encoder.layers"

    def forward(self, image_BCHW: torch.Tensor) -> torch.Tensor:
        return getattr(self.vision(pixel_values=image_BCHW.to(self.dtype)), self.output)

    @property
    def blocks(self) -> nn.ModuleList:
        return attrgetter(self.layers)(self.vision)


class SiglipTower(ClipTower):
    """``SiglipVisionModel``: the output of its attention pooling head over all patches."""

    output, layers = "pooler_output", "encoder.layers"


class Siglip2Tower(SiglipTower):
    """``Siglip2VisionModel`` (NaFlex) on square images: a grid of as many patches as it has position embeddings.

    Its own processor keeps the shape of an image and pads; a batch of squares needs no padding, no mask and no resizing
    of position embeddings, for which transformers would loop over the images.
    """

    def forward(self, image_BCHW: torch.Tensor) -> torch.Tensor:
        vision: Any = self.vision
        patches_BNP = patchify(image_BCHW.to(self.dtype), int(vision.config.patch_size))
        positions = vision.embeddings.position_embedding.weight
        states = vision.embeddings.patch_embedding(patches_BNP) + positions
        states = vision.encoder(inputs_embeds=states, attention_mask=None).last_hidden_state
        return vision.head(vision.post_layernorm(states))

    def processor_settings(self, transform: ImageTransform) -> dict[str, Any]:
        config: Any = self.vision.config
        settings = super().processor_settings(transform)
        del settings["size"]
        return settings | {
            "image_processor_type": "Siglip2ImageProcessor",
            "patch_size": config.patch_size,
            "max_num_patches": config.num_patches,
        }


def patchify(image_BCHW: torch.Tensor, patch: int) -> torch.Tensor:
    """Squares of ``patch`` pixels, row by row, each as pixels of channels: (B, N, patch * patch * C)."""
    batch, channels, height, width = image_BCHW.shape
    grid = image_BCHW.reshape(batch, channels, height // patch, patch, width // patch, patch)
    return grid.permute(0, 2, 4, 3, 5, 1).reshape(batch, -1, patch * patch * channels)


# family -> (class in transformers, our tower); a folder holds the whole model, or its vision tower alone
_FAMILIES: dict[str, tuple[str, type[ImageTower]]] = {
    "clip": ("CLIPVisionModelWithProjection", ClipTower),
    "siglip": ("SiglipVisionModel", SiglipTower),
    "siglip2": ("Siglip2VisionModel", Siglip2Tower),
}


def load_image_tower(clip: str) -> Tower:
    """Load the image tower of a CLIP, SigLIP or SigLIP2 of transformers, or of open_clip, in float32.

    Raises: ConfigError: no such folder or hub id, or it holds no such model.
    """
    if clip.startswith((BUILT_IN, HUB)):
        return load_open_clip_tower(clip)
    with loading(clip):
        config = read_config(clip, [*_FAMILIES, *(f"{family}_vision_model" for family in _FAMILIES)],
                             "expected 'clip', 'siglip' or 'siglip2'")  # fmt: skip
        family = config.model_type.removesuffix("_vision_model")
        class_name, tower_class = _FAMILIES[family]
        vision, shape = load_part(clip, config, "image", "vision_config", class_name)
        tower = tower_class(vision)
        transform = load_transform(_processor_file(clip), _image_size(shape, clip), family)
    return Tower(tower, shape.projection_dim if family == "clip" else shape.hidden_size, transform)


@contextmanager
def loading(clip: str) -> Iterator[None]:
    """Turn the errors of loading a CLIP into a ConfigError.

    The other tower's weights are left out on purpose; transformers' warnings about each of them are silenced.
    """
    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    except ConfigError:
        raise
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = str(error).split("\n")[0]
        raise ConfigError(f"no CLIP can be loaded from {clip!r} (a folder or a hub id): {reason}") from error
    finally:
        logger.setLevel(level)


def read_config(clip: str, types: Collection[str], expected: str) -> Any:
    """The config of a model of transformers. Raises: ConfigError: its type is none of ``types``."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(clip)
    if config.model_type not in types:
        raise ConfigError(f"{clip!r} holds a model of type {config.model_type!r}; {expected}")
    return config


def load_part(
    clip: str, config: Any, what: str, part: str, class_name: str, dtype: torch.dtype = torch.float32
) -> tuple[Any, Any]:
    """One tower of a model, and its config: ``part`` of ``config``, or ``config`` itself where the tower is alone.

    Raises: ConfigError: weights of the tower are absent.
    """
    import transformers

    shape = getattr(config, part, config)
    if shape is not config and config.model_type == "clip":
        shape.projection_dim = config.projection_dim  # CLIPModel takes this one; the tower's own may differ
    loader = getattr(transformers, class_name)
    model, found = loader.from_pretrained(clip, config=shape, dtype=dtype, output_loading_info=True)
    if found["missing_keys"]:
        raise ConfigError(f"{clip!r} holds no weights for {sorted(found['missing_keys'])[0]!r} of the {what} tower")
    return model, shape


def _image_size(shape: Any, clip: str) -> int:
    """The side of the square images that the tower takes, in pixels."""
    if not getattr(shape, "vision_use_head", True):
        raise ConfigError(f"the image tower of {clip!r} has no pooling head, so that it makes no image embedding")
    if not hasattr(shape, "num_patches"):
        sides = shape.image_size if isinstance(shape.image_size, list | tuple) else [shape.image_size]
        if len(set(sides)) > 1:
            raise ConfigError(f"the image tower of {clip!r} takes images of {sides} pixels; expected square ones")
        return int(sides[0])
    return math.isqrt(shape.num_patches) * int(shape.patch_size)


def _processor_file(clip: str) -> Path | None:
    from transformers.utils import cached_file

    found = (cached_file(clip, name, _raise_exceptions_for_missing_entries=False) for name in FILES)
    return next((Path(file) for file in found if file), None)
