"""A table from key hashes to places, searched in bulk without a Python step per key.

Rows ``(high, low, place)`` of uint64 stand sorted by ``high``. A directory tells where the rows whose ``high`` begins
with given bits start, so that a lookup touches one directory entry and about one row, wherever the key is and however
many there are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

ABSENT = -1

Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]


def directory_bits(count: int) -> int:
    """Bits of ``high`` that the directory of ``count`` rows resolves: so many that an entry has one row or less."""
    return max(1, (int(count) - 1).bit_length())


def table_bytes(count: int) -> int:
    """Bytes of a table of ``count`` rows: the rows, then the directory of 2^bits + 1 uint32."""
    return 24 * count + 4 * ((1 << directory_bits(count)) + 1)


@dataclass(frozen=True, slots=True)
class KeyTable:
    """Sorted rows (n, 3) uint64 of (high, low, place) and their directory (2^bits + 1,) uint32."""

    rows: NDArray[np.uint64]
    directory: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def build(cls, hashes: Hashes, places: Places) -> Self:
        """A table of hashes (n, 2) uint64 and their places (n,) int64, which must not be negative."""
        return cls.from_rows(np.column_stack([hashes, places.astype(np.uint64)]))

    @classmethod
    def merge(cls, tables: Sequence["KeyTable"]) -> Self:
        """One table with the rows of all; the sort is stable and quick on runs that are sorted already."""
        return cls.from_rows(np.concatenate([table.rows for table in tables]))

    @classmethod
    def from_rows(cls, rows: NDArray[np.uint64]) -> Self:
        """A table of rows (n, 3) in any order."""
        rows = rows[np.argsort(rows[:, 0], kind="stable")]
        bits = directory_bits(len(rows))
        buckets = (rows[:, 0] >> np.uint64(64 - bits)).astype(np.int64)
        directory = np.zeros(2**bits + 1, dtype=np.uint32)
        np.cumsum(np.bincount(buckets, minlength=2**bits), out=directory[1:])
        return cls(rows, directory)

    @classmethod
    def from_bytes(cls, data: NDArray[np.uint8], count: int) -> Self:
        """View bytes written by :meth:`parts` without copying."""
        rows = data[: 24 * count].view("<u8").reshape(count, 3)
        return cls(rows, data[24 * count : table_bytes(count)].view("<u4"))

    def parts(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """The little-endian bytes of rows and directory, to be stored one after the other."""
        rows = np.ascontiguousarray(self.rows, dtype="<u8").view(np.uint8).reshape(-1)
        return rows, np.ascontiguousarray(self.directory, dtype="<u4").view(np.uint8)

    def locate(self, hashes: Hashes) -> Places:
        """Places (n,) int64 of hashes (n, 2) uint64; ABSENT where a hash is not in the table."""
        found = np.full(len(hashes), ABSENT, dtype=np.int64)
        buckets = (hashes[:, 0] >> np.uint64(64 - directory_bits(len(self)))).astype(np.int64)
        row = self.directory.take(buckets).astype(np.int64)
        end = self.directory.take(buckets + 1)
        todo = np.flatnonzero(row < end)
        if len(todo) < len(hashes):
            row, end, hashes = row[todo], end[todo], hashes[todo]
        while len(todo):
            candidates = self.rows.take(row, axis=0)
            hit = (candidates[:, :2] == hashes).all(axis=1)
            found[todo[hit]] = candidates[hit, 2].view(np.int64)
            row += 1
            left = ~hit & (row < end)
            todo, row, end, hashes = todo[left], row[left], end[left], hashes[left]
        return found


def locate_in(tables: Sequence[KeyTable], hashes: Hashes) -> Places:
    """Places (n,) int64 of hashes (n, 2) in several tables, searched in the order given."""
    found = np.full(len(hashes), ABSENT, dtype=np.int64)
    todo = np.arange(len(hashes))
    for table in tables:
        if not len(todo):
            break
        found[todo] = table.locate(hashes[todo])
        todo = np.flatnonzero(found == ABSENT)
    return found
