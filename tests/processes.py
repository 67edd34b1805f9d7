"""Python processes that start within milliseconds, for tests of what must be a process of its own.

They are forked from a server that has imported the heavy libraries once, has run nothing and has no threads. Otherwise
they are as any other process: with arguments and an environment of their own, to be killed, read and waited for.
"""

import atexit
import contextlib
import multiprocessing
import os
import resource
import runpy
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests import ROOT
from trainer.data.workers import keep_socket_paths_short

SECONDS_AFTER_A_FAILURE = 60
"""How long the other ranks of a group may take to end when one has failed."""

keep_socket_paths_short()
_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["tests.preloaded"])


class TimeoutExpiredError(AssertionError):
    """A process did not end in time."""


class Process:
    """``python ARGUMENTS``, with the names of ``subprocess.Popen``; what it writes goes to files."""

    def __init__(
        self,
        arguments: Sequence[object],
        environment: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
        descriptors: int | None = None,
    ) -> None:
        """``descriptors``: how many files it may have open, sockets included."""
        folder = Path(tempfile.mkdtemp(prefix="keyclip-process-"))
        self.files = folder / "stdout", folder / "stderr"
        for file in self.files:
            file.touch()
        words, variables = list(map(str, arguments)), dict(environment or os.environ)
        self._process: BaseProcess = _server.Process(
            target=_run, args=(words, variables, str(cwd), [str(file) for file in self.files], descriptors)
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; the negative number of the signal that killed it."""
        return self._process.exitcode

    @property
    def stdout(self) -> str:
        """What it has written so far."""
        return self.files[0].read_text(encoding="utf-8", errors="replace")

    @property
    def stderr(self) -> str:
        """What it has written so far."""
        return self.files[1].read_text(encoding="utf-8", errors="replace")

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float = 300) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise TimeoutExpiredError(f"still running after {timeout} s; stderr: {self.stderr[-2000:]}")
        return self.returncode

    def communicate(self, timeout: float = 300) -> tuple[str, str]:
        self.wait(timeout)
        return self.stdout, self.stderr

    def send_signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def kill_family(self) -> None:
        """kill -9 for the process and whatever it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def read_line(self, timeout: float = 120) -> str:
        """The first line of its stdout, "" where it ends without one."""
        end = time.monotonic() + timeout
        while "\n" not in (text := self.stdout) and self.returncode is None and time.monotonic() < end:
            time.sleep(0.01)
        return text.partition("\n")[0]


def run(arguments: Sequence[object], environment: Mapping[str, str] | None = None, timeout: float = 300) -> Process:
    """``python ARGUMENTS``, ended."""
    process = Process(arguments, environment)
    process.wait(timeout)
    return process


def run_ranks(module: str, *arguments: object, ranks: int = 2, timeout: float = 300) -> list[Process]:
    """``python -m MODULE ARGUMENTS`` as several ranks of one group, all ended.

    Like a launcher, it ends the other ranks when one has failed.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(ranks)}
    processes = []
    for rank in range(ranks):
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "LOCAL_SIZE": str(ranks)}
        processes.append(Process(["-m", module, *arguments], os.environ | group | own))
    end = time.monotonic() + timeout
    while any(process.returncode is None for process in processes):
        if any(process.returncode for process in processes):
            end = min(end, time.monotonic() + SECONDS_AFTER_A_FAILURE)
        if time.monotonic() > end:
            for process in processes:
                process.kill_family()
        time.sleep(0.01)
    return processes


def _run(words: list[str], environment: dict[str, str], cwd: str, files: list[str], descriptors: int | None) -> None:
    os.setsid()
    for number, file in enumerate(files, start=1):
        handle = os.open(file, os.O_WRONLY | os.O_APPEND)
        os.dup2(handle, number)
        os.close(handle)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    if descriptors is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
    try:
        flag, what, *rest = words
        sys.argv = [flag, *rest]
        if flag == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
