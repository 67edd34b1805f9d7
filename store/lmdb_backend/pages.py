"""The pages of an LMDB file, read without LMDB: finds damage before LMDB follows it.

LMDB reads through a memory map and trusts the page numbers and offsets in it: a wrong one kills the process. So every
page of the trees is checked when an environment is opened; large values have their own checksums.
"""

import struct
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from store.lmdb_backend import layout

HEADER_BYTES = layout.PAGE_HEADER_BYTES
MAGIC, VERSION = 0xBEEFC0DE, 1
NUM_METAS = 2
NO_PAGE = 2**64 - 1
"""Root of an empty tree."""
_MOST_PAGES = 2**47
_BRANCH, _LEAF, _OVERFLOW, _META = 1, 2, 4, 8
_LARGE, _TREE = 1, 2
"""Flags of a node: its value has pages of its own; its value is a tree."""
_INTEGER_KEYS = 8
_KEY_BYTES = {layout.BLOCKS: 4, layout.VALUES: 8, layout.INDEX: 4}
_PAGE_SIZES = [2**bits for bits in range(9, 17)]
_PAGE = struct.Struct("<Q4H")
_OVERFLOW_PAGE = struct.Struct("<Q2HI")
_META_DATA = struct.Struct("<2I2Q" + 2 * "I2H5Q" + "2Q")
_TREE_RECORD = struct.Struct("<I2H5Q")
_NODE = struct.Struct("<4H")


class Tree(NamedTuple):
    """A tree of pages."""

    root: int
    flags: int


class Meta(NamedTuple):
    """A meta page: the state of a file at one transaction."""

    transaction: int
    page_bytes: int
    last_page: int
    free: Tree
    main: Tree


class Entry(NamedTuple):
    """A key of a tree, and where in the file its value begins."""

    key: bytes
    start: int
    size: int
    page: int
    """First page of a large value; 0 for a small one, which is in its tree's page."""


def read_metas(data: NDArray[np.uint8]) -> tuple[list[Meta], list[str]]:
    """The sound meta pages, the newest first, and what is wrong with the others."""
    metas: list[Meta] = []
    problems = []
    sizes = _PAGE_SIZES
    for number in range(NUM_METAS):
        if found := [meta for size in sizes if (meta := _read_meta(data, number, size))]:
            metas.append(found[0])
            sizes = [found[0].page_bytes]
        else:
            problems.append(f"its meta page {number} is damaged")
    return sorted(metas, reverse=True), problems


def _read_meta(data: NDArray[np.uint8], number: int, page_bytes: int) -> Meta | None:
    start = number * page_bytes
    page = data[start : start + HEADER_BYTES + _META_DATA.size].tobytes()
    if len(page) < HEADER_BYTES + _META_DATA.size:
        return None
    own, _, flags, _, _ = _PAGE.unpack_from(page)
    magic, version, _, _, *trees, last_page, transaction = _META_DATA.unpack_from(page, HEADER_BYTES)
    free, main = trees[:8], trees[8:]
    sound = (own, flags, magic, version, free[0]) == (number, _META, MAGIC, VERSION, page_bytes)
    if not sound or last_page > _MOST_PAGES or (transaction and transaction % NUM_METAS != number):
        return None
    return Meta(transaction, page_bytes, last_page, Tree(free[7], free[1]), Tree(main[7], main[1]))


def summary(problems: Sequence[str]) -> str:
    """The first problem, and how many more there are."""
    return problems[0] + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else "")


class Pages:
    """The trees of one state of a file. Collects what is wrong in ``problems``; sound pages are read anyway."""

    def __init__(self, data: NDArray[np.uint8], meta: Meta) -> None:
        self.problems: list[str] = []
        self.cut_off: set[tuple[bytes, bytes]] = set()
        """Sub-database and key of large values that reach beyond the file's end."""
        self._data = data
        self._meta = meta
        self._page_bytes = meta.page_bytes
        self._num_pages = len(data) // meta.page_bytes
        self._used: list[tuple[int, int]] = [(0, NUM_METAS)]
        """First page and number of pages of every page and large value that was met."""
        self._visited: set[int] = set()

    def check(self, deep: bool = False) -> None:
        """Visit all trees; ``deep`` also compares the page header of every large value."""
        trees = self.trees()
        for name in layout.DATABASES:
            self.entries(trees, name, deep or name != layout.VALUES)
        self.check_free()

    def trees(self) -> dict[bytes, Tree]:
        """The sub-databases."""
        found = {}
        if self._meta.main.flags:
            self.problems.append("the flags of its main tree are wrong")
        for key, flags, start, size, _ in self._leaves(self._meta.main):
            if flags == _TREE and size == _TREE_RECORD.size:
                record = _TREE_RECORD.unpack_from(self._data[start : start + size].tobytes())
                found[key] = Tree(record[7], record[1])
                if record[1]:
                    self.problems.append(f"the flags of its tree {key.decode(errors='replace')!r} are wrong")
        self.problems += [f"its tree {name.decode()!r} is lost" for name in layout.DATABASES if name not in found]
        return found

    def entries(self, trees: dict[bytes, Tree], name: bytes, deep: bool = True) -> list[Entry]:
        """The entries of a sub-database, in order; none if it is lost."""
        found = []
        allowed = (_LARGE,) if name in (layout.VALUES, layout.INDEX) else (0, _LARGE)
        for key, flags, start, size, page in self._leaves(trees[name]) if name in trees else ():
            if len(key) != _KEY_BYTES.get(name, len(key)) or flags not in allowed:
                self.problems.append(f"page {page} has an entry of a wrong kind")
            elif not flags:
                found.append(Entry(key, start, size, 0))
            elif first := self._claim(start, size, deep, page):
                if first + self._run(size) > self._num_pages:
                    self.cut_off.add((name, key))
                found.append(Entry(key, first * self._page_bytes + HEADER_BYTES, size, first))
        return found

    def _run(self, size: int) -> int:
        """Pages of a large value."""
        return (HEADER_BYTES + size - 1) // self._page_bytes + 1

    def _claim(self, start: int, size: int, deep: bool, page: int) -> int:
        """First page of a large value that a node of ``page`` names at ``start``; 0 if no value can be there.

        Notes the value's pages as used.
        """
        first = int.from_bytes(self._data[start : start + 8].tobytes(), "little")
        count = self._run(size)
        inside = first >= NUM_METAS and first + count <= self._meta.last_page + 1
        if inside and deep and first < self._num_pages:
            header = self._data[first * self._page_bytes :][: _OVERFLOW_PAGE.size].tobytes()
            own, _, flags, pages = _OVERFLOW_PAGE.unpack_from(header)
            inside = (own, flags) == (first, _OVERFLOW) and count <= pages <= self._meta.last_page + 1 - first
            count = pages
        if not inside:
            self.problems.append(f"page {page} leads to a value that is not there")
            return 0
        self._used.append((first, count))
        return first

    def _leaves(self, tree: Tree, integers: bool = False) -> Iterator[tuple[bytes, int, int, int, int]]:
        """Key, flags, start and size of the value, and page, of every node in the sound leaves of a tree.

        ``integers``: keys are little-endian numbers and ordered as such.
        """
        waiting: list[tuple[int, bytes | None, bytes | None]] = [(tree.root, None, None)]
        while waiting:
            number, low, high = waiting.pop()
            if number == NO_PAGE:
                continue
            kind, nodes = self._nodes(number)
            keys = [node[0] for node in nodes]
            ranks = [key[::-1] if integers else key for key in keys[kind == _BRANCH :]]
            least, most = (key[::-1] if integers and key else key for key in (low, high))
            ordered = all(a < b for a, b in pairwise(ranks))
            if ranks and ordered:
                ordered = (least is None or least <= ranks[0]) and (most is None or ranks[-1] < most)
            if not ordered:
                self.problems.append(f"the keys of page {number} are not in order")
            elif kind == _LEAF:
                yield from ((*node, number) for node in nodes)
            else:
                lows, highs = [low, *keys[1:]], [*keys[1:], high]
                waiting += [(n[1], a, b) for n, a, b in zip(nodes, lows, highs, strict=True)][::-1]

    def _nodes(self, number: int) -> tuple[int, list[tuple[bytes, int, int, int]]]:
        """Kind and nodes of a page; for a branch the second number of a node is the page that it leads to."""
        start, size = number * self._page_bytes, self._page_bytes
        if not NUM_METAS <= number <= self._meta.last_page or number in self._visited:
            self.problems.append(f"page {number} is named wrongly")
            return _LEAF, []
        if number >= self._num_pages:
            self.problems.append(f"page {number} is beyond the file's end: the file is cut short")
            return _LEAF, []
        self._visited.add(number)
        self._used.append((number, 1))
        page = self._data[start : start + size].tobytes()
        own, _, kind, lower, upper = _PAGE.unpack_from(page)
        count = (lower - HEADER_BYTES) // 2
        sound = own == number and kind in (_BRANCH, _LEAF) and HEADER_BYTES <= lower <= upper <= size and not lower % 2
        nodes = []
        if sound and count > 0:
            for at in struct.unpack_from(f"<{count}H", page, HEADER_BYTES):
                if not upper <= at <= size - _NODE.size or at % 2:
                    break
                low, high, flags, key_bytes = _NODE.unpack_from(page, at)
                end = value = at + _NODE.size + key_bytes
                key = page[at + _NODE.size : value]
                if kind == _BRANCH:
                    nodes.append((key, low | high << 16 | flags << 32, 0, 0))
                else:
                    length = low | high << 16
                    end += 8 if flags & _LARGE else length
                    nodes.append((key, flags, start + value, length))
                if end > size:
                    break
            else:
                return kind, nodes
        self.problems.append(f"page {number} is damaged")
        return _LEAF, []

    def check_free(self) -> None:
        """Visit the lists of free pages, from which a writer takes; then no page may have been met twice."""
        if self._meta.free.flags != _INTEGER_KEYS:
            self.problems.append("the flags of its tree of free pages are wrong")
        else:
            self._check_lists()
        first, count = np.array(sorted(self._used), np.uint64).T
        ends = first + count
        if len(twice := first[1:][ends[:-1] > first[1:]]):
            self.problems.append(f"page {int(twice[0])} is used twice")
        if int(ends.max()) > self._meta.last_page + 1 or self._meta.last_page >= max(int(ends.max()), self._num_pages):
            self.problems.append(f"the number of its last page, {self._meta.last_page}, is wrong")

    def _check_lists(self) -> None:
        for key, flags, start, size, page in self._leaves(self._meta.free, integers=True):
            if flags == _LARGE:
                first = self._claim(start, size, True, page)
                if not first:
                    continue
                start = first * self._page_bytes + HEADER_BYTES
            numbers = np.frombuffer(self._data[start : start + size // 8 * 8].tobytes(), "<u8")
            count = int(numbers[0]) if len(numbers) else -1
            free = numbers[1 : count + 1].tolist() if 0 <= count < len(numbers) else [0]
            if len(key) != 8 or flags & ~_LARGE or not all(NUM_METAS <= n <= self._meta.last_page for n in free):
                self.problems.append(f"page {page} has a damaged list of free pages")
            else:
                self._used += [(number, 1) for number in free]
