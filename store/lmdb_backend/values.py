"""Large values of a field by their place in the memory map of its data.mdb, with or without LMDB's help."""

import mmap
import os
import threading
import weakref
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from store.common.errors import DamagedBlockError, DamagedFieldError
from store.common.files import open_regular
from store.lmdb_backend import layout
from store.lmdb_backend.layout import ValueHeader


class ValueFile(ABC):
    """An open data.mdb."""

    page_bytes: int

    def __init__(self, folder: Path) -> None:
        """Open the file once, since its folder may be moved or replaced.

        Raises:
            DamagedFieldError: it is empty, or no regular file.
            FileNotFoundError: it is not there.
        """
        self.folder = folder
        self._file, size = open_regular(folder / "data.mdb")
        weakref.finalize(self, os.close, self._file)
        if not size:
            raise DamagedFieldError(f"{str(folder / 'data.mdb')!r} is empty; restore it from a copy, or drop the field")
        self._mapped: mmap.mmap | None = None
        self._map: NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._map_lock = threading.Lock()

    def map_all(self) -> NDArray[np.uint8]:
        """All bytes of the file by now, in a map of their own."""
        return np.frombuffer(mmap.mmap(self._file, 0, access=mmap.ACCESS_READ), np.uint8)

    def file(self, end: int) -> NDArray[np.uint8]:
        """The bytes of data.mdb as committed, at least ``end`` of them if the file is so long.

        A whole number of pages, even where a write that was cut short has left a part of one at the file's end. The
        bytes of a page stay while a read transaction holds it; the array itself never becomes invalid.
        """
        if end > len(self._map):
            with self._map_lock:
                if end > len(self._map):
                    self._mapped = mmap.mmap(self._file, 0, access=mmap.ACCESS_READ)
                    whole_pages = len(self._mapped) // self.page_bytes * self.page_bytes
                    self._map = np.frombuffer(self._mapped, np.uint8, count=whole_pages)
        return self._map

    def payload_at(self, page: int, header: ValueHeader) -> NDArray[np.uint8]:
        """The payload of the value with this header that begins at ``page``."""
        start = (page + 1) * self.page_bytes
        return self.file(start + header.payload_bytes)[start : start + header.payload_bytes]

    def fetch(self, page: int, header: ValueHeader) -> None:
        """Have the system read a payload in the background; without that it would come page by page as it is used."""
        start = (page + 1) * self.page_bytes
        self.file(start + header.payload_bytes)
        if self._mapped is not None and start + header.payload_bytes <= len(self._map):
            self._mapped.madvise(mmap.MADV_WILLNEED, start, header.payload_bytes)

    def find(self, transaction: Any, database: bytes, key: bytes, header: ValueHeader, page: int, check: bool) -> int:
        """The page at which a large value begins: ``page`` if the value is there, else where the tree says.

        Copying an environment with compaction moves values: the header at ``page`` is then another.

        Args:
            check: also compare the payload with its checksum.

        Raises:
            DamagedBlockError: the value is absent, or it differs from its header or checksum.
        """
        if not header.begins(self._header_at(page)):
            page = self._page_in_tree(transaction, database, key)
            if not header.begins(self._header_at(page)):
                raise DamagedBlockError(f"its header at page {page} is wrong")
        payload = self.payload_at(page, header)  # from here on the map reaches to its end
        if len(payload) < header.payload_bytes or (check and not header.matches(self._header_at(page), payload)):
            raise DamagedBlockError(f"its bytes at page {page} do not match their checksum")
        return page

    def _header_at(self, page: int) -> NDArray[np.uint8]:
        """The header of the value that begins at ``page``; shorter if the file ends before."""
        start = page * self.page_bytes + layout.PAGE_HEADER_BYTES
        return self.file(start + layout.HEADER.size)[start : start + layout.HEADER.size]

    @abstractmethod
    def _page_in_tree(self, transaction: Any, database: bytes, key: bytes) -> int:
        """The page at which the value of a key begins; 0 if there is none."""
