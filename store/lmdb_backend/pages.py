"""The pages of an LMDB file, read without LMDB: finds damage before LMDB follows it.

LMDB reads through a memory map and follows the page numbers and offsets in it without a look: a wrong one kills the
process. So every page of the trees is checked when an environment is opened; large values are left to their checksums.
"""

import mmap
import os
import stat
import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from store.common.errors import DamagedFieldError
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
    """A meta page: the state of a file as of one transaction."""

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


def open_file(file: Path) -> int:
    """A descriptor of a data.mdb, for reading.

    Raises:
        DamagedFieldError: it is empty, or no regular file.
        FileNotFoundError: it is not there.
    """
    handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would wait for its other end
    status = os.fstat(handle)
    if stat.S_ISREG(status.st_mode) and status.st_size:
        return handle
    os.close(handle)
    what = "is empty" if stat.S_ISREG(status.st_mode) else "is no regular file"
    raise DamagedFieldError(f"{str(file)!r} {what}; restore it from a copy, or drop the field")


def map_file(handle: int) -> NDArray[np.uint8]:
    """The bytes of an open file, mapped; they stay valid when it is closed."""
    return np.frombuffer(mmap.mmap(handle, 0, access=mmap.ACCESS_READ), np.uint8)


def read_metas(data: NDArray[np.uint8]) -> tuple[list[Meta], list[str]]:
    """The sound meta pages, the newest first, and what is wrong with the others."""
    metas: list[Meta] = []
    problems = []
    sizes = _PAGE_SIZES
    for number in range(NUM_METAS):
        found = [meta for size in sizes if (meta := _read_meta(data, number, size))]
        metas += found[:1]
        if found:
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


class Pages:
    """The trees of one state of a file. What is wrong is collected in ``problems``; sound pages are read anyway."""

    def __init__(self, data: NDArray[np.uint8], meta: Meta) -> None:
        self.problems: list[str] = []
        self.cut_off: set[tuple[bytes, bytes]] = set()
        """Sub-database and key of large values that reach beyond the file's end."""
        self._data = data
        self._meta = meta
        self._page_bytes = meta.page_bytes
        self._num_pages = len(data) // meta.page_bytes
        self._used: list[tuple[int, int]] = [(0, NUM_METAS)]
        """First page and number of pages of everything that was met."""
        self._visited: set[int] = set()

    def check(self, deep: bool = False) -> None:
        """Visit all trees; ``deep`` also compares the page header of every large value."""
        trees = self.trees()
        for name in layout.DATABASES:
            if name in trees:
                for _ in self.entries(trees[name], name, deep or name != layout.VALUES):
                    pass
        self.check_free()

    def trees(self) -> dict[bytes, Tree]:
        """The sub-databases."""
        found = {}
        if self._meta.main.flags:
            self.problems.append("the flags of its main tree are wrong")
        for key, flags, start, size, _ in self._leaves(self._meta.main, ordered=bytes):
            if flags == _TREE and size == _TREE_RECORD.size:
                record = _TREE_RECORD.unpack_from(self._data[start : start + size].tobytes())
                found[key] = Tree(record[7], record[1])
                if record[1]:
                    self.problems.append(f"the flags of its tree {key.decode(errors='replace')!r} are wrong")
        self.problems += [f"its tree {name.decode()!r} is lost" for name in layout.DATABASES if name not in found]
        return found

    def entries(self, tree: Tree, name: bytes, deep: bool) -> Iterator[Entry]:
        """The entries of a sub-database, in order."""
        large_only = name in (layout.VALUES, layout.INDEX)
        for key, flags, start, size, page in self._leaves(tree, ordered=bytes):
            wrong = name in _KEY_BYTES and len(key) != _KEY_BYTES[name]
            if wrong or flags not in ((_LARGE,) if large_only else (0, _LARGE)):
                self.problems.append(f"page {page} has an entry of a wrong kind")
            elif flags == 0:
                yield Entry(key, start, size, 0)
            else:
                first = self._number_at(start)
                if self._claim(first, size, deep, page):
                    if first + self._run(size) > self._num_pages:
                        self.cut_off.add((name, key))
                    yield Entry(key, first * self._page_bytes + HEADER_BYTES, size, first)

    def _number_at(self, start: int) -> int:
        return int.from_bytes(self._data[start : start + 8].tobytes(), "little")

    def _run(self, size: int) -> int:
        """Pages of a large value."""
        return (HEADER_BYTES + size - 1) // self._page_bytes + 1

    def _claim(self, first: int, size: int, deep: bool, page: int) -> bool:
        """Whether a large value can be where page ``page`` says; notes its pages as used."""
        count = self._run(size)
        inside = first >= NUM_METAS and first + count <= self._meta.last_page + 1
        if inside and deep and first < self._num_pages:
            start = first * self._page_bytes
            header = self._data[start : start + _OVERFLOW_PAGE.size].tobytes()
            own, _, flags, pages = _OVERFLOW_PAGE.unpack_from(header)
            inside = (own, flags) == (first, _OVERFLOW) and count <= pages <= self._meta.last_page + 1 - first
            count = pages
        if inside:
            self._used.append((first, count))
        else:
            self.problems.append(f"page {page} leads to a value that is not there")
        return inside

    def _leaves(self, tree: Tree, ordered: type) -> Iterator[tuple[bytes, int, int, int, int]]:
        """Key, flags, start and size of the value, and page, of every node in the sound leaves of a tree."""
        waiting: list[tuple[int, bytes | None, bytes | None]] = [(tree.root, None, None)]
        while waiting:
            number, low, high = waiting.pop()
            if number == NO_PAGE:
                continue
            kind, nodes = self._nodes(number)
            keys = [node[0] for node in nodes]
            compared = [_rank(key, ordered) for key in keys[kind == _BRANCH :]]
            bounds = [_rank(low, ordered)] if low is not None else []
            if any(a > b for a, b in pairwise([*bounds, *compared[:1]])) or any(a >= b for a, b in pairwise(compared)):
                self.problems.append(f"the keys of page {number} are not in order")
                continue
            if high is not None and compared and compared[-1] >= _rank(high, ordered):
                self.problems.append(f"the keys of page {number} are not in order")
                continue
            if kind == _LEAF:
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
                value = at + _NODE.size + key_bytes
                if kind == _BRANCH:
                    end = value
                    nodes.append((page[at + _NODE.size : value], low | high << 16 | flags << 32, 0, 0))
                else:
                    length = low | high << 16
                    end = value + (8 if flags & _LARGE else length)
                    nodes.append((page[at + _NODE.size : value], flags, start + value, length))
                if end > size:
                    break
            else:
                return kind, nodes
        self.problems.append(f"page {number} is damaged")
        return _LEAF, []

    def check_free(self) -> None:
        """Visit the lists of free pages, from which a writer takes; then no page may have been met twice."""
        self._check_lists()
        self._check_use()

    def _check_lists(self) -> None:
        if self._meta.free.flags != _INTEGER_KEYS:
            self.problems.append("the flags of its tree of free pages are wrong")
            return
        for key, flags, start, size, page in self._leaves(self._meta.free, ordered=int):
            if flags == _LARGE:
                first = self._number_at(start)
                if not self._claim(first, size, True, page):
                    continue
                start = first * self._page_bytes + HEADER_BYTES
            numbers = np.frombuffer(self._data[start : start + size // 8 * 8].tobytes(), "<u8")
            count = int(numbers[0]) if len(numbers) else -1
            free = numbers[1 : count + 1].tolist() if 0 <= count < len(numbers) else [0]
            if len(key) != 8 or flags & ~_LARGE or not all(NUM_METAS <= n <= self._meta.last_page for n in free):
                self.problems.append(f"page {page} has a damaged list of free pages")
            else:
                self._used += [(number, 1) for number in free]

    def _check_use(self) -> None:
        """That no page is used twice, and that the file's last page is one that is used."""
        first, count = np.array(sorted(self._used), np.uint64).T
        ends = first + count
        if (ends[:-1] > first[1:]).any():
            self.problems.append(f"page {int(first[1:][ends[:-1] > first[1:]][0])} is used twice")
        if int(ends.max()) > self._meta.last_page + 1 or self._meta.last_page >= max(int(ends.max()), self._num_pages):
            self.problems.append(f"the number of its last page, {self._meta.last_page}, is wrong")


def _rank(key: bytes, ordered: type) -> bytes:
    """What LMDB compares of a key: its bytes, or a little-endian number."""
    return key[::-1] if ordered is int else key
