"""Objects of a Zarr store by key: in a local folder here, in object storage in ``remote.py``.

Keys are relative paths with ``/``. What a bucket promises: an object is seen whole or not at all, ``write_new`` lets
one of several writers win, and what was written before a call returned survives a crash.
"""

import mmap
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from store.common.files import flush, full_disk_is_told, make_folder, open_regular, remove_durably, write_flushed

Data = NDArray[np.uint8]
_SETTLED_SECONDS = 0.1
"""A folder that changed less long ago may change again without its time stamp changing."""
_FLUSHES = 16


@dataclass(frozen=True, slots=True)
class Listing:
    """The subfolders that hold a certain object."""

    versions: dict[str, str]
    """Name -> version, which differs whenever the object does."""
    stamp: int | None = None
    """While the folder has this time stamp, the listing surely holds."""


class Bucket(ABC):
    """Objects by key."""

    is_local: bool
    """Whether listing and reading are so cheap that no object need be cached."""

    @abstractmethod
    def read(self, keys: Sequence[str]) -> list[Data | None]:
        """The bytes of several objects at once, read-only; None for an object that is not there.

        Raises:
            DamagedFieldError: there is no regular file but, for example, a pipe.
        """

    @abstractmethod
    def write(self, folder: str, objects: Mapping[str, Data | bytes]) -> None:
        """Write several objects of a folder, which is made if need be, replacing what is there.

        Raises:
            FileNotFoundError: the folder around it has been removed.
            StoreFullError: no space left.
        """

    @abstractmethod
    def write_new(self, key: str, data: bytes) -> bool:
        """Write the only object of a new folder; False if it is there already. Atomic between hosts.

        Raises as :meth:`write` does.
        """

    @abstractmethod
    def children(self, folder: str, member: str, known: Listing | None = None) -> Listing:
        """Subfolders that hold the object ``member``; ``known`` itself if nothing has changed since."""

    @abstractmethod
    def folders(self, folder: str) -> list[str]:
        """Names of the subfolders, sorted, whatever they hold."""

    @abstractmethod
    def remove(self, folder: str, first: str) -> None:
        """Remove a folder and everything in it, the object ``first`` first."""


class LocalBucket(Bucket):
    """A folder on a local or shared filesystem."""

    is_local = True

    def __init__(self, root: str) -> None:
        self._root = Path(root)

    def read(self, keys: Sequence[str]) -> list[Data | None]:
        return [self._map(key) for key in keys]

    def _map(self, key: str) -> Data | None:
        try:
            handle, size = open_regular(self._root / key)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            return np.frombuffer(mmap.mmap(handle, 0, access=mmap.ACCESS_READ) if size else b"", np.uint8)
        finally:
            os.close(handle)

    def write(self, folder: str, objects: Mapping[str, Data | bytes]) -> None:
        with full_disk_is_told(self._root):
            place = self._root / folder
            place.mkdir(exist_ok=True)
            changed = set()
            for key, data in objects.items():
                file = place / key
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data.data if isinstance(data, np.ndarray) else data)
                changed |= {file, *(parent for parent in file.parents if parent.is_relative_to(self._root))}
            with ThreadPoolExecutor(_FLUSHES) as pool:  # filesystems flush together what is asked for together
                list(pool.map(flush, changed))

    def write_new(self, key: str, data: bytes) -> bool:
        file = self._root / key
        return make_folder(file.parent, lambda folder: write_flushed(folder / file.name, data))

    def children(self, folder: str, member: str, known: Listing | None = None) -> Listing:
        place = self._root / folder
        try:
            stamp = place.stat().st_mtime_ns
        except (FileNotFoundError, NotADirectoryError):
            return Listing({})
        if known is not None and known.stamp == stamp:
            return known
        found = {}
        for name in self.folders(folder):
            try:
                status = (place / name / member).stat()
            except (FileNotFoundError, NotADirectoryError):
                continue
            found[name] = f"{status.st_ino}/{status.st_mtime_ns}"
        settled = time.time_ns() - stamp > _SETTLED_SECONDS * 1e9
        return Listing(found, stamp if settled else None)

    def folders(self, folder: str) -> list[str]:
        try:
            entries = list(os.scandir(self._root / folder))
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))

    def remove(self, folder: str, first: str) -> None:
        place = self._root / folder
        if place.exists():
            remove_durably(place)
