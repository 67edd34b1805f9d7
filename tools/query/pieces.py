"""A whole field in pieces of bounded size, however large its blocks are.

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

    block: str
    start: int
    """Row in the block of the first one."""
    vectors: NDArray[np.float32]
    """(n, D), valid until the next piece is asked for; may be changed in place."""
    caption_hashes: NDArray[np.uint64]
    """(n,)"""


def pieces(field: Field, progress: Progress | None = None) -> Iterator[Piece]:
    """The vectors of a field, block after block in the order of commits.

    Raises:
        DamagedBlockError: stored bytes do not match their checksum.
    """
    rows_at_once = max(1, PIECE_NUMBERS // field.spec.dim)
    buffer = np.empty((rows_at_once, field.spec.dim), np.float32)
    blocks = field.blocks()
    for done, block in enumerate(blocks, start=1):
        with field.snapshot() as snapshot:
            places = snapshot.block_places(block)
            for start in range(0, len(places), rows_at_once):
                part = places[start : start + rows_at_once]
                vectors = field.fill(snapshot, part, buffer[: len(part)])
                yield Piece(block, start, vectors, snapshot.take_caption_hashes(part))
        if progress:
            progress(field.name, done, len(blocks))


class Rows:
    """Numbers the rows of a field over all its blocks, and leads from a row's number back to its key."""

    def __init__(self, field: Field) -> None:
        self._field = field
        self._blocks: list[str] = []
        self._starts: list[int] = []
        """Per piece: its first row's place in the block."""
        self._firsts: list[int] = []
        """Per piece: its first row's number."""
        self.count = 0

    def add(self, piece: Piece) -> int:
        """Number the rows of the next piece; returns the number of its first."""
        first = self.count
        self._blocks.append(piece.block)
        self._starts.append(piece.start)
        self._firsts.append(first)
        self.count += len(piece.vectors)
        return first

    def keys(self, rows: NDArray[np.int64]) -> dict[int, str]:
        """The keys of some rows, by the rows' numbers.

        Raises:
            BlockNotFoundError: the block was dropped meanwhile.
        """
        found: dict[int, str] = {}
        rows = np.unique(rows)
        parts = np.searchsorted(self._firsts, rows, side="right") - 1
        block, block_keys = "", list[str]()
        with self._field.snapshot() as snapshot:
            for row, part in zip(rows.tolist(), parts.tolist(), strict=True):
                if self._blocks[part] != block:
                    block = self._blocks[part]
                    block_keys = snapshot.block_keys(block)
                found[row] = block_keys[row - self._firsts[part] + self._starts[part]]
        return found
