"""From an image's bytes to the input of a tower, with the augmentation of EVA-CLIP and LLM2CLIP.

Legend: B batch, C = 3 channels, H = W = image size.

Pixels stay 8-bit until they are on the tower's device: normalising them costs as much as decoding and resizing
together, and float32 is four times as much to hand from a loader worker to the GPU.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from trainer.images.decoding import BrokenImageError as BrokenImageError
from trainer.images.decoding import decode_pixels, upright_rgb

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

OVERSAMPLING = 1.75
"""A JPEG is scaled down while decoding only if a training crop keeps this many times the tower's pixels per side."""

_TORCH_FILTERS = {Image.Resampling.BILINEAR.value: "bilinear", Image.Resampling.BICUBIC.value: "bicubic"}
"""Filters that torch has for 8-bit pixels: Pillow's, within 2 of 255, at a third of the time."""


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
        """A random crop, resized: (C, H, W) uint8. The crop depends on ``random`` alone.

        Raises: BrokenImageError: the image cannot be decoded.
        """
        least_crop = math.sqrt(self.min_scale * 3 / 4)  # of the image's shorter side; see _random_crop
        pixels_HWC = decode_pixels(payload, math.ceil(OVERSAMPLING * self.size / least_crop))
        height, width, _ = pixels_HWC.shape
        left, top, right, bottom = _random_crop((width, height), self.min_scale, random)
        crop_HWC = pixels_HWC[top:bottom, left:right]
        if self.resample not in _TORCH_FILTERS:
            return self._resized(Image.fromarray(crop_HWC))
        crop_BCHW = torch.from_numpy(crop_HWC).permute(2, 0, 1)[None]
        size, mode = (self.size, self.size), _TORCH_FILTERS[self.resample]
        return F.interpolate(crop_BCHW, size, mode=mode, antialias=True)[0].numpy()

    def evaluate(self, payload: bytes) -> np.ndarray:
        """The centre square, or the whole image squashed, resized to ``size``: (C, H, W) uint8.

        Raises: BrokenImageError: the image cannot be decoded.
        """
        return self.evaluate_picture(Image.fromarray(decode_pixels(payload)))

    def evaluate_picture(self, image: Image.Image) -> np.ndarray:
        """:meth:`evaluate` of an image that Pillow has opened: (C, H, W) uint8.

        Raises: BrokenImageError: it cannot be decoded; Pillow opens truncated files.
        """
        image = upright_rgb(image)
        if self.squash:
            return self._resized(image)
        side = min(image.size) * self.size / (self.edge or self.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        return self._resized(image, (left, top, left + side, top + side))

    def _resized(self, image: Image.Image, box: tuple[float, float, float, float] | None = None) -> np.ndarray:
        resized = image.resize((self.size, self.size), Image.Resampling(self.resample), box=box)
        return np.asarray(resized).transpose(2, 0, 1).copy()

    def normalize(self, image_BCHW: torch.Tensor) -> torch.Tensor:
        """A tower's input: ``(image / 255 - mean) / std`` of uint8 pixels, (B, C, H, W) float32, on their device."""
        mean_C11, std_C11 = (_per_channel(values, image_BCHW.device) for values in (self.mean, self.std))
        return image_BCHW.float().div_(255).sub_(mean_C11).div_(std_C11)


@lru_cache  # else each step would wait for a copy to the GPU
def _per_channel(values: tuple[float, ...], device: torch.device) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device)[:, None, None]


def _random_crop(size: tuple[int, int], min_scale: float, random: np.random.Generator) -> tuple[int, int, int, int]:
    """A box of random area share in [min_scale, 1] and aspect ratio in [3/4, 4/3]; the centre after 10 failed tries."""
    width, height = size
    *tries, (x, y) = random.random((11, 2)).tolist()  # in [0, 1), in one call: 11 calls cost as much as resizing
    for share, shape in tries:
        area = width * height * (min_scale + share * (1 - min_scale))
        ratio = (4 / 3) ** (2 * shape - 1)
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(x * (width - w + 1)), int(y * (height - h + 1))
            return (left, top, left + w, top + h)
    w, h = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
    left, top = (width - w) // 2, (height - h) // 2
    return (left, top, left + w, top + h)
