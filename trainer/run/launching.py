"""Starts several ranks of the trainer on this machine through DeepSpeed's launcher."""

import base64
import ctypes
import json
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from trainer.engine.rendezvous import free_port
from trainer.run.preempt import SIGNALS

PR_SET_PDEATHSIG = 1  # of Linux, sys/prctl.h


def launch(ranks: int, words: Sequence[str]) -> int:
    """``--module trainer WORDS`` by that many ranks of this machine, over a free port; returns the exit status.

    DeepSpeed's launcher of one machine starts the ranks, without its runner, which keeps SIGTERM to itself. On SIGTERM
    the launcher sends it to the ranks, waits up to 30 seconds for each to save its state, and kills what is left.
    """
    devices = json.dumps({"localhost": list(range(ranks))}).encode()
    arguments = [f"--world_info={base64.urlsafe_b64encode(devices).decode()}", f"--master_port={free_port()}"]
    return run_attached("deepspeed.launcher.launch", [*arguments, "--log_level=warning", "--module", "trainer", *words])


def run_attached(module: str, arguments: Sequence[str]) -> int:
    """Run a Python module in a process that ends with this one; returns its exit status.

    The process receives SIGTERM when this one receives SIGTERM, SIGUSR1 or an interrupt, which then waits for it; on
    Linux also when this one is killed.
    """
    command = [sys.executable, "-u", "-m", "trainer.run.launching", str(os.getpid()), module, *arguments]
    process = subprocess.Popen(command, env=launch_environment())
    before = {number: signal.signal(number, lambda *_: process.terminate()) for number in SIGNALS}
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def launch_environment() -> dict[str, str]:
    """The environment of a launcher: its ranks find this Python's programs, and this package before another's."""
    # the launcher starts programs of this Python's folder, which may not be on the caller's path
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = os.environ | {"PATH": path, "TOKENIZERS_PARALLELISM": "false"}
    # a folder named trainer in the current folder must not take this package's place
    environment["PYTHONSAFEPATH"] = "1"
    if (root := Path(__file__).resolve().parents[2]).name not in ("site-packages", "dist-packages"):
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    return environment


def _main(parent: int, module: str, arguments: Sequence[str]) -> None:
    """Run the module in this process, which the system ends by SIGTERM when the parent ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it ended before
        sys.exit(1)
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
