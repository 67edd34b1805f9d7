"""What the vectors of a field look like as a whole: lengths, directions, repetition, dead dimensions.

Two passes over the field; memory for 12 bytes per vector. Legend: N vectors, D numbers each, S of them drawn.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import store
from store.common.errors import ConfigError
from store.core.contract import Field, Progress
from tools.query.histogram import Histogram
from tools.query.pieces import Rows, pieces
from tools.query.search import Search, scale_to_unit

MAX_EXAMPLES = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class NearDuplicates:
    """Vectors that nearly coincide with another one, as estimated from some that were drawn at random."""

    cosine: float
    """From this similarity on two vectors are near-duplicates."""
    num_drawn: int
    num_found: int
    """How many of the drawn vectors have a near-duplicate anywhere in the field."""
    examples: list[tuple[str, str, float]]
    """A few pairs of keys with their cosine."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stats:
    """Everything is exact but the near-duplicates and the histogram of cosines, which come from a random draw."""

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
    """Vectors whose caption has a vector under an earlier key too."""
    dead_dimensions: list[int]
    """Places of the numbers that are the same in all vectors; none if there is only one vector."""
    near_duplicates: NearDuplicates
    norms: Histogram
    cosines: Histogram


def measure(
    field: Field, *, num_drawn: int = 256, near: float = 0.98, seed: int = 0, progress: Progress | None = None
) -> Stats:
    """Measure a field.

    Args:
        num_drawn: S, vectors drawn at random without repetition: compared with each other (cosines) and with the whole
            field (near-duplicates), which costs 2 S N D operations.
        near: cosine from which two vectors are near-duplicates.

    Raises:
        ConfigError: the field is empty.
        DamagedBlockError: stored bytes do not match their checksum.
    """
    count = len(field)
    if not count:
        raise ConfigError(f"field {field.name!r} holds no vector yet; run `keyclip embed`")
    drawn_rows = np.sort(np.random.default_rng(seed).choice(count, min(num_drawn, count), replace=False))
    totals = _Totals(count, field, drawn_rows)
    for piece in pieces(field, progress):
        totals.add(totals.rows.add(piece), piece.vectors, piece.caption_hashes)
    norms = totals.norms[: totals.rows.count]
    known = totals.hashes[: len(norms)]
    known = known[known != store.UNKNOWN_CAPTION]
    nonzero = int(np.count_nonzero(norms))
    pairs = nonzero * (nonzero - 1)
    drawn = scale_to_unit(totals.drawn)
    cosines = (drawn @ drawn.T)[np.triu_indices(len(drawn), 1)]
    return Stats(
        num_vectors=len(norms),
        num_zero=len(norms) - nonzero,
        norm_min=float(norms.min()),
        norm_mean=float(norms.mean(dtype=np.float64)),
        norm_max=float(norms.max()),
        norm_std=float(norms.std(dtype=np.float64)),
        mean_cosine=float((totals.unit_sum @ totals.unit_sum - nonzero) / pairs) if pairs else None,
        num_repeated_captions=len(known) - len(np.unique(known)),
        dead_dimensions=np.flatnonzero(totals.low == totals.high).tolist() if len(norms) > 1 else [],
        near_duplicates=_near_duplicates(field, totals.rows.keys(drawn_rows), drawn, near, progress),
        norms=Histogram.of("lengths of the vectors", norms),
        cosines=Histogram.of(f"cosines between {len(drawn):,} vectors drawn at random", cosines),
    )


class _Totals:
    """What one pass gathers."""

    def __init__(self, count: int, field: Field, drawn_rows: NDArray[np.int64]) -> None:
        dim = field.spec.dim
        self.rows = Rows(field)
        self.norms = np.zeros(count, np.float32)
        self.hashes = np.zeros(count, np.uint64)
        self.unit_sum = np.zeros(dim)
        self.low = np.full(dim, np.inf, np.float32)
        self.high = np.full(dim, -np.inf, np.float32)
        self.drawn = np.empty((len(drawn_rows), dim), np.float32)
        self._drawn_rows = drawn_rows

    def add(self, first: int, vectors: NDArray[np.float32], hashes: NDArray[np.uint64]) -> None:
        """Take in a piece, up to the number of vectors that there were at the beginning; changes ``vectors``."""
        vectors = vectors[: max(0, len(self.norms) - first)]
        if not len(vectors):
            return
        last = first + len(vectors)
        self.hashes[first:last] = hashes[: len(vectors)]
        self.norms[first:last] = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
        np.minimum(self.low, vectors.min(axis=0), out=self.low)
        np.maximum(self.high, vectors.max(axis=0), out=self.high)
        begin, end = np.searchsorted(self._drawn_rows, [first, last])
        self.drawn[begin:end] = vectors[self._drawn_rows[begin:end] - first]
        self.unit_sum += scale_to_unit(vectors).sum(axis=0)


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
