"""Statistics of the vectors of a field: lengths, directions, repetition, dead dimensions.

Two passes over the field; memory for 12 bytes per vector. Legend: N vectors, D numbers each, S of them drawn.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import store
from store.common.errors import ConfigError
from store.core.contract import Field, Progress
from tools.query.histogram import Histogram
from tools.query.pieces import Pieces
from tools.query.search import Search, scale_to_unit

MAX_EXAMPLES = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class NearDuplicates:
    """Vectors that nearly coincide with another one, estimated from a random draw."""

    cosine: float
    """Two vectors are near-duplicates if their cosine is at least this."""
    num_drawn: int
    num_found: int
    """Drawn vectors that have a near-duplicate anywhere in the field."""
    examples: list[tuple[str, str, float]]
    """A few pairs of keys with their cosine."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stats:
    """All numbers are exact but the near-duplicates and the histogram of cosines, which come from a random draw."""

    num_vectors: int
    num_zero: int
    """Vectors of length zero."""
    norm_min: float
    norm_mean: float
    norm_max: float
    norm_std: float
    mean_cosine: float | None
    """Mean over all pairs of two different vectors that are not zero; None if there are no two."""
    num_repeated_captions: int
    """Vectors whose caption also has a vector under an earlier key."""
    dead_dimensions: list[int]
    """Positions at which all vectors have the same number; none if there is only one vector."""
    near_duplicates: NearDuplicates
    norms: Histogram
    cosines: Histogram


def measure(
    field: Field, *, num_drawn: int = 256, near: float = 0.98, seed: int = 0, progress: Progress | None = None
) -> Stats:
    """Measure a field as it is at the beginning: vectors that are committed meanwhile are left out.

    Args:
        num_drawn: S, vectors drawn at random without repetition. They are compared with each other (cosines) and with
            the whole field (near-duplicates), which costs 2 S N D operations.
        near: cosine from which two vectors are near-duplicates.

    Raises:
        ConfigError: the field is empty.
        DamagedBlockError: stored bytes do not match their checksum.
    """
    count, dim = len(field), field.spec.dim
    if not count:
        raise ConfigError(f"field {field.name!r} holds no vector yet; run `keyclip embed`")
    norms, hashes, unit_sum = np.zeros(count, np.float32), np.zeros(count, np.uint64), np.zeros(dim)
    low, high = np.full(dim, np.inf, np.float32), np.full(dim, -np.inf, np.float32)
    drawn_rows = np.sort(np.random.default_rng(seed).choice(count, min(num_drawn, count), replace=False))
    drawn = np.empty((len(drawn_rows), dim), np.float32)
    pieces = Pieces(field, progress)
    for piece in pieces:
        first, last = piece.first, min(piece.first + len(piece.vectors), count)
        vectors = piece.vectors[: max(0, last - first)]
        if not len(vectors):
            continue
        hashes[first:last] = piece.caption_hashes[: len(vectors)]
        norms[first:last] = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
        np.minimum(low, vectors.min(axis=0), out=low)
        np.maximum(high, vectors.max(axis=0), out=high)
        begin, end = np.searchsorted(drawn_rows, [first, last])
        drawn[begin:end] = vectors[drawn_rows[begin:end] - first]
        unit_sum += scale_to_unit(vectors).sum(axis=0)
    norms, hashes = norms[: pieces.num_rows], hashes[: pieces.num_rows]
    known = hashes[hashes != store.UNKNOWN_CAPTION]
    nonzero = int(np.count_nonzero(norms))
    pairs = nonzero * (nonzero - 1)
    scale_to_unit(drawn)
    cosines = (drawn @ drawn.T)[np.triu_indices(len(drawn), 1)]
    return Stats(
        num_vectors=len(norms),
        num_zero=len(norms) - nonzero,
        norm_min=float(norms.min()),
        norm_mean=float(norms.mean(dtype=np.float64)),
        norm_max=float(norms.max()),
        norm_std=float(norms.std(dtype=np.float64)),
        mean_cosine=float((unit_sum @ unit_sum - nonzero) / pairs) if pairs else None,
        num_repeated_captions=len(known) - len(np.unique(known)),
        dead_dimensions=np.flatnonzero(low == high).tolist() if len(norms) > 1 else [],
        near_duplicates=_near_duplicates(field, pieces.keys(drawn_rows), drawn, near, progress),
        norms=Histogram.of("lengths of the vectors", norms),
        cosines=Histogram.of(f"cosines between {len(drawn):,} vectors drawn at random", cosines),
    )


def _near_duplicates(
    field: Field, keys: dict[int, str], drawn: NDArray[np.float32], near: float, progress: Progress | None
) -> NearDuplicates:
    found = Search(field, progress=progress).nearest(drawn, 2)
    pairs = []
    for key, hits in zip(keys.values(), found, strict=True):
        other = next((hit for hit in hits if hit.key != key), None)
        if other is not None and other.similarity >= near:
            pairs.append((key, other.key, other.similarity))
    examples = sorted(pairs, key=lambda pair: -pair[2])[:MAX_EXAMPLES]
    return NearDuplicates(cosine=near, num_drawn=len(drawn), num_found=len(pairs), examples=examples)
