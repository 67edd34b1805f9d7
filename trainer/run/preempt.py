"""Preemption: a signal asks the run to save and stop; a clock asks it to save now and then."""

import signal
import time
from types import FrameType
from typing import Any

from store.common.errors import KeyclipError

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
        self.saved()

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
