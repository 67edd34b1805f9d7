"""Image towers of open_clip, such as EVA02-CLIP's. open_clip is imported only when one is asked for.

``open_clip:MODEL:PRETRAINED`` names a model and the tag or file of its weights, ``hf-hub:OWNER/NAME`` a repository with
an ``open_clip_config.json``, as open_clip itself writes them.
"""

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from store.common.errors import ConfigError
from trainer.images.transform import ImageTransform
from trainer.model.tower_base import ImageTower, Tower

HUB, BUILT_IN = "hf-hub:", "open_clip:"
_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


class OpenClipTower(ImageTower):
    """The ``visual`` part of an open_clip model, which ends in its projection."""

    def forward(self, image_BCHW: torch.Tensor) -> torch.Tensor:
        return self.vision(image_BCHW.to(self.dtype))

    @property
    def blocks(self) -> nn.ModuleList:
        """Of a timm trunk, as EVA02 has it, or of open_clip's own transformer."""
        vision: Any = self.vision
        return vision.trunk.blocks if hasattr(vision, "trunk") else vision.transformer.resblocks

    def checkpoint_gradients(self) -> None:
        vision: Any = self.vision
        vision.set_grad_checkpointing(True)

    def save(self, folder: Path) -> None:
        """Write ``visual.safetensors``: load it into the ``visual`` of ``open_clip.create_model(MODEL)``."""
        folder.mkdir(parents=True, exist_ok=True)
        weights = {name: value.contiguous() for name, value in self.vision.state_dict().items()}
        save_file(weights, folder / "visual.safetensors", metadata={"format": "pt"})


def load_open_clip_tower(clip: str) -> Tower:
    """Load the image tower of an open_clip model in float32.

    Raises: ConfigError: open_clip is not installed or cannot be imported, or has no such model with weights.
    """
    name, weights = _parts(clip)
    try:
        import open_clip
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision that does not fit torch
        reason = str(error).split("\n")[0]
        raise ConfigError(
            f"{clip!r} needs open_clip, which cannot be imported ({reason}); install it with "
            "`pip install keyclip[open-clip]`, with a torchvision made for your torch"
        ) from error
    try:
        model: Any = open_clip.create_model(name, pretrained=weights, precision="fp32", require_pretrained=True)
    except (RuntimeError, OSError, ValueError) as error:
        reason = str(error).split("\n")[0][:200]
        raise ConfigError(f"open_clip cannot load {clip!r}: {reason}") from error
    tower = OpenClipTower(model.visual.eval())
    transform = transform_of(model.visual.preprocess_cfg, clip)
    with torch.no_grad():
        dim = tower(torch.zeros(1, 3, transform.size, transform.size)).shape[-1]
    return Tower(tower, int(dim), transform)


def _parts(clip: str) -> tuple[str, str | None]:
    """The model's name and its weights; a repository brings its own."""
    if clip.startswith(HUB):
        return clip, None
    name, _, weights = clip.removeprefix(BUILT_IN).partition(":")
    if not (name and weights):
        raise ConfigError(
            f"{clip!r} names no weights; expected {BUILT_IN}MODEL:PRETRAINED, such as "
            f"{BUILT_IN}EVA02-L-14-336:merged2b_s6b_b61k"
        )
    return name, weights


def transform_of(settings: dict[str, Any], clip: str) -> ImageTransform:
    """Our transform for open_clip's preprocessing settings (``size``, ``mean``, ``interpolation``, ``resize_mode``...).

    Raises: ConfigError: the images are not square, or are padded.
    """
    size = settings["size"]
    sides = set(size) if isinstance(size, list | tuple) else {size}
    mode, resample = settings["resize_mode"], _FILTERS.get(settings["interpolation"], Image.Resampling.BICUBIC)
    if len(sides) > 1 or mode not in ("shortest", "squash"):
        raise ConfigError(
            f"{clip!r} takes images of {size} pixels, resized by {mode!r}; expected square ones, not padded"
        )
    return ImageTransform(
        size=int(sides.pop()),
        mean=tuple(map(float, settings["mean"])),
        std=tuple(map(float, settings["std"])),
        resample=resample.value,
        squash=mode == "squash",
    )
