"""Ranks of queries as text in a result file."""

import base64
import zlib
from collections.abc import Sequence

import numpy as np
import torch

WAYS = ("image_to_text", "text_to_image")
_MOST_BYTES = 2**29  # of packed ranks: 134 million queries


def pack(values: np.ndarray | torch.Tensor | Sequence[int]) -> str:
    """Whole numbers as text: little-endian int32, compressed, base64."""
    return base64.b64encode(zlib.compress(np.asarray(values, dtype="<i4").tobytes(), 9)).decode()


def unpack(text: str) -> np.ndarray:
    """The numbers of a text of :func:`pack`, (n,) int64. Raises: ValueError: it is damaged."""
    try:
        unpacking = zlib.decompressobj()
        data = unpacking.decompress(base64.b64decode(text, validate=True), _MOST_BYTES)
        if not unpacking.eof:
            raise ValueError("they are cut short or too many")
        return np.frombuffer(data, dtype="<i4").astype(np.int64)
    except (zlib.error, ValueError) as error:
        raise ValueError(f"packed ranks are damaged: {error}") from error
