"""One open environment per process and file: LMDB must not open a file twice in a process, nor survive a fork."""

import os
import threading
import weakref
from pathlib import Path
from typing import Any, ClassVar

from store.common.errors import FieldNotFoundError
from store.lmdb_backend.environment import Environment
from store.lmdb_backend.forking import GATE

_open: weakref.WeakValueDictionary[tuple[int, int], Environment] = weakref.WeakValueDictionary()
_lock = threading.Lock()


def environment(folder: Path) -> Environment:
    """This process's environment in ``folder``, opened if need be; closed when nobody holds it any more.

    Raises:
        FileNotFoundError: there is none.
        ReadOnlyError: the lock file cannot be written, although others may write to the store.
    """
    status = (folder / "data.mdb").stat()
    identity = (status.st_dev, status.st_ino)
    with GATE, _lock:
        found = _open.get(identity)
        if found is None:
            found = Environment(folder)
            _open[identity] = found
        return found


class EnvironmentUser:
    """Base of what works on a field's environment: may be pickled and forked, since every process opens its own."""

    _PER_PROCESS: ClassVar[tuple[str, ...]] = ("_process", "_environment", "_lock")
    """Attributes that belong to one process."""

    def __init__(self, store_path: str, folder: Path, name: str) -> None:
        self.name = name
        self._store_path = store_path
        self._folder = folder
        self._forget()

    def _forget(self) -> None:
        """Begin anew in this process."""
        self._process = -1
        self._environment: Environment | None = None
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in self._PER_PROCESS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def _current_environment(self) -> Environment:
        """This process's environment. Raises FieldNotFoundError if the field is gone."""
        if self._process != os.getpid():
            self._forget()
            try:
                self._environment = environment(self._folder)
            except FileNotFoundError:
                raise self._gone() from None
            self._process = os.getpid()
        assert self._environment is not None
        return self._environment

    def _gone(self) -> FieldNotFoundError:
        return FieldNotFoundError(f"field {self.name!r} was dropped from the store {self._store_path!r}")


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.Lock()
    for inherited in _open.values():
        inherited.close()
    _open.clear()
    GATE.open()


os.register_at_fork(before=GATE.shut, after_in_parent=GATE.open, after_in_child=_after_fork_in_child)
