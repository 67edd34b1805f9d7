"""Vectors of recent captions, so that a caption which comes again later in a run is not computed again."""

from collections import OrderedDict
from collections.abc import Iterable

import numpy as np


class Recent:
    """A memory of bounded size that forgets what was not asked for the longest. For one thread."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._vectors: OrderedDict[str, np.ndarray] = OrderedDict()

    def get(self, caption: str) -> np.ndarray | None:
        """The (D,) float32 vector of ``caption``, if remembered."""
        if caption in self._vectors:
            self._vectors.move_to_end(caption)
        return self._vectors.get(caption)

    def add(self, captions: Iterable[str], vectors: np.ndarray) -> None:
        """Remember new captions with their vectors (n, D), which are copied."""
        for caption, vector in zip(captions, vectors, strict=True):
            self._vectors[caption] = vector.copy()
            self._bytes += _size(caption, vector)
        while self._bytes > self._max_bytes:
            self._bytes -= _size(*self._vectors.popitem(last=False))


def _size(caption: str, vector: np.ndarray) -> int:
    return 4 * len(caption) + vector.nbytes
