"""Loader processes and signals: a SIGTERM that ends the run leaves them working until its last checkpoint."""

import multiprocessing
import multiprocessing.util
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

LONGEST_FOLDER = 60
"""Characters of a folder in which a socket of multiprocessing still has a path of fewer than 108, Linux's limit."""


def keep_socket_paths_short() -> None:
    """Let multiprocessing put its sockets into /tmp where the folder for temporary files has a long path.

    Processes hand over batches through such sockets; with a path that is too long they would wait for ever.
    """
    config = multiprocessing.current_process()._config  # type: ignore[attr-defined]
    if "tempdir" not in config and len(os.fsencode(tempfile.gettempdir())) > LONGEST_FOLDER:
        config["tempdir"] = tempfile.mkdtemp(prefix="pymp-", dir="/tmp")
        multiprocessing.util.Finalize(None, shutil.rmtree, args=(config["tempdir"], True), exitpriority=-100)


@contextmanager
def starting_workers() -> Iterator[None]:
    """Processes started within block SIGTERM, in all their threads, until they call :func:`obey_parent`.

    Schedulers and launchers send it to every process of a job. The training process, which gets it too, still needs
    batches up to its next checkpoint; torch would let a loader process die of it, and the run with it.
    """
    keep_socket_paths_short()
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
