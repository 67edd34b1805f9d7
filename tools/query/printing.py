"""Text and progress bars for terminals."""

import re
import sys
from typing import Any

from tqdm import tqdm

from store.core.contract import Progress

_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def progress_bar(quiet: bool) -> Progress:
    """A bar on stderr, one per field."""
    bars: dict[str, tqdm[Any]] = {}

    def show(field: str, done: int, total: int) -> None:
        hidden = quiet or not sys.stderr.isatty()
        bar = bars.setdefault(field, tqdm(desc=printable(field), unit=" blocks", disable=hidden))
        bar.total = total
        bar.update(done - bar.n)
        if done == total:
            bars.pop(field).close()

    return show


def printable(text: str) -> str:
    """Text that cannot steer a terminal: control characters, direction marks, line separators and halves of surrogate
    pairs are shown as escapes.
    """
    return _STEERING.sub(lambda found: ascii(found[0])[1:-1], text)


def gigabytes(num_bytes: int) -> str:
    """``1.25 GB``; smaller sizes in MB or kB."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if num_bytes >= size:
            return f"{num_bytes / size:.2f} {unit}"
    return f"{num_bytes / 1e3:.1f} kB"
