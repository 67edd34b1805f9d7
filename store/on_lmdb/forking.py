"""Keeps forks and LMDB operations apart.

A forked child must close the environments that it inherits before it can open its own, and can do so safely only if no
other thread was inside LMDB at the moment of the fork. So operations pass a gate that a fork shuts for its duration.
"""

import contextlib
import threading
from collections.abc import Iterator


class Gate:
    """Counts operations under way. Whoever shuts it waits until there are none and holds back new ones."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._inside = 0

    @contextlib.contextmanager
    def passing(self) -> Iterator[None]:
        """An operation; must neither fork nor shut the gate itself."""
        with self._changed:
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                if not self._inside:
                    self._changed.notify_all()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Something that no operation may see, such as moving a memory map."""
        self.shut()
        try:
            yield
        finally:
            self.open()

    def shut(self) -> None:
        """Wait until nothing is under way, and let nothing begin."""
        self._changed.acquire()
        while self._inside:
            self._changed.wait()

    def open(self) -> None:
        """Undo :meth:`shut`."""
        self._changed.release()


GATE = Gate()
"""The gate of this process."""
