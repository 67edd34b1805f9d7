"""Records of a run while it trains: ``log.jsonl``, ``evaluations.jsonl`` and boards."""

import json
import math
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from tqdm import tqdm

from trainer.checkpoint import folder as run_folder
from trainer.data.epochs import EpochCounts, epoch_sentence
from trainer.data.loader import Plan
from trainer.data.order import Source
from trainer.data.samples import LEFT_OUT
from trainer.engine.loss_scale import DivergedError
from trainer.run.boards import TensorBoard, Wandb, open_boards
from trainer.run.stage import StageConfig


def progress_bar(name: str, first: int, total: int, rank: int) -> Any:
    """The steps of a run that has done ``first``, shown by rank 0."""
    interval = 0.1 if sys.stderr.isatty() else 30.0  # a log file needs no animation
    return tqdm(
        total=total, initial=first, desc=name, unit="step", disable=rank > 0, mininterval=interval, maxinterval=interval
    )


def mean_report(reports: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The means over the micro-batches of a step."""
    return {name: torch.stack([report[name].float() for report in reports]).mean(0) for name in reports[0]}


class TrainingLog:
    """``log.jsonl`` and the boards, written by rank 0; values are means over ranks.

    A run that continues after ``first`` steps drops the lines that were written later, and writes them again.
    """

    def __init__(self, config: StageConfig, rank: int, first: int, plan: Plan, sources: Sequence[Source]) -> None:
        self.config, self.folder, self.rank, self.first = config, config.run.output, rank, first
        self.plan, self.epochs = plan, EpochCounts(plan, sources)
        self.boards: list[TensorBoard | Wandb] = []
        self.evaluation: dict[str, Any] | None = None  # the last one before ``first``
        self._reset()

    def _reset(self) -> None:
        """Begin to count anew; ``left_out`` counts this rank's samples."""
        self.samples, self.left_out, self.waited, self.since = 0, Counter[str](), 0.0, time.perf_counter()

    def __enter__(self) -> "TrainingLog":
        if self.rank == 0:
            last = run_folder.trim_log(self.folder, self.first)
            self.evaluation = run_folder.trim_log(self.folder, self.first, run_folder.EVALUATIONS)
            self.epochs = EpochCounts(self.plan, self.epochs.sources, last)
            settings = run_folder.plain(self.config)
            self.boards = open_boards(self.folder, self.first, self.config.run.wandb_project, settings)
        return self

    def __exit__(self, *_: object) -> None:
        for board in self.boards:
            board.close()

    def add(self, samples: int, waited: float, left_out: Mapping[str, int]) -> None:
        """Count a step: samples of all ranks, seconds that this rank waited for them, samples left out by reason."""
        self.samples += samples
        self.left_out.update(left_out)
        self.waited += waited

    def lacks_evaluation(self, step: int) -> bool:
        """Whether ``evaluations.jsonl`` holds none after ``step``, the newest that the run has done; on rank 0."""
        return self.rank == 0 and (self.evaluation is None or self.evaluation["step"] != step)

    def write(
        self, row: dict[str, Any], report: dict[str, torch.Tensor], norm: torch.Tensor | None, engine: Any
    ) -> dict[str, float]:
        """Append one line; returns what the progress bar shows. A collective call.

        ``report`` is of this rank, ``norm`` of the whole gradient, None where the engine knows it.

        Raises: DivergedError: a value is not finite.
        """
        values = torch.stack([value.detach().float().reshape(()) for value in report.values()])
        values = torch.cat([values, values.new_tensor([self.left_out[reason] for reason in LEFT_OUT])])
        dist.all_reduce(values)
        sums = dict(zip([*report, *LEFT_OUT], values.tolist(), strict=True))
        left_out = {reason: round(sums[reason]) for reason in LEFT_OUT}
        means = {name: sums[name] / dist.get_world_size() for name in report}
        if norm is None:
            norm = engine.get_global_grad_norm()
        if norm is not None:
            means["grad_norm"] = float(norm)
        overflow = self.config.run.precision == "fp16"  # whose steps DeepSpeed leaves out by itself
        if not all(math.isfinite(value) or (overflow and name == "grad_norm") for name, value in means.items()):
            checkpoints = run_folder.list_checkpoints(self.folder)
            last = f"the last checkpoint is {str(checkpoints[-1])!r}" if checkpoints else "there is no checkpoint yet"
            raise DivergedError(f"the loss is not finite at step {row['step']} ({means}); {last}; lower learning_rate")
        if overflow:
            means |= {"loss_scale": float(engine.optimizer.loss_scale), "skipped_steps": float(engine.skipped_steps)}
        elapsed = time.perf_counter() - self.since
        row |= means | {
            "skipped_samples": sum(left_out.values()),
            "samples_per_second": self.samples / elapsed,
            "data_wait_share": self.waited / elapsed,
        }
        counts = self.epochs.add(row["step"], left_out)
        if self.rank == 0:
            if "epoch_counts" in counts and self.plan.steps_per_epoch >= self.config.run.log_every:
                tqdm.write(epoch_sentence(counts["epoch_counts"]))
            self._append(run_folder.LOG, row | counts)
        self._reset()
        return {"loss": round(means["loss"], 4), "samples/s": round(row["samples_per_second"])}

    def evaluated(self, step: int, values: dict[str, float]) -> None:
        """Append the results of an evaluation; its time does not count as training's."""
        self.since += values["eval/seconds"]
        if self.rank == 0:
            self._append(run_folder.EVALUATIONS, {"step": step, **values})
            shown = ", ".join(f"{name.removeprefix('eval/')} {value:.4g}" for name, value in values.items())
            tqdm.write(f"evaluated after step {step}: {shown}")

    def _append(self, name: str, row: dict[str, Any]) -> None:
        with (self.folder / name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        for board in self.boards:
            values = {name: value for name, value in row.items() if isinstance(value, int | float) and name != "step"}
            board.add(row["step"], values)
