"""The order in which samples are seen: a function of seed, epoch and position, of nothing else."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import xxhash

_KEYS_AT_ONCE = 100_000
_CUT_PASS, _CUT_SHARD = 2, 3  # random streams; 1 is the stream of what is drawn for a sample, streaming.py has 4 to 6


def generator(seed: int, *stream: int) -> np.random.Generator:
    """An independent random stream for each ``(seed, *stream)``."""
    # as spawn_key, since numpy gives entropy that differs only by zeros at its end the same stream
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=stream)))


@dataclass(frozen=True, slots=True)
class Source:
    """One dataset's part in an epoch."""

    name: str
    shard_sizes: Sequence[int]
    """Number of samples in each shard (or other unit that is read together)."""
    weight: float = 1.0
    """How often an epoch takes a sample: 1 once, 2 twice, 0.5 every other epoch."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Number of the dataset's samples that are left out, by reason."""
    streamed: bool = False
    """Its shards cannot be addressed by sample, so ``shard_sizes`` holds one estimate for all of them."""
    keys: np.ndarray | None = field(default=None, repr=False, compare=False)
    """The samples' keys, (n,) UTF-8 byte strings in the order of their numbers; None where they are not known."""

    @property
    def num_samples(self) -> int:
        return sum(self.shard_sizes)

    @property
    def epoch_size(self) -> int:
        """Samples that an epoch takes."""
        return round(self.num_samples * self.weight)


def describe(sources: Sequence[Source]) -> dict[str, dict[str, float]]:
    """Per dataset: its samples, its weight, and the samples left out by reason."""
    return {s.name: {"samples": s.num_samples, "weight": s.weight, **s.left_out} for s in sources}


def key_digests(sources: Sequence[Source]) -> dict[str, str]:
    """``xxh3:`` and 32 hex digits over the keys of each dataset whose keys are known, in their order."""
    return {s.name: _digest(s.keys) for s in sources if s.keys is not None}


def _digest(keys: np.ndarray) -> str:
    digest = xxhash.xxh3_128()
    for start in range(0, len(keys), _KEYS_AT_ONCE):
        for part in (b"\n".join(keys[start : start + _KEYS_AT_ONCE].tolist()), b"\n"):
            digest.update(part)
    return f"xxh3:{digest.hexdigest()}"


def epoch_order(sources: Sequence[Source], seed: int, epoch: int, window: int) -> np.ndarray:
    """The samples of an epoch in an order that keeps reads local: (N,) int64, N the sum of the sources' epoch sizes.

    Samples are numbered source by source, shard by shard. The shards of all sources are drawn in random order; the
    samples of each ``window`` consecutive shards of that order are shuffled together, so that a pass reads only
    ``window`` shards at a time. Every epoch, counted from 0, has its own order.

    A source of weight 1 comes once as a whole. One of another weight goes from pass to pass, and an epoch continues in
    the pass where the last epoch ended: at 0.5 two epochs see every sample once, at 2 each epoch sees it twice.
    """
    pieces: list[np.ndarray | range] = []
    first = 0
    for number, source in enumerate(sources):
        pieces += _pieces(source, first, epoch, (seed, number))
        first += source.num_samples
    random = generator(seed, epoch)
    turns = random.permutation(len(pieces))
    order = np.empty(sum(map(len, pieces)), np.int64)
    filled = 0
    for begin in range(0, len(turns), window):
        pool = np.concatenate([np.asarray(pieces[turn]) for turn in turns[begin : begin + window]])
        order[filled : filled + len(pool)] = random.permutation(pool)
        filled += len(pool)
    return order


def _pieces(source: Source, first: int, epoch: int, stream: tuple[int, int]) -> Iterator[np.ndarray | range]:
    """The shards, whole or in part, that an epoch takes of a source; its samples are numbered from ``first``."""
    size, starts = source.num_samples, first + np.concatenate([[0], np.cumsum(source.shard_sizes)]).astype(np.int64)
    begin, end = epoch * source.epoch_size, (epoch + 1) * source.epoch_size
    while begin < end:
        nth = begin // size
        stop = min(end, (nth + 1) * size)
        if stop - begin == size:
            yield from (range(int(starts[shard]), int(starts[shard + 1])) for shard in range(len(starts) - 1))
        else:
            yield from _part_of_pass(starts, begin - nth * size, stop - nth * size, stream, nth)
        begin = stop


def _part_of_pass(
    starts: np.ndarray, begin: int, end: int, stream: tuple[int, int], nth: int
) -> Iterator[np.ndarray | range]:
    """The samples from ``begin`` to ``end`` of the ``nth`` pass over shards that begin at ``starts``."""
    seed, number = stream
    at = 0
    for shard in generator(seed, _CUT_PASS, number, nth).permutation(len(starts) - 1).tolist():
        samples = range(int(starts[shard]), int(starts[shard + 1]))
        here = slice(max(begin - at, 0), max(end - at, 0))
        if len(samples[here]) == len(samples):
            yield samples
        elif samples[here]:
            yield generator(seed, _CUT_SHARD, number, nth, shard).permutation(np.asarray(samples))[here]
        at += len(samples)
