"""Runs the project's own commands one after another, shows them, and skips what is done."""

import json
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from store.errors import KeyclipError
from tools.__main__ import main
from trainer.run_folder import list_checkpoints, read_checkpoint_info


class StepFailedError(KeyclipError, RuntimeError):
    """A command of the chain ended with an error, which it has printed."""


@dataclass(slots=True)
class Chain:
    """Commands in order; each prints itself, so that a reader can run it alone.

    Attributes:
        ranks: processes that train together.
    """

    ranks: int

    def keyclip(self, *arguments: object) -> None:
        """Run ``keyclip ARGUMENTS``, in this process: each start of Python and torch costs seconds."""
        words = [str(argument) for argument in arguments]
        self._run("keyclip", words, lambda: main(words))

    def train(self, stage: str, output: Path, *arguments: object) -> None:
        """Run a stage of training under the deepspeed launcher, unless it is finished already."""
        if is_finished(output):
            print(f"{stage} in {output} is finished", flush=True)
            return
        words = [str(argument) for argument in (stage, "--output", output, *arguments)]
        launcher = [str(Path(sys.executable).with_name("deepspeed")), f"--num_gpus={self.ranks}"]
        launcher += ["--log_level=warning", f"--master_port={_free_port()}", "--module", "trainer", *words]
        # what the launcher starts stands beside this Python and may not be on the caller's path
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        environment = os.environ | {"PATH": path, "TOKENIZERS_PARALLELISM": "false"}
        self._run(
            f"deepspeed --num_gpus {self.ranks} --module trainer",
            words,
            lambda: subprocess.run(launcher, env=environment, check=False).returncode,
        )

    def _run(self, shown: str, words: Sequence[str], command: Callable[[], int]) -> None:
        print(f"\n$ {shown} {shlex.join(words)}", flush=True)
        start = time.monotonic()
        status = command()
        if status == 130:
            raise KeyboardInterrupt
        if status:
            raise StepFailedError(f"`{shown} {words[0]}` ended with status {status}; the same command continues here")
        print(f"  ({time.monotonic() - start:.0f} s)", flush=True)


def is_finished(run: Path) -> bool:
    """Whether a training run has written its last checkpoint."""
    checkpoints = list_checkpoints(run)
    return bool(checkpoints) and bool(read_checkpoint_info(checkpoints[-1]).get("finished"))


def has_result(file: Path) -> bool:
    """Whether an evaluation result is there, whole."""
    try:
        return "retrieval" in json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
