"""Gathering feature rows over ranks, with gradient."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist

from store.common.errors import KeyclipError


class _AllGather(torch.autograd.Function):
    """Concatenates the ranks' rows; backward sums every rank's gradient for this rank's rows."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, sizes: list[int]) -> torch.Tensor:
        ctx.sizes = sizes
        largest = max(sizes)
        padded = rows.new_zeros(largest, *rows.shape[1:])
        padded[: rows.shape[0]] = rows
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        # all_reduce because gloo has no reduce_scatter
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        rank = dist.get_rank()
        start = sum(ctx.sizes[:rank])
        return total[start : start + ctx.sizes[rank]], None


def gather_rows(rows: torch.Tensor) -> tuple[torch.Tensor, int, int]:
    """Gather the rows of all ranks, in rank order; ranks may hold different numbers of rows.

    Returns:
        the gathered rows (G, ...), the position of this rank's first row in them, the number of ranks.
    """
    if _is_alone():
        return rows, 0, 1
    ranks = dist.get_world_size()
    counts = torch.zeros(ranks, dtype=torch.int64, device=rows.device)
    counts[dist.get_rank()] = rows.shape[0]
    dist.all_reduce(counts)
    sizes = counts.tolist()
    return _AllGather.apply(rows, sizes), sum(sizes[: dist.get_rank()]), ranks


def mean_over_ranks(values: torch.Tensor) -> torch.Tensor:
    """The mean of all ranks' values, on every rank; without gradient."""
    if _is_alone():
        return values
    total = values.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total)
    return total / dist.get_world_size()


class AnyRank:
    """Asks whether a flag is set on some rank, by a group of processes that never waits for a GPU.

    The group of the gradients would make every step wait for the device. Entering its context is a collective call.
    """

    def __enter__(self) -> "AnyRank":
        shared = _is_alone() or dist.get_backend() == "gloo"
        self._group = None if shared else dist.new_group(backend="gloo")
        return self

    def __exit__(self, *_: object) -> None:
        if self._group is not None:
            dist.destroy_process_group(self._group)

    def __call__(self, flags: Sequence[bool]) -> list[bool]:
        """For each flag whether it is set on some rank; the same answer on every rank. A collective call."""
        if _is_alone():
            return list(flags)
        total = torch.tensor(flags, dtype=torch.int32)
        dist.all_reduce(total, group=self._group)
        return [count > 0 for count in total.tolist()]


class RanksDisagreeError(KeyclipError, RuntimeError):
    """The machines of a run do not see the same files."""


def require_same(value: int, what: str, remedy: str, device: torch.device) -> None:
    """Compare a value, within 64 bits, of all ranks. A collective call.

    Raises: RanksDisagreeError: some rank has another value; on every rank. The message says ``what`` and ``remedy``.
    """
    if _is_alone():
        return
    values = torch.zeros(dist.get_world_size(), dtype=torch.int64, device=device)
    values[dist.get_rank()] = value
    dist.all_reduce(values)
    of_ranks = values.tolist()
    other = next((rank for rank, there in enumerate(of_ranks) if there != of_ranks[0]), None)
    if other is not None:
        raise RanksDisagreeError(f"{what} is {of_ranks[0]} on rank 0 and {of_ranks[other]} on rank {other}; {remedy}")


def _is_alone() -> bool:
    return not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1
