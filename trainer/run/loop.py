"""The loop: batch -> stage -> backward -> step -> log -> checkpoint."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from tqdm import tqdm

from store.common.errors import ConfigError, KeyclipError
from trainer.checkpoint import folder as run_folder
from trainer.data.epochs import begin_sentences
from trainer.data.loader import batches, make_plan
from trainer.engine.deepspeed_engine import (
    gradient_norm,
    learning_rate_at,
    length_sentence,
    make_engine,
    set_learning_rate,
    start_ranks,
)
from trainer.engine.loss_scale import take_step
from trainer.objectives.gather import AnyRank, require_same
from trainer.run.ending import end_sentence
from trainer.run.log import TrainingLog, mean_report, progress_bar
from trainer.run.preempt import PreemptedError, Preemption
from trainer.run.resume import load_training_state, save_training_state
from trainer.run.stage import Stage, StageConfig

REPORT_AFTER_SECONDS = 5
SAME_DATA = "every machine needs the same shards, stores and key lists, which nothing changes as the run starts"


class RankLostError(KeyclipError, ConnectionError):
    """Another rank stopped."""


def train(config: StageConfig, stage_name: str, build: Callable[[Any], Stage]) -> None:
    """Run a stage to its end, from its newest checkpoint where there is one. The ranks stay joined.

    Raises:
        ConfigError: settings that do not fit each other, the data or the run that the folder holds.
        DivergedError: the loss became NaN or infinite.
        PreemptedError: SIGTERM or SIGUSR1 came; the run has saved its state.
        RankLostError: another rank stopped.
    """
    rank, ranks, device = start_ranks(config.run.threads)
    try:
        if rank == 0:
            run_folder.prepare(config.run.output, stage_name, config)
        dist.barrier()
        torch.manual_seed(config.run.seed)
        _Run(config, build(config), rank, ranks, device).run()
    except KeyclipError:
        if rank > 0:  # most errors meet every rank; the launcher ends this one when rank 0 has reported
            time.sleep(REPORT_AFTER_SECONDS)
        raise
    except RuntimeError as error:
        if "by peer" in str(error):  # gloo: the connection was closed, or reset, by peer
            time.sleep(REPORT_AFTER_SECONDS)
            raise RankLostError("another rank stopped; it says why") from error
        raise


class _Run:
    def __init__(self, settings: StageConfig, stage: Stage, rank: int, ranks: int, device: torch.device) -> None:
        self.settings, self.stage, self.rank, self.ranks, self.device = settings, stage, rank, ranks, device
        self.config = config = settings.run
        num_samples = sum(source.epoch_size for source in stage.data.sources)
        require_same(num_samples, "the number of samples", SAME_DATA, device)
        self.plan = make_plan(num_samples, config.batch_size, ranks, config.accumulation)
        self.total_steps = min(config.epochs * self.plan.steps_per_epoch, config.max_steps or 10**18)
        self.engine = make_engine(stage.module, config, ranks, stage.lr_scale)
        stage.to(device)

    def run(self) -> None:
        output, name, total_steps = self.config.output, self.stage.name, self.total_steps
        first = load_training_state(output, self.engine, self.stage)
        sources = self.stage.data.sources
        if first > total_steps:
            raise ConfigError(
                f"the run in {str(output)!r} has done {first} steps, more than the {total_steps} that epochs and "
                "max_steps allow now; give at least as many, or another --output"
            )
        if self.rank == 0:
            tqdm.write(begin_sentences(name, first, total_steps, self.plan, sources, self.ranks))
            if first:
                newest = run_folder.find_checkpoint(output)
                planned = run_folder.entry(run_folder.read_checkpoint_info(newest), "total_steps", newest)
                tqdm.write(length_sentence(self.config.optim, first, planned, total_steps), end="")
        bar = progress_bar(name, first, total_steps, self.rank)
        log = TrainingLog(self.settings, self.rank, first, self.plan, sources)
        with bar, log, AnyRank() as any_rank, Preemption(self.config.checkpoint_minutes) as preemption:
            if first and any_rank([log.lacks_evaluation(first)])[0]:  # the run was stopped at a step with an evaluation
                self._evaluate(first, log)
            self._steps(first, bar, log, preemption, any_rank)
        if self.rank == 0:
            newest = run_folder.find_checkpoint(output)
            self.stage.finish(run_folder.read_tensors(newest, "model"))
            tqdm.write(end_sentence(name, self.settings, total_steps, newest))

    def _steps(self, first: int, bar: Any, log: TrainingLog, preemption: Preemption, any_rank: AnyRank) -> None:
        config, engine = self.config, self.engine
        loader = self._batches(first)
        for step in range(first, self.total_steps):
            rate = learning_rate_at(step, config.optim, self.total_steps)
            set_learning_rate(engine, rate)
            waited, left_out, reports = 0.0, Counter[str](), []
            for _ in range(config.accumulation):
                asked = time.perf_counter()
                batch = next(loader)
                waited += time.perf_counter() - asked
                left_out.update(batch.pop("left_out", {}))
                loss, report = engine({name: _move(value, self.device) for name, value in batch.items()})
                engine.backward(loss)
                reports.append({name: value.detach() for name, value in report.items()})
                norm = gradient_norm(engine)
                stepped = take_step(engine)
            if stepped:
                self.stage.after_step(engine)
            done = step + 1
            last = done == self.total_steps
            log.add(self.plan.batch_size, waited, left_out)
            stop, due = any_rank([preemption.signal is not None, preemption.is_save_due()])
            save = done % config.checkpoint_every == 0 or last or stop or due
            if done % config.log_every == 0 or save or done % self.plan.steps_per_epoch == 0:
                # a diverged run is stopped here, before it is saved
                row = {"step": done, "epoch": done / self.plan.steps_per_epoch, "samples": done * config.batch_size}
                bar.set_postfix(log.write(row | {"lr": rate}, mean_report(reports), norm, engine), refresh=False)
            if not stop:
                self._evaluate(done, log)
            if save:
                save_training_state(self.settings, engine, self.stage, done, self.total_steps, self.rank)
                preemption.saved()
            bar.update()
            if stop and not last:  # an evaluation due now takes too long; the continued run makes it
                raise PreemptedError(f"asked to stop; saved after step {done}, and the same command continues there")
            if stop:
                self._evaluate(done, log)

    def _evaluate(self, done: int, log: TrainingLog) -> None:
        if values := self.stage.evaluate(done, done == self.total_steps, self.device):
            log.evaluated(done, values)

    def _batches(self, first: int) -> Iterator[dict[str, Any]]:
        config, steps = self.config, range(first, self.total_steps)
        return batches(
            self.stage.data, self.plan, steps, seed=config.seed, window=config.shuffle_window, rank=self.rank,
            ranks=self.ranks, accumulation=config.accumulation, workers=config.workers,
            pin_memory=self.device.type == "cuda",
        )  # fmt: skip


def _move(value: Any, device: torch.device) -> Any:
    return value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
