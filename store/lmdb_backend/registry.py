"""One open environment per process and file: LMDB must not open a file twice in a process, nor survive a fork."""

import os
import threading
import weakref
from pathlib import Path

from store.lmdb_backend.environment import Environment
from store.lmdb_backend.forking import GATE

_open: weakref.WeakValueDictionary[tuple[int, int], Environment] = weakref.WeakValueDictionary()
_lock = threading.Lock()


def environment(folder: Path) -> Environment:
    """This process's environment in ``folder``, opened if need be; closed when its last user is gone.

    Raises:
        FileNotFoundError: there is none.
        ReadOnlyError: the lock file cannot be written, although others may write to the store.
    """
    status = (folder / "data.mdb").stat()
    identity = (status.st_dev, status.st_ino)
    with GATE, _lock:
        found = _open.get(identity)
        if found is None:
            found = _open[identity] = Environment(folder)
        return found


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.Lock()
    for inherited in _open.values():
        inherited.close()
    _open.clear()
    GATE.open()


os.register_at_fork(before=GATE.shut, after_in_parent=GATE.open, after_in_child=_after_fork_in_child)
