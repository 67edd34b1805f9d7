"""``keyclip train STAGE ...``: training in this process, or by several ranks through DeepSpeed's launcher."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from store.command import exit_status
from store.errors import ConfigError

RANKS = ("--gpus", "--num-processes")
"""Flags for the number of ranks on this machine; without a GPU a rank is a process on the CPU."""


def main(argv: Sequence[str]) -> int:
    """Run a stage; the flags are those of ``--module trainer``, and the number of ranks."""

    def call() -> int:
        ranks, words = take_ranks(argv)
        if ranks > 1 and words and not {"-h", "--help"} & set(words):
            return launch(ranks, words)
        from trainer.__main__ import main as train

        return train(words)

    return exit_status(call)


def take_ranks(argv: Sequence[str]) -> tuple[int, list[str]]:
    """The number of ranks, by default 1, and the other words.

    Raises:
        ConfigError: it is no number from 1 to 1024.
    """
    ranks, words = "1", []
    parts = iter(part for word in argv for part in (word.split("=", 1) if word.startswith(RANKS) else [word]))
    for part in parts:
        if part.replace("_", "-") in RANKS:
            ranks = next(parts, "")
        else:
            words.append(part)
    if not ranks.isascii() or not ranks.isdigit() or len(ranks) > 4 or not 1 <= int(ranks) <= 1024:
        raise ConfigError(f"{RANKS[0]} is {ranks!r:.80}; expected a whole number from 1 to 1024")
    return int(ranks), words


def launch(ranks: int, words: Sequence[str]) -> int:
    """``--module trainer WORDS`` by that many ranks of this machine, over a free port; returns the exit status."""
    command = [str(Path(sys.executable).with_name("deepspeed")), f"--num_gpus={ranks}", "--log_level=warning"]
    command += [f"--master_port={_free_port()}", "--module", "trainer", *words]
    return subprocess.run(command, env=launch_environment(), check=False).returncode


def launch_environment() -> dict[str, str]:
    """The environment of a launcher: its ranks find this Python's programs, and this package before another's."""
    binaries = Path(sys.executable).parent
    # what the launcher starts stands beside this Python and may not be on the caller's path
    path = f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = os.environ | {"PATH": path, "TOKENIZERS_PARALLELISM": "false"}
    # a folder named trainer in the current folder must not take this package's place
    environment["PYTHONSAFEPATH"] = "1"
    if (root := Path(__file__).resolve().parents[1]).name not in ("site-packages", "dist-packages"):
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    return environment


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
