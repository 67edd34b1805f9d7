"""Runs the project's own commands one after another, shows them, and skips what is done."""

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


class Training:
    """``STAGE --output OUTPUT ARGUMENTS`` of the trainer."""

    def __init__(self, stage: str, output: Path, *arguments: object) -> None:
        self.stage, self.output = stage, output
        self.words = [str(argument) for argument in (stage, "--output", output, *arguments)]

    def is_finished(self) -> bool:
        """Whether its last checkpoint is there, and the CLIP that pretraining writes after it."""
        checkpoints = list_checkpoints(self.output)
        finished = bool(checkpoints) and bool(read_checkpoint_info(checkpoints[-1]).get("finished"))
        return finished and (self.stage != "pretrain" or (self.output / "clip").exists())

    def check(self) -> None:
        """Raises: ConfigError, SystemExit: the stage does not take these settings."""
        parse(self.stage, self.words[1:])


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
        self._run([f"keyclip {shlex.join(words)}"], lambda: main(words))

    def train(self, *trainings: Training) -> None:
        """Run trainings that are not finished yet, in this order, in one launch of the ranks: it takes seconds."""
        missing = [training for training in trainings if not training.is_finished()]
        for training in trainings:
            if training not in missing:
                print(f"{training.stage} in {training.output} is finished", flush=True)
        if len(missing) == 1:
            self._launch([missing[0].words], missing[0].words)
        elif missing:
            with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
                file.writelines(json.dumps(training.words) + "\n" for training in missing)
                file.flush()
                self._launch([training.words for training in missing], ["several", file.name])

    def _launch(self, shown: Sequence[Sequence[str]], words: Sequence[str]) -> None:
        prefix = f"deepspeed --num_gpus {self.ranks} --module trainer"
        self._run(
            [f"{prefix} {shlex.join(words)}" for words in shown],
            lambda: launch(self.ranks, words),
        )

    def _run(self, shown: Sequence[str], command: Callable[[], int]) -> None:
        print("".join(f"\n$ {line}" for line in shown), flush=True)
        start = time.monotonic()
        status = command()
        if status == 130:
            raise KeyboardInterrupt
        if status:
            more = f" or one of the {len(shown) - 1} after it" if len(shown) > 1 else ""
            raise StepFailedError(f"`{shown[0]:.80}`{more} ended with status {status}; the same command continues here")
        print(f"  ({time.monotonic() - start:.0f} s)", flush=True)


def has_result(file: Path) -> bool:
    """Whether an evaluation result is there, whole."""
    try:
        return "retrieval" in json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
