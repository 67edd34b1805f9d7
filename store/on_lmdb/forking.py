"""Keeps forks and LMDB operations apart.

A forked child must close the environments that it inherits before it can open its own, and can do so safely only if no
other thread was inside LMDB at the moment of the fork. So operations pass a gate that a fork shuts for its duration.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator


class Gate:
    """Counts operations under way; a fork waits until there are none and holds back new ones."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._inside = 0

    @contextlib.contextmanager
    def passing(self) -> Iterator[None]:
        """An operation; must not fork itself."""
        with self._changed:
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                if not self._inside:
                    self._changed.notify_all()

    def shut(self) -> None:
        """Wait until nothing is under way, and let nothing begin."""
        self._changed.acquire()
        while self._inside:
            self._changed.wait()

    def open(self) -> None:
        """Undo :meth:`shut`."""
        self._changed.release()


def guard_forks(gate: Gate, in_child: Callable[[], None]) -> None:
    """Shut ``gate`` around every fork of this process; the child runs ``in_child`` before anything else passes."""

    def after_in_child() -> None:
        in_child()
        gate.open()

    os.register_at_fork(before=gate.shut, after_in_parent=gate.open, after_in_child=after_in_child)
