"""Loader processes and signals: a SIGTERM that ends the run leaves them working until its last checkpoint."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def starting_workers() -> Iterator[None]:
    """Processes started within block SIGTERM, in all their threads, until they call :func:`obey_parent`.

    Schedulers and launchers send it to every process of a job. The training process, which gets it too, still needs
    batches up to its next checkpoint; torch would let a loader process die of it, and the run with it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def obey_parent(worker: int) -> None:
    """Let SIGTERM end this process if the process that started it sends the signal, and no other."""
    parent = os.getppid()

    def listen() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
            pass
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
