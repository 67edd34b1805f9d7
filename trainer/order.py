"""The order in which samples are seen: a function of seed, epoch and position, of nothing else."""

from collections.abc import Sequence

import numpy as np


def generator(seed: int, *stream: int) -> np.random.Generator:
    """An independent random stream for each ``(seed, *stream)``."""
    # as spawn_key, since numpy gives entropy that differs only by zeros at its end the same stream
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=stream)))


def epoch_order(shard_sizes: Sequence[int], seed: int, epoch: int, window: int) -> np.ndarray:
    """A permutation of all samples that keeps reads local: (N,) int64 positions in shard-by-shard numbering.

    Shards are drawn in random order; the samples of each ``window`` consecutive shards of that order are shuffled
    together, so that a pass reads only ``window`` shards at a time.

    Args:
        shard_sizes: number of samples in each shard.
        seed: of the run.
        epoch: from 0; every epoch has its own order.
        window: shards shuffled together, at least 1.
    """
    random = generator(seed, epoch)
    starts = np.concatenate([[0], np.cumsum(shard_sizes)]).astype(np.int64)
    shards = random.permutation(len(shard_sizes))
    order = []
    for first in range(0, len(shards), window):
        pool = np.concatenate([np.arange(starts[s], starts[s + 1]) for s in shards[first : first + window]])
        order.append(random.permutation(pool))
    return np.concatenate(order) if order else np.zeros(0, np.int64)
