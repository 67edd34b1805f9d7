"""Runs a function over shards in several processes; results come in the shards' order."""

import collections
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from typing import TypeVar

from tqdm import tqdm

R = TypeVar("R")


def over_shards(
    function: Callable[[str], R], shards: Sequence[str], workers: int | None, what: str, quiet: bool
) -> Iterator[R]:
    """``function`` of every shard. It and its results must be picklable; at most 2 results per worker wait.

    ``workers``: processes, by default one per core that this process may use; 0 for none but this one.
    """
    workers = len(os.sched_getaffinity(0)) if workers is None else workers
    workers = min(workers, len(shards))
    with tqdm(total=len(shards), desc=what, unit="shard", disable=quiet or not sys.stderr.isatty()) as bar:
        for result in map(function, shards) if workers <= 1 else _parallel(function, shards, workers):
            bar.update()
            yield result


def _parallel(function: Callable[[str], R], shards: Sequence[str], workers: int) -> Iterator[R]:
    spawn = multiprocessing.get_context("spawn")  # a fork of a process with threads can hang
    ignored = (signal.SIGINT, signal.SIG_IGN)  # an interrupt is for this process to handle
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=signal.signal, initargs=ignored) as pool:
        waiting: collections.deque[Future[R]] = collections.deque()
        try:
            for shard in shards:
                waiting.append(pool.submit(function, shard))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
