"""Exact nearest neighbours by cosine in a field of any size.

Legend: Q queries, n rows at a time, N vectors of the field, D numbers per vector, k neighbours.
"""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from store.common.errors import ConfigError
from store.core.contract import Field, Progress
from tools.query.pieces import PIECE_NUMBERS, Pieces

Engine = Literal["numpy", "faiss"]
Matrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Hit:
    """A vector near a query."""

    key: str
    similarity: float
    """Cosine, -1 to 1; 0 where one of the two is a zero vector."""


def scale_to_unit(vectors: Matrix) -> Matrix:
    """Scale the rows of (n, D) float32 to length 1, in place; zero vectors stay. Returns ``vectors``."""
    norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    norms[norms == 0] = 1
    vectors /= norms[:, None]
    return vectors


class Search:
    """Neighbours in one field, compared with every vector of it.

    If the vectors take at most ``max_bytes`` as float32, they are read once and stay in memory: vectors committed later
    are not found. Else every search reads the field again, piece by piece. (Keeping them as float16 saves no time:
    converting takes as long as reading them again through the page cache.)

    Among equal similarities the row that was committed first comes first (with faiss: any).

    Raises:
        ConfigError: the engine is not installed.
        DamagedBlockError: stored bytes do not match their checksum.
    """

    def __init__(
        self, field: Field, *, max_bytes: int = 0, engine: Engine = "numpy", progress: Progress | None = None
    ) -> None:
        self.field = field
        self._engine = _faiss() if engine == "faiss" else None
        self._progress = progress
        self._kept = Pieces(field, progress)
        self._memory = self._load(len(field)) if 4 * len(field) * field.spec.dim <= max_bytes else None

    @property
    def in_memory(self) -> bool:
        """Whether the vectors are kept in memory."""
        return self._memory is not None

    def nearest(self, queries: NDArray[Any], k: int) -> list[list[Hit]]:
        """For each query (Q, D) its ``k`` nearest vectors, best first; fewer if the field holds fewer.

        Raises:
            ConfigError: the queries are of another width than the field.
        """
        if queries.ndim != 2 or queries.shape[1] != self.field.spec.dim:
            wanted = f"field {self.field.name!r} of width {self.field.spec.dim}"
            raise ConfigError(f"a query of shape {queries.shape} does not fit {wanted}")
        units = scale_to_unit(queries.astype(np.float32))
        k = min(k, len(self.field))
        if not k:
            return [[] for _ in units]
        best = _Best(len(units), k)
        pieces = self._kept if self._memory is not None else Pieces(self.field, self._progress)
        for first, vectors in self._units(pieces):
            if self._engine is None:
                best.offer_all(units @ vectors.T, first)
            else:
                metric = self._engine.METRIC_INNER_PRODUCT
                similarity, column = self._engine.knn(units, vectors, min(k, len(vectors)), metric)
                best.offer(similarity, column, first)
        keys = pieces.keys(best.row[best.row >= 0])
        return [
            [Hit(keys[row], float(s)) for row, s in zip(*pair, strict=True) if row >= 0]
            for pair in zip(best.row.tolist(), best.similarity.tolist(), strict=True)
        ]

    def _load(self, count: int) -> Matrix:
        memory = np.empty((count, self.field.spec.dim), np.float32)
        for piece in self._kept:
            if piece.first + len(piece.vectors) > count:
                break  # committed after the count
            memory[piece.first : piece.first + len(piece.vectors)] = scale_to_unit(piece.vectors)
        return memory

    def _units(self, pieces: Pieces) -> Iterator[tuple[int, Matrix]]:
        """Unit vectors in pieces, each with the number of its first row; from memory if they are there."""
        if self._memory is None:
            yield from ((piece.first, scale_to_unit(piece.vectors)) for piece in pieces)
            return
        step = max(1, PIECE_NUMBERS // self.field.spec.dim)
        for first in range(0, len(self._memory), step):
            yield first, self._memory[first : first + step]


class _Best:
    """The ``k`` best rows so far of every query, best first: similarity and row (Q, k); -inf and -1 where none is."""

    def __init__(self, num_queries: int, k: int) -> None:
        self.similarity = np.full((num_queries, k), -np.inf, np.float32)
        self.row = np.full((num_queries, k), -1, np.int64)

    def offer_all(self, similarity: Matrix, first: int) -> None:
        """Take in the similarities (Q, n) of all rows from ``first`` on."""
        k = self.row.shape[1]
        least = self.similarity[:, -1]  # a later row of the same similarity comes after the ones kept
        if similarity.shape[1] > k and np.isneginf(least).any():
            kth = np.partition(similarity, -k, axis=1)[:, -k]
            least = np.maximum(least, np.nextafter(kth, np.float32(-np.inf)))
        query, column = np.nonzero(similarity > least[:, None])
        self._merge(query, similarity[query, column], first + column)

    def offer(self, similarity: Matrix, column: NDArray[np.int64], first: int) -> None:
        """Take in the best few (Q, m) of the rows from ``first`` on, by their column."""
        query = np.repeat(np.arange(len(similarity)), similarity.shape[1])
        self._merge(query, similarity.reshape(-1), first + column.reshape(-1))

    def _merge(self, query: NDArray[np.int64], similarity: Matrix, row: NDArray[np.int64]) -> None:
        num_queries, k = self.row.shape
        query = np.concatenate([np.repeat(np.arange(num_queries), k), query])
        similarity = np.concatenate([self.similarity.reshape(-1), similarity])
        row = np.concatenate([self.row.reshape(-1), row])
        order = np.lexsort((row, -similarity, query))
        starts = np.searchsorted(query[order], np.arange(num_queries))
        kept = order[starts[:, None] + np.arange(k)]
        self.similarity, self.row = similarity[kept], row[kept]


def _faiss() -> Any:
    try:
        return importlib.import_module("faiss")
    except ImportError as error:
        raise ConfigError("--engine faiss needs the package faiss; install keyclip[faiss]") from error
