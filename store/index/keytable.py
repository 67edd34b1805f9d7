"""A table from key hashes to places, searched in bulk without a Python step per key.

Rows ``(first, second, place)`` are sorted by ``first``. A directory holds, for every value of the upper bits of
``first``, the row at which it starts, so that a lookup touches one directory entry and about one row, however many rows
there are. ``first`` is an array of its own: most comparisons need nothing else, and it is cached the soonest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

ABSENT = -1
MERGE_RATIO = 8
MAX_ROWS = 2**24
"""Tables are not merged beyond this size (about 0.5 GB), so that no merge needs much memory."""

_NEXT = np.arange(1, 5)

Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]


def directory_bits(count: int) -> int:
    """Bits of ``first`` that the directory of ``count`` rows distinguishes: two to four entries for a row."""
    return max(1, (count - 1).bit_length()) + 1


def table_bytes(count: int) -> int:
    """Bytes of a table of ``count`` rows: 24 a row, then the directory of 2^bits + 1 uint32."""
    return 24 * count + 4 * ((1 << directory_bits(count)) + 1)


@dataclass(frozen=True, slots=True)
class KeyTable:
    """``first`` (n,) uint64 ascending, ``rest`` (n, 2) uint64: second and place, ``directory`` (2^bits + 1,) uint32."""

    first: NDArray[np.uint64]
    rest: NDArray[np.uint64]
    directory: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.first)

    @classmethod
    def build(cls, hashes: Hashes, places: Places) -> Self:
        """A table of hashes (n, 2) uint64 and their places (n,) int64, which must not be negative."""
        return cls._sorted(hashes[:, 0], np.column_stack([hashes[:, 1], places.astype(np.uint64)]))

    @classmethod
    def merge(cls, tables: Sequence["KeyTable"]) -> Self:
        """One table with the rows of all."""
        return cls._sorted(np.concatenate([t.first for t in tables]), np.concatenate([t.rest for t in tables]))

    def only(self, kept: NDArray[np.bool_]) -> "KeyTable":
        """The table of the rows where ``kept`` (n,) is true."""
        return self._sorted(self.first[kept], self.rest[kept])

    @classmethod
    def _sorted(cls, first: NDArray[np.uint64], rest: NDArray[np.uint64]) -> Self:
        order = np.argsort(first, kind="stable")  # quick where it meets runs that are sorted already
        first, rest = first[order], rest[order]
        bits = directory_bits(len(first))
        directory = np.zeros(2**bits + 1, np.uint32)
        np.cumsum(np.bincount(_buckets(first, bits), minlength=2**bits), out=directory[1:])
        return cls(first, rest, directory)

    @classmethod
    def from_bytes(cls, data: NDArray[np.uint8], count: int) -> Self:
        """View the bytes of :meth:`parts` without copying."""
        first, rest = data[: 8 * count].view("<u8"), data[8 * count : 24 * count].view("<u8").reshape(count, 2)
        return cls(first, rest, data[24 * count : table_bytes(count)].view("<u4"))

    def parts(self) -> tuple[NDArray[np.uint8], ...]:
        """The bytes of first, rest and directory, to be stored one after the other; little-endian."""
        columns = (self.first.astype("<u8"), self.rest.astype("<u8").reshape(-1), self.directory.astype("<u4"))
        return tuple(column.view(np.uint8) for column in columns)

    @property
    def places(self) -> Places:
        """The places of all rows (n,), in the table's order."""
        return self.rest[:, 1].view(np.int64)

    def locate(self, hashes: Hashes) -> Places:
        """Places (n,) int64 of hashes (n, 2) uint64; ABSENT where a hash is not in the table."""
        if not len(self):
            return np.full(len(hashes), ABSENT, np.int64)
        first = np.ascontiguousarray(hashes[:, 0])
        bucket = _buckets(first, directory_bits(len(self)))
        row = self.directory.take(bucket).astype(np.int64)
        other = (self.first.take(row, mode="clip") != first).nonzero()[0]
        if len(other):
            row[other] = self._look_further(first[other], row[other])
        rest = self.rest.take(row, axis=0, mode="clip")
        found: Places = rest[:, 1].astype(np.int64)
        right = (rest[:, 0] == hashes[:, 1]) & (self.first.take(row, mode="clip") == first)
        if not right.all():
            left = (~right).nonzero()[0]
            found[left] = self._scan(hashes[left], bucket[left])
        return found

    def _look_further(self, first: NDArray[np.uint64], row: Places) -> Places:
        """The row with ``first`` among the few rows after each ``row``; any row if there is none."""
        there = self.first.take(row[:, None] + _NEXT, mode="clip") == first[:, None]
        further: Places = row + 1 + there.argmax(axis=1)
        return further

    def _scan(self, hashes: Hashes, bucket: Places) -> Places:
        """As :meth:`locate`, row after row to the buckets' ends: for absent keys and crowded buckets."""
        found = np.full(len(hashes), ABSENT, np.int64)
        row, end = self.directory.take(bucket), self.directory.take(bucket + 1)
        todo = (row < end).nonzero()[0]
        while len(todo):
            rest = self.rest.take(row[todo], axis=0)
            right = (self.first.take(row[todo]) == hashes[todo, 0]) & (rest[:, 0] == hashes[todo, 1])
            found[todo[right]] = rest[right, 1].astype(np.int64)
            row[todo] += np.uint32(1)
            todo = todo[~right & (row[todo] < end[todo])]
        return found


def _buckets(first: NDArray[np.uint64], bits: int) -> Places:
    """The upper bits of ``first``."""
    return (first >> np.uint64(64 - bits)).view(np.int64)


def locate_in(tables: Sequence[KeyTable], hashes: Hashes) -> Places:
    """Places (n,) int64 of hashes (n, 2) in several tables, searched in the order given."""
    if len(tables) == 1:
        return tables[0].locate(hashes)
    found = np.full(len(hashes), ABSENT, np.int64)
    todo = np.arange(len(hashes))
    for table in tables:
        found[todo] = table.locate(hashes[todo])
        todo = todo[found[todo] == ABSENT]
        if not len(todo):
            break
    return found


def largest_first(tables: Sequence[KeyTable]) -> list[KeyTable]:
    """Tables in the order in which a lookup finds most keys soonest."""
    return sorted(tables, key=len, reverse=True)


def num_to_merge(counts: Sequence[int], new: int) -> int:
    """How many of the last tables, of ``counts`` keys, a new one of ``new`` keys takes in.

    A table takes in predecessors that are less than MERGE_RATIO times as large: so a field has few tables, each much
    larger than the next, and a key is rewritten some 5 times whenever the field grows by that ratio.
    """
    merged = 0
    for count in reversed(counts):
        if count >= MERGE_RATIO * new or count + new > MAX_ROWS:
            break
        merged, new = merged + 1, new + count
    return merged
