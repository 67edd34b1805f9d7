"""A gate that keeps a process from forking in the middle of an LMDB operation.

A forked child must close the environments that it inherits before it can open its own, and can do so safely only if no
other thread was inside LMDB at the moment of the fork. So operations pass a gate that a fork shuts for its duration.
"""

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

_POLL_SECONDS = 0.0005


class Gate:
    """Counts operations in progress: ``with gate:`` is one, which must neither fork nor shut the gate itself.

    Shutting the gate waits until none is in progress and holds back new ones. It is rare and may wait a little, so that
    passing costs next to nothing.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1

    def __exit__(self, *error: Any) -> None:
        with self._lock:
            self._inside -= 1

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """A step that no operation may see, such as moving a memory map."""
        self.shut()
        try:
            yield
        finally:
            self.open()

    def shut(self) -> None:
        """Wait until no operation is in progress, and let none begin."""
        self._lock.acquire()
        while self._inside:
            self._lock.release()
            time.sleep(_POLL_SECONDS)
            self._lock.acquire()

    def open(self) -> None:
        """Undo :meth:`shut`."""
        self._lock.release()


GATE = Gate()
"""The gate of this process."""
