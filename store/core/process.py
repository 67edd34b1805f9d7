"""Objects that may be pickled and forked: each process makes for itself what processes cannot share."""

import os
import threading
from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_lock = threading.RLock()


class PerProcess(ABC, Generic[T]):
    """Base of an object with a part, such as a connection or a lock, that belongs to one process."""

    _process = -1
    _part: T

    @abstractmethod
    def _make(self) -> T:
        """Make this process's part; called at its first use."""

    @property
    def _here(self) -> T:
        """This process's part."""
        if self._process != os.getpid():
            with _lock:
                if self._process != os.getpid():
                    self._part = self._make()
                    self._process = os.getpid()
        return self._part

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_part", "_process")}


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_after_fork_in_child)
