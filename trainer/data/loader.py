"""Batches of this rank, in the order that seed, epoch and position alone determine."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Protocol, runtime_checkable

import numpy as np
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from store.common.errors import ConfigError, KeyclipError
from trainer.data.order import Source, epoch_order
from trainer.data.workers import obey_parent, starting_workers


class TrainingData(Protocol):
    """Samples of a stage that are loaded a batch at a time."""

    @property
    def sources(self) -> Sequence[Source]:
        """The datasets; samples are numbered dataset by dataset, shard by shard."""

    def load(self, samples: np.ndarray, epoch: int, places: np.ndarray) -> dict[str, Any]:
        """The batch of ``samples`` (n,) at ``places`` (n,) of the epoch: tensors by name.

        Random draws depend on seed, epoch and place alone. The entry ``left_out``, which is optional, counts the
        samples that are not in the batch, by reason (one of ``samples.LEFT_OUT``).
        """


@dataclass(frozen=True, slots=True)
class Share:
    """One loader process's part of streamed data: process ``number`` of the ``of`` processes of all ranks.

    ``first_step`` is the step with which the run begins or continues, ``epochs_done`` are the epochs before it, with
    fractions, ``batch_size`` are the samples of a micro-batch.
    """

    number: int
    of: int
    seed: int
    first_step: int
    epochs_done: float
    batch_size: int


@runtime_checkable
class StreamedData(Protocol):
    """Samples of a stage that cannot be addressed; see ``trainer/data/streaming.py``."""

    @property
    def sources(self) -> Sequence[Source]:
        """The datasets, with estimated sizes."""

    def check_shares(self, shares: int) -> None:
        """Raises: ConfigError: the data cannot be divided into so many parts."""

    def stream(self, share: Share) -> Iterator[dict[str, Any]]:
        """Batches without end, as :meth:`TrainingData.load` makes them."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How the ``num_samples`` of an epoch are divided into steps of ``batch_size`` samples over all ranks."""

    num_samples: int
    batch_size: int

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch."""
        return self.num_samples // self.batch_size

    @property
    def remainder(self) -> int:
        """Samples at the end of each epoch's order that fill no batch; other ones in every epoch."""
        return self.num_samples % self.batch_size


def make_plan(num_samples: int, batch_size: int, ranks: int = 1, accumulation: int = 1) -> Plan:
    """Raises: ConfigError: the batch does not divide over ranks and accumulation, or there are too few samples."""
    if batch_size % (ranks * accumulation):
        raise ConfigError(
            f"batch_size {batch_size} is no multiple of {ranks} ranks x {accumulation} accumulated micro-batches"
        )
    if num_samples < batch_size:
        raise ConfigError(f"{num_samples} samples fill no batch of {batch_size}; lower batch_size or add data")
    return Plan(num_samples, batch_size)


def _micro_batches(
    data: TrainingData, plan: Plan, steps: range, seed: int, window: int, rank: int, ranks: int, accumulation: int
) -> Iterator[list[tuple[int, int, int]]]:
    """Lists of (sample, epoch, place) for the micro-batches of this rank in ``steps``."""
    micro = plan.batch_size // (ranks * accumulation)
    current, order = -1, np.zeros(0, np.int64)
    for step in steps:
        epoch, within = divmod(step, plan.steps_per_epoch)
        if epoch != current:
            current, order = epoch, epoch_order(data.sources, seed, epoch, window)
        for part in range(accumulation):
            start = within * plan.batch_size + (part * ranks + rank) * micro
            yield [(int(order[place]), epoch, place) for place in range(start, start + micro)]


class _Loading(Dataset[dict[str, Any] | KeyclipError]):
    """Hands whole batches to ``TrainingData.load``, inside the worker."""

    def __init__(self, data: TrainingData) -> None:
        self.data = data

    def __getitems__(self, batch: list[tuple[int, int, int]]) -> dict[str, Any] | KeyclipError:
        samples, epochs, places = np.array(batch, dtype=np.int64).T
        try:
            return self.data.load(samples, int(epochs[0]), places)
        except KeyclipError as error:
            return error  # raised in the training process; raised here, torch would put a traceback into its message


class _Streaming(IterableDataset[dict[str, Any] | KeyclipError]):
    """Hands this rank's shares to ``StreamedData.stream``, each inside its worker."""

    def __init__(self, data: StreamedData, share: Share) -> None:
        self.data, self.share = data, share

    def __iter__(self) -> Iterator[dict[str, Any] | KeyclipError]:
        worker = get_worker_info()
        try:
            yield from self.data.stream(replace(self.share, number=self.share.number + (worker.id if worker else 0)))
        except KeyclipError as error:
            yield error


def _whole(batch: Any) -> Any:
    return batch


def batches(
    data: TrainingData | StreamedData, plan: Plan, steps: range, *, seed: int, window: int, rank: int, ranks: int,
    accumulation: int, workers: int, pin_memory: bool,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Micro-batches of this rank for ``steps``, ``accumulation`` of them per step.

    Raises:
        ConfigError: streamed data cannot be divided among so many ranks and workers.
        KeyclipError: an error that ``data`` raised, in place of the batch.
    """
    options: dict[str, Any] = {
        "collate_fn": _whole,
        "num_workers": workers,
        "prefetch_factor": 4 if workers else None,
        "pin_memory": pin_memory,
        "worker_init_fn": obey_parent,
    }
    if isinstance(data, StreamedData):
        parts = max(workers, 1)
        data.check_shares(ranks * parts)
        micro = plan.batch_size // (ranks * accumulation)
        share = Share(rank * parts, ranks * parts, seed, steps.start, steps.start / plan.steps_per_epoch, micro)
        loader = DataLoader(_Streaming(data, share), batch_size=None, **options)
    else:
        micro_batches = _micro_batches(data, plan, steps, seed, window, rank, ranks, accumulation)
        loader = DataLoader(_Loading(data), batch_sampler=micro_batches, **options)
    with starting_workers():
        loaded = iter(loader)
    for batch in islice(loaded, len(steps) * accumulation):
        if isinstance(batch, KeyclipError):
            raise batch
        yield batch
