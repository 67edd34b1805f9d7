"""A pass over a whole field in pieces of bounded size, however large its blocks are.

Legend: n rows of a piece, D numbers per vector.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from store.core.contract import Field, Progress

PIECE_NUMBERS = 2**22
"""Numbers read at a time: 16 MiB of float32."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Neighbouring rows of one block."""

    first: int
    """Number of the first row in the pass."""
    block: str
    start: int
    """Number of the first row in the block."""
    vectors: NDArray[np.float32]
    """(n, D), valid until the next piece is read; may be changed in place."""
    caption_hashes: NDArray[np.uint64]
    """(n,)"""


def block_keys(field: Field, block: str) -> list[str]:
    """The keys of a block, in the order of its rows. Raises BlockNotFoundError."""
    with field.snapshot() as snapshot:
        return snapshot.block_keys(block)


class Pieces:
    """The vectors of a field, block after block in the order of commits; rows are numbered over all blocks.

    Raises:
        DamagedBlockError: stored bytes do not match their checksum.
    """

    def __init__(self, field: Field, progress: Progress | None = None) -> None:
        """``progress``: called with (field, blocks done, blocks in all)."""
        self._field = field
        self._progress = progress
        self._read: list[tuple[int, str, int]] = []
        """First row, block and row in the block of each piece so far."""
        self.num_rows = 0
        """Rows that were read so far."""

    def __iter__(self) -> Iterator[Piece]:
        rows_at_once = max(1, PIECE_NUMBERS // self._field.spec.dim)
        buffer = np.empty((rows_at_once, self._field.spec.dim), np.float32)
        blocks = self._field.blocks()
        for done, block in enumerate(blocks, start=1):
            with self._field.snapshot() as snapshot:
                places = snapshot.block_places(block)
                for start in range(0, len(places), rows_at_once):
                    part = places[start : start + rows_at_once]
                    vectors = self._field.fill(snapshot, part, buffer[: len(part)])
                    first = self.num_rows
                    self._read.append((first, block, start))
                    self.num_rows += len(part)
                    yield Piece(first, block, start, vectors, snapshot.take_caption_hashes(part))
            if self._progress:
                self._progress(self._field.name, done, len(blocks))

    def keys(self, rows: NDArray[np.int64]) -> dict[int, str]:
        """The keys of some rows, by the rows' numbers.

        Raises:
            BlockNotFoundError: the block was dropped since it was read.
        """
        found: dict[int, str] = {}
        rows = np.unique(rows)
        pieces = np.searchsorted([first for first, *_ in self._read], rows, side="right") - 1
        current, keys = "", list[str]()
        for row, piece in zip(rows.tolist(), pieces.tolist(), strict=True):
            first, block, start = self._read[piece]
            if block != current:
                current, keys = block, block_keys(self._field, block)
            found[row] = keys[row - first + start]
        return found
