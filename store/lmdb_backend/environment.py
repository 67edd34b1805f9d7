"""An LMDB environment: opened only if its pages are sound, with read and write transactions that survive forks."""

import ctypes
import errno
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import lmdb
import numpy as np

from store.common.errors import DamagedFieldError, ReadOnlyError
from store.common.files import DISK_FULL, full_disk_is_told, has_room, store_full, write_flushed
from store.lmdb_backend import layout
from store.lmdb_backend.forking import GATE
from store.lmdb_backend.pages import Pages, read_metas, summary
from store.lmdb_backend.values import ValueFile

T = TypeVar("T")

RESERVED_BYTES = 2**38
"""Address space for a memory map; costs nothing until data fills it. It grows when 256 GiB are not enough."""
_LOOKS = 4
"""A meta page may be written while it is read, so damage counts only when all of these looks see it."""
MAX_READERS = 4096
"""Read transactions at one time over all processes, 64 bytes each in lock.mdb."""


class Environment(ValueFile):
    """The environment of one field, open in this process; :func:`store.lmdb_backend.registry.environment` gives it."""

    def __init__(self, folder: Path, create: bool = False) -> None:
        """Open the environment, or make it.

        Raises:
            DamagedFieldError: the file is not sound enough for LMDB to touch it.
        """
        self.folder = folder
        self.cut_off: set[tuple[bytes, bytes]] = set()
        """Sub-database and key of large values beyond the file's end, which LMDB must not touch."""
        if not create:
            super().__init__(folder)
            self._require_sound(read_metas(self.map_all())[1])
        self.writable = create or (os.access(folder / "data.mdb", os.W_OK) and self._can_lock())
        self.handle = self._open(create)
        try:
            if create:
                super().__init__(folder)
            else:
                self.cut_off = self.check_pages().cut_off
            self._databases = {name: self.handle.open_db(name, create=create) for name in layout.DATABASES}
        except BaseException as error:
            self.handle.close()
            if isinstance(error, lmdb.Error):
                raise self.translated(error) from error
            raise
        self.page_bytes = self.handle.stat()["psize"]

    def _open(self, create: bool) -> Any:
        engine = {"lib_version": 0} if create else {}  # LMDB's data format 1; of a file that exists LMDB sees its own
        size = RESERVED_BYTES if create else max(RESERVED_BYTES, 2 * (self.folder / "data.mdb").stat().st_size)
        lock = self.writable or self._needs_lock()
        if lock and not (self.folder / "lock.mdb").exists():
            self._allocate_lock_file()
        while True:
            try:
                return lmdb.open(
                    str(self.folder),
                    map_size=size,
                    max_dbs=len(layout.DATABASES),
                    max_readers=MAX_READERS,
                    create=create,
                    readonly=not self.writable,
                    lock=lock,
                    readahead=False,
                    **engine,  # type: ignore[arg-type]
                )
            except (MemoryError, lmdb.Error) as error:
                if size >= 2**27 and (isinstance(error, MemoryError) or error.code == errno.ENOMEM):
                    size //= 2  # address space is limited here
                elif isinstance(error, lmdb.Error):
                    raise self.translated(error) from error
                else:
                    raise

    def _can_lock(self) -> bool:
        file = self.folder / "lock.mdb"
        return os.access(file if file.exists() else self.folder, os.W_OK)

    def _allocate_lock_file(self) -> None:
        """LMDB would make a file with holes; writing to a hole kills the process if the disk is full."""
        unfinished = self.folder / f".lock.mdb-{os.getpid()}"
        with full_disk_is_told(self.folder):
            try:
                write_flushed(unfinished, bytes(64 * (MAX_READERS + 2)))
                (self.folder / "lock.mdb").hardlink_to(unfinished)
            except FileExistsError:
                pass  # another process was faster, and may be using it
            finally:
                unfinished.unlink(missing_ok=True)

    def _needs_lock(self) -> bool:
        """Whether readers must register in the lock file, so that no writer reuses pages that they read."""
        if os.statvfs(self.folder).f_flag & os.ST_RDONLY:
            return False
        if self._can_lock():
            return True
        if not (self.folder / "data.mdb").stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH):
            return False
        raise ReadOnlyError(
            f"readers of {str(self.folder)!r} must be able to write its lock.mdb, as others may write to the data: "
            "ask the owner for `chmod a+w` on lock.mdb, or for `chmod -R a-w` on a finished store"
        )

    def check_pages(self, deep: bool = False) -> Pages:
        """Look at every page of the trees that LMDB reads from now on; see :mod:`store.lmdb_backend.pages`.

        Raises:
            DamagedFieldError: one is damaged.
        """
        for _ in range(_LOOKS):
            transaction = self.begin_read()  # keeps the pages
            try:
                data = self.map_all()
                metas, problems = read_metas(data)
                meta = next((meta for meta in metas if meta.transaction == transaction.id()), None)
                if meta is not None:
                    pages = Pages(data, meta)
                    pages.check(deep)
                    if not pages.problems:
                        return pages
                    problems = pages.problems
            finally:
                transaction.abort()
        self._require_sound(problems or ["its meta pages are damaged"])
        return pages

    def _require_sound(self, problems: Sequence[str]) -> None:
        if problems:
            raise DamagedFieldError(
                f"the file {str(self.folder / 'data.mdb')!r} is damaged: {summary(problems)}; "
                "run `keyclip store repair`, or copy the store again"
            )

    def translated(self, error: lmdb.Error) -> Exception:
        """The error to raise for one of LMDB: damage, or what the system says."""
        file = str(self.folder / "data.mdb")
        if error.code == 0:  # our own mistake
            return error
        if error.code > 0:
            return OSError(error.code, os.strerror(error.code), file)
        return DamagedFieldError(f"LMDB cannot use {file!r} ({error}); run `keyclip store repair`, or drop the field")

    def close(self) -> None:
        """Close the environment; only for one with no other user."""
        self.handle.close()

    def database(self, name: bytes) -> Any:
        """Handle of a sub-database of :data:`layout.DATABASES`."""
        return self._databases[name]

    def read(self) -> "Reading":
        """A read transaction: what is committed now, unchanged until it ends. Keep it short: it pins freed pages."""
        return Reading(self)

    def begin_read(self) -> Any:
        """Begin a read transaction; the caller is inside the gate. Use :meth:`read`."""
        try:
            return self.handle.begin(buffers=True)
        except lmdb.ReadersFullError:  # dead processes leave their slots behind
            self.handle.reader_check()
            return self.handle.begin(buffers=True)

    def write(self, work: Callable[[Any], T], size: int = 2**20) -> T:
        """Run ``work(transaction)`` in a write transaction and commit it durably; one at a time over all processes.

        ``work`` runs again if the map has to grow. If it raises, nothing is written.

        Args:
            work: puts and deletes; its result is returned.
            size: about how many bytes it writes; distinguishes a full disk from a broken one.

        Raises:
            StoreFullError: no space left on the disk.
            ReadOnlyError: the files cannot be written.
        """
        if not self.writable:
            raise ReadOnlyError(f"{str(self.folder)!r} cannot be written: check the rights of data.mdb and lock.mdb")
        while True:
            try:
                with GATE, self.handle.begin(write=True, buffers=True) as transaction:
                    return work(transaction)
            except lmdb.MapResizedError:
                self.resize(0)
            except lmdb.MapFullError:
                self.resize(2 * self.handle.info()["map_size"])
            except lmdb.Error as error:
                # LMDB reports a write that was cut short, as on a full disk, as an input/output error.
                full = error.code == errno.EIO and not has_room(self.folder / "data.mdb", size)
                if error.code in DISK_FULL or full:
                    raise store_full(self.folder) from error
                raise self.translated(error) from error

    def resize(self, size: int) -> None:
        """Change the size of the map; 0 takes the size that another process has given it."""
        with GATE.alone():
            self.handle.set_mapsize(size)

    def _page_in_tree(self, transaction: Any, database: bytes, key: bytes) -> int:
        value = None if (database, key) in self.cut_off else transaction.get(key, db=self.database(database))
        return 0 if value is None else page_of(value)


class Reading:
    """A read transaction as a context. A class, since a generator would cost more than the transaction."""

    def __init__(self, env: Environment) -> None:
        self._env = env
        self._transaction: Any = None

    def __enter__(self) -> Any:
        while True:
            GATE.__enter__()
            try:
                self._transaction = self._env.begin_read()
                return self._transaction
            except BaseException as error:
                GATE.__exit__()
                if not isinstance(error, lmdb.MapResizedError):
                    raise
            self._env.resize(0)  # another process has outgrown our map

    def __exit__(self, *error: Any) -> None:
        self._transaction.abort()
        GATE.__exit__()
        if error and isinstance(error[1], lmdb.Error):
            raise self._env.translated(error[1]) from error[1]


def page_of(value: memoryview) -> int:
    """Number of the page at which a large value begins: LMDB keeps it right before the value."""
    address = np.frombuffer(value, np.uint8).__array_interface__["data"][0]
    return int.from_bytes(ctypes.string_at(address - layout.PAGE_HEADER_BYTES, 8), "little")
