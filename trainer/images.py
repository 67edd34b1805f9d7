"""Images from bytes to normalised pixels, with the augmentation of EVA-CLIP and LLM2CLIP.

Legend: C = 3 channels, H = W = image size.
"""

import io
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from store.errors import KeyclipError

MAX_PIXELS = 89_478_485  # a picture beyond this many pixels is taken for a decompression bomb; Pillow warns from there

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


# What Pillow raises for bytes that are no image, are truncated, or unpack to too much.
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning)


class BrokenImageError(KeyclipError, ValueError):
    """The bytes of an image cannot be decoded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageTransform:
    """Decode, crop, resize and normalise; ``size`` in pixels, ``mean`` and ``std`` per channel of values in [0, 1]."""

    size: int
    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD
    min_scale: float = 0.9
    """Least area of a training crop, as a share of the image; EVA-CLIP and LLM2CLIP crop between 0.9 and 1."""
    edge: int | None = None
    """Pixels of the short side that the centre square of ``size`` is cut from; by default ``size``."""
    squash: bool = False
    """Whether evaluation sees the whole image with its sides made equal (SigLIP), not its centre square (CLIP)."""
    resample: int = Image.Resampling.BICUBIC.value
    """Pillow's number of the filter."""

    def train(self, payload: bytes, random: np.random.Generator) -> np.ndarray:
        """A random crop, resized: (C, H, W) float32. The crop depends on ``random`` alone."""
        image = decode(payload)
        return self._pixels(image, _random_crop(image.size, self.min_scale, random))

    def evaluate(self, payload: bytes) -> np.ndarray:
        """The centre square, or the whole image squashed, resized to ``size``: (C, H, W) float32."""
        image = decode(payload)
        if self.squash:
            return self._pixels(image, (0, 0, *image.size))
        side = min(image.size) * self.size / (self.edge or self.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        return self._pixels(image, (left, top, left + side, top + side))

    def _pixels(self, image: Image.Image, box: tuple[float, float, float, float]) -> np.ndarray:
        resized = image.resize((self.size, self.size), Image.Resampling(self.resample), box=box)
        pixels = np.asarray(resized, dtype=np.float32) / 255.0
        normalised = (pixels - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return np.ascontiguousarray(normalised.transpose(2, 0, 1))


def decode(payload: bytes) -> Image.Image:
    """The image as RGB.

    Raises:
        BrokenImageError: the bytes are no image, are truncated, or unpack to more than ``MAX_PIXELS`` pixels.
    """
    try:
        image: Image.Image = Image.open(io.BytesIO(payload))
        if image.width * image.height > MAX_PIXELS:
            raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels are more than {MAX_PIXELS}")
        if isinstance(image.info.get("transparency"), bytes):
            image = image.convert("RGBA")  # of a palette; Pillow warns when it goes to RGB at once
        return image.convert("RGB")
    except _UNREADABLE as error:
        raise BrokenImageError(f"image cannot be decoded: {error}") from error


def _random_crop(
    size: tuple[int, int], min_scale: float, random: np.random.Generator
) -> tuple[float, float, float, float]:
    """A box of random area share in [min_scale, 1] and aspect ratio in [3/4, 4/3]; the centre where none fits."""
    width, height = size
    for _ in range(10):
        area = width * height * random.uniform(min_scale, 1.0)
        ratio = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(random.integers(0, width - w + 1)), int(random.integers(0, height - h + 1))
            return (left, top, left + w, top + h)
    w, h = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
    left, top = (width - w) // 2, (height - h) // 2
    return (left, top, left + w, top + h)
