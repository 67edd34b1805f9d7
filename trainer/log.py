"""What a run says of itself while it trains: ``log.jsonl`` and boards."""

import json
import math
import time
from typing import Any

import torch
import torch.distributed as dist

from store.errors import KeyclipError
from trainer import run_folder
from trainer.boards import Board, open_boards
from trainer.config import RunConfig


class DivergedError(KeyclipError, ArithmeticError):
    """The loss is not finite."""


class TrainingLog:
    """``log.jsonl`` and the boards, written by rank 0; values are means over ranks.

    A run that continues after ``first`` steps drops the lines that were written later, and writes them again.
    """

    def __init__(self, config: RunConfig, rank: int, first: int) -> None:
        self.config, self.folder, self.rank, self.first = config, config.output, rank, first
        self.boards: list[Board] = []
        self._reset()

    def _reset(self) -> None:
        """Begin to count anew; ``skipped`` counts this rank's samples."""
        self.samples, self.skipped, self.waited, self.since = 0, 0, 0.0, time.perf_counter()

    def __enter__(self) -> "TrainingLog":
        if self.rank == 0:
            run_folder.trim_log(self.folder, self.first)
            settings = run_folder.plain(self.config)
            self.boards = open_boards(self.folder, self.first, self.config.wandb_project, settings)
        return self

    def __exit__(self, *_: object) -> None:
        for board in self.boards:
            board.close()

    def add(self, samples: int, waited: float, skipped: int) -> None:
        self.samples += samples
        self.skipped += skipped
        self.waited += waited

    def write(self, row: dict[str, Any], report: dict[str, torch.Tensor], engine: Any) -> dict[str, float]:
        """Append one line; returns what the progress bar shows. A collective call."""
        values = torch.stack([value.detach().float().reshape(()) for value in report.values()])
        skipped = values.new_tensor([self.skipped * dist.get_world_size()])
        values = torch.cat([values, skipped])
        dist.all_reduce(values)
        means = dict(zip([*report, "skipped_samples"], (values / dist.get_world_size()).tolist(), strict=True))
        norm = engine.get_global_grad_norm()
        if norm is not None:
            means["grad_norm"] = float(norm)
        overflow = self.config.precision == "fp16"  # whose steps DeepSpeed leaves out by itself
        if not all(math.isfinite(value) or (overflow and name == "grad_norm") for name, value in means.items()):
            checkpoints = run_folder.list_checkpoints(self.folder)
            last = f"the last checkpoint is {str(checkpoints[-1])!r}" if checkpoints else "there is no checkpoint yet"
            raise DivergedError(f"the loss is not finite at step {row['step']} ({means}); {last}; lower learning_rate")
        if overflow:
            means |= {"loss_scale": float(engine.optimizer.loss_scale), "skipped_steps": float(engine.skipped_steps)}
        elapsed = time.perf_counter() - self.since
        row |= means | {
            "samples_per_second": self.samples / elapsed,
            "data_wait_share": self.waited / elapsed,
        }
        if self.rank == 0:
            with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            for board in self.boards:
                board.add(row["step"], {name: value for name, value in row.items() if name != "step"})
        self._reset()
        return {"loss": round(means["loss"], 4), "samples/s": round(row["samples_per_second"])}
