"""The hashes of the store, all XXH3: captions (64 bits), sample keys (128 bits) and checksums (64 bits)."""

from collections.abc import Iterable

import numpy as np
import xxhash
from numpy.typing import NDArray

UNKNOWN_CAPTION = 0
"""The caption hash of a vector whose caption is not known, as after an import."""


def caption_hash(text: str) -> int:
    """XXH3-64 (seed 0) of the caption's UTF-8 bytes; half surrogate pairs, which json may hold, count too."""
    return xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass"))


def caption_hashes(texts: Iterable[str]) -> NDArray[np.uint64]:
    """XXH3-64 of every caption: (n,) uint64, in order."""
    digests = b"".join(map(xxhash.xxh3_64_digest, (text.encode("utf-8", "surrogatepass") for text in texts)))
    return np.frombuffer(digests, dtype=">u8").astype(np.uint64)


def captions_differ(ours: NDArray[np.uint64], theirs: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Where two arrays of caption hashes (n,) differ: (n,) bool; an unknown caption differs from none."""
    differ: NDArray[np.bool_] = (ours != theirs) & (ours != UNKNOWN_CAPTION) & (theirs != UNKNOWN_CAPTION)
    return differ


def key_hashes(encoded_keys: Iterable[bytes]) -> NDArray[np.uint64]:
    """XXH3-128 of every key: (n, 2) uint64, the 16 bytes of the digest read as two little-endian numbers.

    With 30 million keys the chance that any two share a hash is about 1e-24, so only hashes are compared.
    """
    digests = b"".join(map(xxhash.xxh3_128_digest, encoded_keys))
    return np.frombuffer(digests, dtype="<u8").reshape(-1, 2)


def checksum(*parts: bytes | NDArray[np.uint8]) -> int:
    """XXH3-64 of the parts' bytes put together."""
    state = xxhash.xxh3_64()
    for part in parts:
        state.update(part.data if isinstance(part, np.ndarray) else part)
    return state.intdigest()
