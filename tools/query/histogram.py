"""Histograms as data, as text and as a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_INK, _SOFT, _BAR, _PAGE = "#1d2330", "#5c6577", "#2f6fde", "#ffffff"
_WIDTH, _HEIGHT, _MARGIN = 720, 300, 48


@dataclass(frozen=True, slots=True)
class Histogram:
    """How often values fall between neighbouring edges; the last bin holds its upper edge too."""

    name: str
    edges: list[float]
    """(bins + 1,) ascending."""
    counts: list[int]
    """(bins,)"""

    @classmethod
    def of(cls, name: str, values: NDArray[Any], bins: int = 20) -> Self:
        """A histogram of finite values; if all are equal, the bins are around them."""
        low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
        least = 1e-6 * max(abs(low), abs(high), 1e-30)  # so that edges differ
        if high - low < least:
            low, high = low - bins * least, high + bins * least
        counts, edges = np.histogram(values.astype(np.float64), bins, (low, high))
        return cls(name, edges.tolist(), counts.tolist())

    def labels(self) -> list[str]:
        """The edges (bins + 1,) with as many digits as they need to differ, at least 4."""
        return next(
            labels
            for digits in range(4, 18)
            if len(set(labels := [f"{edge:.{digits}g}" for edge in self.edges])) == len(labels) or digits == 17
        )

    def lines(self, width: int = 40) -> list[str]:
        """A line per bin: its lower edge, a bar of up to ``width`` characters, its count."""
        most = max(self.counts) or 1
        edges = self.labels()[:-1]
        room = max(map(len, edges))
        lines = []
        for edge, count in zip(edges, self.counts, strict=True):
            eighths = round(8 * width * count / most) or bool(count)
            full, rest = divmod(eighths, 8)
            filled = ("█" * full + (_EIGHTHS[rest] if rest else "")).ljust(width)
            lines.append(f"{edge:>{room}} {filled} {count:,}")
        return lines


def save_png(histograms: Sequence[Histogram], file: Path) -> None:
    """Draw histograms below each other."""
    picture = Image.new("RGB", (_WIDTH, _HEIGHT * len(histograms)), _PAGE)
    for number, histogram in enumerate(histograms):
        _draw(ImageDraw.Draw(picture), histogram, number * _HEIGHT)
    picture.save(file, "PNG")


def _draw(draw: ImageDraw.ImageDraw, histogram: Histogram, top: int) -> None:
    font, small = ImageFont.load_default(18), ImageFont.load_default(13)
    draw.text((_MARGIN, top + 14), histogram.name, _INK, font)
    left, right, ground, ceiling = _MARGIN, _WIDTH - _MARGIN, top + _HEIGHT - 40, top + 60
    most, step = max(histogram.counts) or 1, (right - left) / len(histogram.counts)
    for place, count in enumerate(histogram.counts):
        if count:
            height = max(1.0, (ground - ceiling) * count / most)
            draw.rectangle((left + place * step + 1, ground - height, left + (place + 1) * step - 1, ground), _BAR)
    draw.line((left, ground, right, ground), _SOFT)
    draw.text((right, ceiling - 8), f"highest: {most:,}", _SOFT, small, anchor="rs")
    labels = histogram.labels()
    for place in range(0, len(labels), max(1, len(histogram.counts) // 5)):
        draw.text((left + place * step, ground + 8), labels[place], _SOFT, small, anchor="mt")
