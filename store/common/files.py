"""Local files that survive a crash: written next to their place, flushed, then moved there in one step."""

import contextlib
import errno
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from store.common.errors import ConfigError, DamagedFieldError, StoreFullError

UNFINISHED = ".unfinished-"
"""Start of the names of files and folders that are not in their place yet."""

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers that mean: no room."""


def store_full(place: object) -> StoreFullError:
    """The error for a full disk."""
    return StoreFullError(
        f"no space left for {str(place)!r}; everything committed before is intact: free some space and run the same "
        "command again"
    )


def require_regular(file: Path, named: str) -> None:
    """Refuse pipes, devices and folders, which would hang a reader or never end.

    Raises:
        ConfigError: it is no regular file, or is not there; begins with ``named``.
    """
    try:
        mode = file.stat().st_mode
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{named} cannot be read: {reason}") from error
    if stat.S_ISDIR(mode):
        raise ConfigError(f"{named} cannot be read: Is a directory")
    if not stat.S_ISREG(mode):
        raise ConfigError(f"{named} cannot be read: it is a pipe or a device; write its content to a file first")


def open_regular(file: Path) -> tuple[int, int]:
    """Descriptor and size of a file of a store, opened for reading; a pipe does not make the caller wait.

    Raises:
        DamagedFieldError: it is no regular file.
        FileNotFoundError, NotADirectoryError: it is not there.
    """
    handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise DamagedFieldError(f"{str(file)!r} is no regular file; remove it, or restore it from a copy")
    return handle, status.st_size


def read_text(file: Path, named: str, limit: int = 2**28) -> str:
    """The text of a regular UTF-8 file of at most ``limit`` bytes, without a byte-order mark.

    Raises:
        ConfigError: it cannot be read, is larger or is not UTF-8; begins with ``named``.
    """
    require_regular(file, named)
    try:
        with file.open("rb") as stream:
            data = stream.read(limit + 1)
    except OSError as error:
        raise ConfigError(f"{named} cannot be read: {error.strerror}") from error
    if len(data) > limit:
        raise ConfigError(f"{named} is larger than {limit:,} bytes, which is the most that is read")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{named} is not UTF-8 text: {error}") from error


@contextlib.contextmanager
def full_disk_is_told(place: object) -> Iterator[None]:
    """Turn the system's errors for a full disk into StoreFullError."""
    try:
        yield
    except StoreFullError:
        raise
    except Exception as error:
        if not is_full(error):
            raise
        raise store_full(place) from error


def is_full(error: BaseException) -> bool:
    """Whether an error says that there is no room; libraries in Rust say it only in words."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in DISK_FULL
    return any(f"(os error {number})" in str(error) for number in DISK_FULL)


def has_room(path: Path, size: int) -> bool:
    """Whether the file at ``path`` could grow by ``size`` bytes, given free space, quotas and limits."""
    try:
        with tempfile.TemporaryFile(dir=path.parent) as probe:
            os.posix_fallocate(probe.fileno(), path.stat().st_size, size)
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        return False
    return True


def flush(place: Path) -> None:
    """Make a file's content, or a folder's entries, durable."""
    handle = os.open(place, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_flushed(path: Path, data: bytes) -> None:
    """Write a file and flush it; its folder's entry is the caller's to flush."""
    path.write_bytes(data)
    flush(path)


def unfinished_file(folder: Path) -> Path:
    """A new empty file in ``folder``, to be moved to its place in the same folder when it is whole."""
    handle, name = tempfile.mkstemp(prefix=UNFINISHED, dir=folder)
    os.close(handle)
    Path(name).chmod(0o666 & ~_umask())
    return Path(name)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all, durably; an older one stays until then.

    Raises:
        StoreFullError: no space left on the disk.
    """
    with full_disk_is_told(path):
        part = unfinished_file(path.parent)
        try:
            write_flushed(part, data)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        flush(path.parent)


def write_json(file: Path, value: Any) -> None:
    """Write a json file that is there whole or not at all."""
    write_whole(file, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def reserve(path: Path, size: int) -> None:
    """Take ``size`` bytes of the disk for a file, so that a full disk is noticed now and not in the middle of the work.

    Raises:
        OSError: no space left; nothing is raised where the file system cannot reserve.
    """
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, max(size, 1))
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise


def make_folder(target: Path, fill: Callable[[Path], object]) -> bool:
    """Make a folder whose content appears all at once: ``fill`` gets an empty folder, moved to ``target`` afterwards.

    An empty folder at ``target`` is replaced.

    Returns:
        False if ``target`` was there already; then nothing changes.

    Raises:
        StoreFullError: no space left on the disk.
    """
    with full_disk_is_told(target):
        unfinished = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=target.parent))
        try:
            unfinished.chmod(0o777 & ~_umask())
            fill(unfinished)
            flush(unfinished)
            try:
                unfinished.rename(target)
            except OSError as error:
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    return False
                raise
            flush(target.parent)
            return True
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def remove_durably(folder: Path) -> None:
    """Remove a folder so that it is gone all at once: a crash leaves at most a hidden remainder next to it."""
    hidden = Path(tempfile.mkdtemp(prefix=".removed-", dir=folder.parent))
    folder.rename(hidden / "it")
    flush(folder.parent)
    shutil.rmtree(hidden, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
