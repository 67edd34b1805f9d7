"""Runs the project's own commands one after another, shows them, and skips what is done.

Each command prints itself, so that a reader can run it alone.
"""

import json
import shlex
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from store.common.errors import KeyclipError
from tools.__main__ import main
from trainer.__main__ import parse
from trainer.checkpoint.folder import list_checkpoints, read_checkpoint_info
from trainer.run.launching import launch


class StepFailedError(KeyclipError, RuntimeError):
    """A command of the chain ended with an error, which it has printed."""


@dataclass(frozen=True, slots=True)
class Training:
    """A run of the trainer: ``STAGE --output OUTPUT ARGUMENTS``."""

    stage: str
    output: Path
    arguments: Sequence[object]

    @property
    def words(self) -> list[str]:
        return [str(word) for word in (self.stage, "--output", self.output, *self.arguments)]

    def is_finished(self) -> bool:
        """Whether its last checkpoint is there, and the CLIP that pretraining writes after it."""
        checkpoints = list_checkpoints(self.output)
        finished = bool(checkpoints) and bool(read_checkpoint_info(checkpoints[-1]).get("finished"))
        return finished and (self.stage != "pretrain" or (self.output / "clip").exists())

    def check(self) -> None:
        """Raises: ConfigError, SystemExit: the stage does not take these settings."""
        parse(self.stage, self.words[1:])


def keyclip(*arguments: object) -> None:
    """Run ``keyclip ARGUMENTS``, in this process: each start of Python and torch costs seconds."""
    words = [str(argument) for argument in arguments]
    _run([f"keyclip {shlex.join(words)}"], lambda: main(words))


def train(ranks: int, trainings: Sequence[Training]) -> None:
    """Run the trainings that are not finished, in this order, in one launch of the ranks, which takes seconds."""
    missing = []
    for training in trainings:
        if training.is_finished():
            print(f"{training.stage} in {training.output} is finished", flush=True)
        else:
            missing.append(training.words)
    shown = [f"deepspeed --num_gpus {ranks} --module trainer {shlex.join(words)}" for words in missing]
    if len(missing) == 1:
        _run(shown, lambda: launch(ranks, missing[0]))
    elif missing:
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
            file.writelines(json.dumps(words) + "\n" for words in missing)
            file.flush()
            _run(shown, lambda: launch(ranks, ["several", file.name]))


def _run(shown: Sequence[str], command: Callable[[], int]) -> None:
    print("".join(f"\n$ {line}" for line in shown), flush=True)
    start = time.monotonic()
    status = command()
    if status == 130:
        raise KeyboardInterrupt
    if status:
        more = f" or one of the {len(shown) - 1} after it" if len(shown) > 1 else ""
        raise StepFailedError(f"`{shown[0]:.80}`{more} ended with status {status}; the same command continues here")
    print(f"  ({time.monotonic() - start:.0f} s)", flush=True)
