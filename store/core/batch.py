"""One block of keys and vectors, checked and converted before a writer takes any lock."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xxhash
from numpy.typing import ArrayLike, NDArray

from store.common.errors import BlockExistsError, DuplicateKeyError, InvalidKeysError, InvalidVectorsError
from store.core.dtypes import encode
from store.core.naming import check_name, encoded
from store.core.spec import FieldSpec
from store.index.hashing import key_hashes
from store.index.keytable import ABSENT, Places


def join_keys(keys: Sequence[str]) -> bytes:
    """The UTF-8 bytes of the keys with one NUL between them: the form in which a block keeps them.

    Raises:
        InvalidKeysError: a key is empty, not text, or holds NUL.
    """
    try:
        joined = encoded("\0".join(keys), "sample key")
    except TypeError:
        wrong = next(key for key in keys if not isinstance(key, str))
        raise InvalidKeysError(f"sample key {wrong!r:.100} is {type(wrong).__name__}; expected str") from None
    if "" in keys or joined.count(b"\0") != max(0, len(keys) - 1):
        wrong = next(key for key in keys if not key or "\0" in key)
        raise InvalidKeysError(f"sample key {wrong!r:.100} is empty or holds NUL; give every sample a real key")
    return joined


def split_keys(joined: bytes) -> list[str]:
    """Inverse of :func:`join_keys`."""
    return joined.decode().split("\0") if joined else []


def hash_keys(keys: Sequence[str]) -> NDArray[np.uint64]:
    """XXH3-128 of the keys: (n, 2) uint64.

    Raises:
        InvalidKeysError: a key is not text, or ``keys`` is a single one.
    """
    if isinstance(keys, str):
        raise InvalidKeysError(f"keys must be a sequence of sample keys, not the one text {keys!r:.100}")
    try:
        return key_hashes(map(str.encode, keys))
    except (TypeError, UnicodeEncodeError):
        join_keys(keys)  # raises, and names the key
        raise


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """One block, ready to be stored. ``n`` keys; row ``i`` belongs to key ``i``."""

    block: str
    keys: list[str]
    joined_keys: bytes
    hashes: NDArray[np.uint64]
    """XXH3-128 of the keys: (n, 2)."""
    caption_hashes: NDArray[np.uint64]
    """(n,)"""
    rows: NDArray[Any]
    """Stored numbers: (n, dim)."""
    scales: NDArray[np.float32] | None
    """int8 only: (n,)."""

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def content_digest(self) -> bytes:
        """XXH3-128 (16 bytes) of the keys in order and their caption hashes: equal for the same block written again.

        Vectors do not count: the last bits of an encoder's vectors depend on how captions were batched.
        """
        return xxhash.xxh3_128_digest(self.joined_keys + b"\0" + self.caption_hashes.astype("<u8").tobytes())

    def require_same_content(self, field: str, content_digest: bytes) -> None:
        """Raises BlockExistsError unless the committed block of this name has the same keys and captions."""
        if content_digest != self.content_digest:
            raise BlockExistsError(
                f"block {self.block!r} of field {field!r} is there already with other keys or captions; "
                "commit under another name, or drop the block first"
            )

    def require_new_keys(self, field: str, places: Places, block_at: Callable[[int], str]) -> None:
        """Raises DuplicateKeyError if a key has a place in the field already; ``block_at`` names the place's block."""
        if len(there := np.flatnonzero(places != ABSENT)):
            more = f" (and {len(there) - 1} more keys)" if len(there) > 1 else ""
            raise DuplicateKeyError(
                f"key {self.keys[there[0]]!r}{more} of block {self.block!r} is in field {field!r} already, "
                f"in block {block_at(int(places[there[0]]))!r}; keys are unique in a field: datasets whose keys "
                "collide need a store each"
            )


def make_batch(
    spec: FieldSpec, block: str, keys: Sequence[str], vectors: NDArray[Any], caption_hashes: ArrayLike
) -> Batch:
    """Check and convert the arguments of ``commit``.

    Raises:
        InvalidKeysError: a key or the block's name cannot be stored.
        DuplicateKeyError: a key comes twice.
        InvalidVectorsError: wrong shape or type, NaN, infinite, or too large for the field's dtype.
    """
    keys = list(keys)
    joined = join_keys(keys)
    hashes = hash_keys(keys)
    if (twice := first_repeated(hashes)) is not None:
        raise DuplicateKeyError(f"key {keys[twice]!r} comes twice in block {block!r}; keys are unique in a field")
    vectors = np.asarray(vectors)
    if vectors.dtype.name == "bfloat16":
        vectors = vectors.astype(np.float32)
    if vectors.shape != (len(keys), spec.dim) or vectors.dtype.kind != "f":
        raise InvalidVectorsError(
            f"block {block!r} was given vectors of shape {vectors.shape} and type {vectors.dtype}; expected "
            f"({len(keys)}, {spec.dim}) for its {len(keys)} keys, as float16, float32 or float64"
        )
    captions = np.asarray(caption_hashes)
    if captions.shape != (len(keys),) or (captions.dtype != np.uint64 and len(keys)):
        raise InvalidVectorsError(
            f"block {block!r} was given caption hashes of shape {captions.shape} and type {captions.dtype}; "
            f"expected ({len(keys)},) uint64, as store.caption_hashes makes them"
        )
    rows, scales = encode(vectors, spec.dtype, keys)
    return Batch(
        block=check_name(block, "block"),
        keys=keys,
        joined_keys=joined,
        hashes=hashes,
        caption_hashes=captions.astype(np.uint64),
        rows=rows,
        scales=scales,
    )


def first_repeated(hashes: NDArray[np.uint64]) -> int | None:
    """The first row of ``hashes`` (n, 2) that an earlier row equals; None if all differ."""
    order = np.lexsort((hashes[:, 1], hashes[:, 0]))
    same = (hashes[order[1:]] == hashes[order[:-1]]).all(axis=1)
    return int(order[1:][same].min()) if same.any() else None
