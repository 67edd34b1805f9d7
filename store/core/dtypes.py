"""Conversion between float vectors and stored bytes: a row is ``dim`` little-endian numbers; int8 adds a scale per row.

float16, float32 and bfloat16 round to the nearest number, ties to even. int8 stores ``q = rint(x / s)`` with
``s = max|x| / 127`` of the row as float32; reading gives ``q * s``.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from store.common.errors import InvalidVectorsError
from store.core.spec import StoredDtype

STORAGE: dict[str, np.dtype[Any]] = {
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype("<u2"),
    "int8": np.dtype("i1"),
}
"""numpy's type of a stored number; numpy has no bfloat16, so a uint16 holds its bits."""

OUTPUTS = (np.dtype(np.float16), np.dtype(np.float32))


def row_bytes(dtype: StoredDtype, dim: int) -> int:
    """Bytes of one stored row, without the scale."""
    return STORAGE[dtype].itemsize * dim


def has_scales(dtype: StoredDtype) -> bool:
    """Whether every row of this dtype has a float32 scale."""
    return dtype == "int8"


def default_output(dtype: StoredDtype) -> np.dtype[Any]:
    """The dtype that ``get`` returns by default: float16 for float16, else float32."""
    return OUTPUTS[0] if dtype == "float16" else OUTPUTS[1]


def encode(
    vectors: NDArray[Any], dtype: StoredDtype, keys: Sequence[str]
) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
    """Convert float vectors (n, d) to stored rows (n, d) and, for int8, scales (n,) float32.

    Raises:
        InvalidVectorsError: a number is NaN or infinite, or becomes infinite in ``dtype``; names the key.
    """
    _require(np.isfinite(vectors), keys, "is NaN or infinite; the encoder is at fault, so nothing was stored")
    if dtype == "int8":
        vectors = vectors.astype(np.float32, copy=False)
        scales = (np.abs(vectors).max(axis=1, initial=0) / np.float32(127)).astype(np.float32)
        divisors = np.where(scales > 0, scales, np.float32(1))
        return np.clip(np.rint(vectors / divisors[:, None]), -127, 127).astype(np.int8), scales
    wider = "bfloat16 or float32" if dtype == "float16" else "float32"
    too_large = f"is too large for {dtype}; store the field as {wider}"
    with np.errstate(over="ignore", under="ignore"):
        rows = vectors.astype(np.float16 if dtype == "float16" else np.float32, copy=False)
    if rows.dtype != vectors.dtype:
        _require(np.isfinite(rows), keys, too_large)
    if dtype != "bfloat16":
        return np.ascontiguousarray(rows, dtype=STORAGE[dtype]), None
    bits = rows.view(np.uint32)
    rounded = ((bits + ((bits >> 16) & 1) + np.uint32(0x7FFF)) >> 16).astype(STORAGE[dtype])
    _require((rounded & 0x7F80) != 0x7F80, keys, too_large)
    return rounded, None


def _require(fine: NDArray[np.bool_], keys: Sequence[str], complaint: str) -> None:
    if not fine.all():
        raise InvalidVectorsError(f"the vector of key {keys[int(np.argmin(fine.all(axis=1)))]!r} {complaint}")


def decode(rows: NDArray[Any], scales: NDArray[np.float32] | None, dtype: StoredDtype, out: NDArray[Any]) -> None:
    """Convert stored rows (n, d) into ``out`` (n, d) float16 or float32; quickest while both fit in a core's cache.

    Raises:
        InvalidVectorsError: a stored number is too large for float16.
    """
    if dtype in ("bfloat16", "int8"):
        if out.dtype == np.float32:
            _widen(rows, scales, out)
            return
        wide = np.empty(out.shape, np.float32)
        _widen(rows, scales, wide)
        rows = wide
    try:
        with np.errstate(over="raise"):
            np.copyto(out, rows, casting="same_kind")
    except FloatingPointError as error:
        raise InvalidVectorsError("a stored number is too large for float16; ask for dtype float32") from error


def _widen(rows: NDArray[Any], scales: NDArray[np.float32] | None, out: NDArray[Any]) -> None:
    """bfloat16 bits, or int8 and scales, to float32, without temporary arrays."""
    if scales is None:
        bits = out.view(np.uint32)
        np.copyto(bits, rows)
        np.left_shift(bits, 16, out=bits)
    else:
        np.copyto(out, rows)
        np.multiply(out, scales[:, None], out=out)
