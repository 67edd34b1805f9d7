"""A CLIP's image processor: from its settings file to our transform, and back.

The settings have the meaning of transformers' processors (``CLIPImageProcessor``, ``SiglipImageProcessor``,
``Siglip2ImageProcessor``): ``size`` with a shortest edge is a resize that keeps the shape, before the centre crop; with
height and width it makes both sides equal. ``size`` of the result is the image tower's.
"""

import json
from pathlib import Path
from typing import Any

from PIL import Image

from store.common.errors import ConfigError
from trainer.images.transform import CLIP_MEAN, CLIP_STD, ImageTransform

FILES = ("preprocessor_config.json", "processor_config.json")
_HALF = (0.5, 0.5, 0.5)
# (mean, deviation, filter, whether there is a centre crop) for settings that a file leaves out
_CLIP = (CLIP_MEAN, CLIP_STD, Image.Resampling.BICUBIC, True)
_DEFAULTS = {
    "clip": _CLIP,
    "siglip": (_HALF, _HALF, Image.Resampling.BICUBIC, False),
    "siglip2": (_HALF, _HALF, Image.Resampling.BILINEAR, False),
}


def load_transform(file: Path | None, image_size: int, family: str = "clip") -> ImageTransform:
    """The transform that one of :data:`FILES` describes; the family's own (clip, siglip, siglip2) without one.

    Raises: ConfigError: the file cannot be read, or asks for images that are not square.
    """
    mean, std, resample, crop = _DEFAULTS.get(family, _CLIP)
    if file is None:
        return ImageTransform(size=image_size, mean=mean, std=std, resample=resample.value, squash=not crop)
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
        settings = settings.get("image_processor", settings)
        crop = bool(settings.get("do_center_crop", crop))
        size, cut = _side(settings.get("size")), _side(settings.get("crop_size"))
        if not settings.get("do_normalize", True):
            mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        return ImageTransform(
            size=image_size,
            mean=tuple(map(float, settings.get("image_mean", mean))),
            std=tuple(map(float, settings.get("image_std", std))),
            resample=Image.Resampling(settings.get("resample", resample)).value,
            squash=not crop,
            edge=round(image_size * size / cut) if crop and size and cut and size > cut else None,
        )
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"{str(file)!r} cannot be read as an image processor's settings: {error}") from error


def _side(size: Any) -> int | None:
    """The side that ``size`` or ``crop_size`` names, as a number or in one of transformers' mappings."""
    if isinstance(size, dict):
        sides = {size[name] for name in ("shortest_edge", "height", "width") if size.get(name) is not None}
        if len(sides) > 1:
            raise ValueError(f"{size} is not square")
        size = sides.pop() if sides else None
    return None if size is None else int(size)


def processor_settings(transform: ImageTransform) -> dict[str, Any]:
    """The settings of a transform as transformers writes them to ``preprocessor_config.json``."""
    size = transform.size
    square = {"height": size, "width": size}
    return {
        "image_processor_type": "SiglipImageProcessor" if transform.squash else "CLIPImageProcessor",
        "size": square if transform.squash else {"shortest_edge": transform.edge or size},
        **({} if transform.squash else {"crop_size": square}),
        "image_mean": list(transform.mean),
        "image_std": list(transform.std),
        "resample": transform.resample,
        "do_resize": True,
        "do_center_crop": not transform.squash,
        "do_rescale": True,
        "do_normalize": True,
        "do_convert_rgb": True,
    }
