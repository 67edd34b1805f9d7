"""One open environment per process and file: LMDB must not open a file twice in a process, nor survive a fork."""

import os
import threading
import weakref
from pathlib import Path
from typing import Any

from store.lmdb_backend.environment import Environment
from store.lmdb_backend.forking import GATE

_open: dict[tuple[int, int], tuple["weakref.ref[Environment]", Any]] = {}
"""Device and inode of data.mdb -> the environment in use, and LMDB's handle of it."""
_lock = threading.RLock()  # an environment may be collected in a thread that holds it


def environment(folder: Path) -> Environment:
    """This process's environment in ``folder``, opened if need be; closed when its last user is gone.

    Raises:
        FileNotFoundError: there is none.
        ReadOnlyError: the lock file cannot be written, although others may write to the store.
    """
    status = (folder / "data.mdb").stat()
    identity = (status.st_dev, status.st_ino)
    with GATE, _lock:
        if identity in _open:
            reference, handle = _open[identity]
            if (found := reference()) is not None:
                return found
            handle.close()  # another thread has just dropped it
        found = Environment(folder)
        _open[identity] = weakref.ref(found, lambda reference: _close(identity, reference)), found.handle
        return found


def _close(identity: tuple[int, int], reference: "weakref.ref[Environment]") -> None:
    """Close LMDB's handle, which a transaction would keep open that the traceback of an exception keeps."""
    with _lock:
        if identity in _open and _open[identity][0] is reference:
            _open.pop(identity)[1].close()


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.RLock()
    for _, handle in _open.values():
        handle.close()
    _open.clear()
    GATE.open()


os.register_at_fork(before=GATE.shut, after_in_parent=GATE.open, after_in_child=_after_fork_in_child)
