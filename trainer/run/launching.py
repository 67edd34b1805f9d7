"""Starts several ranks of the trainer on this machine through DeepSpeed's launcher."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from trainer.engine.rendezvous import free_port


def launch(ranks: int, words: Sequence[str]) -> int:
    """``--module trainer WORDS`` by that many ranks of this machine, over a free port; returns the exit status."""
    command = [str(Path(sys.executable).with_name("deepspeed")), f"--num_gpus={ranks}", "--log_level=warning"]
    command += [f"--master_port={free_port()}", "--module", "trainer", *words]
    return subprocess.run(command, env=launch_environment(), check=False).returncode


def launch_environment() -> dict[str, str]:
    """The environment of a launcher: its ranks find this Python's programs, and this package before another's."""
    # the launcher's programs are in the folder of this Python, which may not be on the caller's path
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = os.environ | {"PATH": path, "TOKENIZERS_PARALLELISM": "false"}
    # a folder named trainer in the current folder must not take this package's place
    environment["PYTHONSAFEPATH"] = "1"
    if (root := Path(__file__).resolve().parents[2]).name not in ("site-packages", "dist-packages"):
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    return environment
