"""Preemption: a signal asks the run to save and stop; a clock asks it to save now and then."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from store.errors import KeyclipError

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)  # what schedulers send before they take the machine


class PreemptedError(KeyclipError, InterruptedError):
    """A signal asked the run to stop, and it has saved its state."""


class Preemption:
    """Within its context, SIGTERM and SIGUSR1 set ``signal`` instead of ending the process.

    Attributes:
        signal: the signal that came, None before.
    """

    def __init__(self, checkpoint_minutes: float | None) -> None:
        self.signal: signal.Signals | None = None
        self._every = None if checkpoint_minutes is None else 60 * checkpoint_minutes
        self._saved = time.monotonic()

    def __enter__(self) -> "Preemption":
        self._before: dict[signal.Signals, Any] = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)

    def is_save_due(self) -> bool:
        """Whether the last checkpoint is older than the minutes asked for."""
        return self._every is not None and time.monotonic() - self._saved >= self._every

    def saved(self) -> None:
        """Start the clock again."""
        self._saved = time.monotonic()


@contextmanager
def starting_workers() -> Iterator[None]:
    """Processes started within are deaf to SIGTERM, in all their threads, until they call :func:`heed_parent`.

    Schedulers and launchers send it to every process of a job. The training process, which has been told too, still
    needs batches up to its next checkpoint; torch would let a loader process die of it, and the run with it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def heed_parent(worker: int) -> None:
    """Let SIGTERM from the process that started this one end it, and from no other."""
    parent = os.getppid()

    def listen() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
            pass
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
