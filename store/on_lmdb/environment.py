"""One LMDB environment per process and store, opened when first needed, with all that is special about LMDB.

An environment does not survive a fork and must not be open twice in a process: :func:`environment` keeps one per
process and file, and forgets them all in a forked child.
"""

import contextlib
import ctypes
import errno
import mmap
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import lmdb
import numpy as np
from numpy.typing import NDArray

from store.errors import DamagedBlockError, FormatVersionError, ReadOnlyError, StoreFullError, StoreNotFoundError
from store.on_lmdb import layout
from store.on_lmdb.forking import Gate, guard_forks
from store.on_lmdb.layout import ValueHeader

T = TypeVar("T")

_gate = Gate()

RESERVED_BYTES = 2**40
"""Address space for the memory map. It costs nothing until data fills it, and grows when 1 TiB is not enough."""
MAX_READERS = 4096
"""Read transactions at one time over all processes, 64 bytes each in lock.mdb."""
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Environment:
    """An open environment: transactions, and values by their place in the file."""

    def __init__(self, path: str, create: bool = False) -> None:
        self.path = path
        self.writable = create or all(os.access(Path(path, name), os.W_OK) for name in ("data.mdb", "lock.mdb"))
        self._lmdb = self._open(create)
        self.page_bytes: int = self._lmdb.stat()["psize"]
        try:
            self._databases = {name: self._lmdb.open_db(name, create=create) for name in layout.DATABASES}
        except (lmdb.NotFoundError, lmdb.ReadonlyError) as error:
            raise StoreNotFoundError(f"{path!r} holds an LMDB environment that is not a keyclip store") from error
        if not create:
            self._require_version()
        self._map: NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._map_lock = threading.Lock()

    def _open(self, create: bool) -> Any:
        engine = {"lib_version": 0} if create else {}  # data format 1 of LMDB; of an existing file LMDB sees its own
        size = RESERVED_BYTES
        while True:
            try:
                return lmdb.open(
                    self.path,
                    map_size=size,
                    max_dbs=len(layout.DATABASES),
                    max_readers=MAX_READERS,
                    create=create,
                    readonly=not self.writable,
                    lock=self.writable or not self._is_frozen(),
                    readahead=False,
                    **engine,  # type: ignore[arg-type]
                )
            except (MemoryError, lmdb.Error) as error:
                if (isinstance(error, lmdb.Error) and error.code != errno.ENOMEM) or size < 2**28:
                    raise
                size //= 2  # address space is limited here

    def _is_frozen(self) -> bool:
        return not os.access(Path(self.path, "lock.mdb"), os.W_OK)

    def _require_version(self) -> None:
        with self._lmdb.begin() as transaction:
            version = (transaction.get(b"version", db=self.database(layout.META)) or b"unknown").decode()
        if version != str(layout.VERSION):
            self.close()
            raise FormatVersionError(
                f"the store {self.path!r} has format {version}, this keyclip reads format {layout.VERSION}; "
                "open it with the version that wrote it, or a newer one"
            )

    def database(self, name: bytes) -> Any:
        """Handle of a sub-database of :data:`layout.DATABASES`."""
        return self._databases[name]

    def close(self) -> None:
        """Close the environment; only for one that nobody else uses."""
        self._lmdb.close()

    @contextlib.contextmanager
    def read(self) -> Iterator[Any]:
        """A read transaction: what is committed now, unchanged until it ends. Keep it short: it pins freed pages."""
        with _gate.passing():
            try:
                transaction = self._lmdb.begin(buffers=True)
            except lmdb.MapResizedError:  # another process has outgrown our map
                self._lmdb.set_mapsize(0)
                transaction = self._lmdb.begin(buffers=True)
            except lmdb.ReadersFullError:  # dead processes leave their slots behind
                self._lmdb.reader_check()
                transaction = self._lmdb.begin(buffers=True)
            try:
                yield transaction
            finally:
                transaction.abort()

    def write(self, work: Callable[[Any], T]) -> T:
        """Run ``work(transaction)`` in a write transaction and commit it durably; one at a time over all processes.

        ``work`` runs again if the map has to grow. If it raises, nothing is written.

        Raises:
            StoreFullError: no space left on the disk.
            ReadOnlyError: the files cannot be written.
        """
        if not self.writable:
            raise ReadOnlyError(f"the store {self.path!r} cannot be written: check the rights of data.mdb and lock.mdb")
        while True:
            try:
                with _gate.passing(), self._lmdb.begin(write=True, buffers=True) as transaction:
                    return work(transaction)
            except lmdb.MapResizedError:
                self._lmdb.set_mapsize(0)
            except lmdb.MapFullError:
                self._lmdb.set_mapsize(2 * self._lmdb.info()["map_size"])
            except lmdb.Error as error:
                if error.code not in _DISK_FULL:
                    raise
                raise StoreFullError(
                    f"no space left for the store {self.path!r}; everything committed before is intact: "
                    "free some space and run the same command again"
                ) from error

    def file(self, end: int) -> NDArray[np.uint8]:
        """The bytes of data.mdb as committed, at least ``end`` of them if the file is so long.

        What stands at a page stays while a read transaction holds it; the array itself never becomes invalid.
        """
        if end > len(self._map):
            with self._map_lock, Path(self.path, "data.mdb").open("rb") as file:
                if end > len(self._map):
                    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                    mapped.madvise(mmap.MADV_RANDOM)
                    self._map = np.frombuffer(mapped, np.uint8)
        return self._map

    def value_at(self, page: int, header: ValueHeader) -> NDArray[np.uint8]:
        """The bytes that a value with this header has if it begins at ``page``; fewer if the file ends before."""
        start = page * self.page_bytes + layout.PAGE_HEADER_BYTES
        end = start + header.value_bytes
        return self.file(end)[start:end]

    def find(self, transaction: Any, database: bytes, key: bytes, header: ValueHeader, page: int, check: bool) -> int:
        """The page at which a large value begins: ``page`` if the value is there, else where LMDB says.

        Copying an environment with compaction moves values; a header at the place tells.

        Args:
            check: also compare the payload with its checksum.

        Raises:
            DamagedBlockError: the value is absent, or it differs from its header or checksum.
        """
        if not header.names(self.value_at(page, header)):
            value = transaction.get(key, db=self.database(database))
            page = page_of(value) if value is not None else 0
            if not header.names(self.value_at(page, header)):
                raise DamagedBlockError(f"its header at page {page} is wrong")
        if check and not header.matches(self.value_at(page, header)):
            raise DamagedBlockError(f"its bytes at page {page} do not match their checksum")
        return page


def page_of(value: memoryview) -> int:
    """Number of the page at which a large value begins: LMDB keeps it right before the value."""
    address = np.frombuffer(value, np.uint8).__array_interface__["data"][0]
    return int.from_bytes(ctypes.string_at(address - layout.PAGE_HEADER_BYTES, 8), "little")


_open: weakref.WeakValueDictionary[tuple[int, int], Environment] = weakref.WeakValueDictionary()
_open_lock = threading.RLock()


def environment(path: str) -> Environment:
    """This process's environment of the store at ``path``, opened if need be.

    Raises:
        StoreNotFoundError: there is none.
        FormatVersionError: it was written by a newer version.
    """
    try:
        status = Path(path, "data.mdb").stat()
    except OSError as error:
        raise StoreNotFoundError(f"there is no LMDB store at {path!r}") from error
    identity = (status.st_dev, status.st_ino)
    with _gate.passing(), _open_lock:
        found = _open.get(identity)
        if found is None:
            found = Environment(path)
            _open[identity] = found
    return found


def _close_inherited() -> None:
    global _open, _open_lock
    for inherited in _open.values():
        inherited.close()
    _open = weakref.WeakValueDictionary()
    _open_lock = threading.RLock()


guard_forks(_gate, in_child=_close_inherited)
