"""What a run says of itself while it trains: ``log.jsonl`` and TensorBoard."""

import json
import math
import time
from typing import Any

import torch
import torch.distributed as dist
from torch.utils.tensorboard import SummaryWriter

from store.errors import KeyclipError
from trainer import run_folder
from trainer.config import RunConfig


class DivergedError(KeyclipError, ArithmeticError):
    """The loss is not finite."""


class TrainingLog:
    """``log.jsonl`` and TensorBoard, written by rank 0; values are means over ranks."""

    def __init__(self, config: RunConfig, rank: int) -> None:
        self.folder, self.rank, self.precision = config.output, rank, config.precision
        self._reset()

    def _reset(self) -> None:
        """Begin to count anew; ``skipped`` counts this rank's samples."""
        self.samples, self.skipped, self.waited, self.since = 0, 0, 0.0, time.perf_counter()

    def __enter__(self) -> "TrainingLog":
        self.board = SummaryWriter(str(self.folder / "tensorboard")) if self.rank == 0 else None
        return self

    def __exit__(self, *_: object) -> None:
        if self.board:
            self.board.close()

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
        overflow = self.precision == "fp16"  # whose steps DeepSpeed leaves out by itself
        if not all(math.isfinite(value) or (overflow and name == "grad_norm") for name, value in means.items()):
            checkpoints = run_folder.list_checkpoints(self.folder)
            last = f"the last checkpoint is {str(checkpoints[-1])!r}" if checkpoints else "there is no checkpoint yet"
            raise DivergedError(f"the loss is not finite at step {row['step']} ({means}); {last}; lower learning_rate")
        elapsed = time.perf_counter() - self.since
        row |= means | {
            "samples_per_second": self.samples / elapsed,
            "data_wait_share": self.waited / elapsed,
        }
        if self.board:
            with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            for name, value in row.items():
                if name != "step":
                    self.board.add_scalar(name, value, row["step"])
        self._reset()
        return {"loss": round(means["loss"], 4), "samples/s": round(row["samples_per_second"])}
