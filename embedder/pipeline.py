"""The three stages of embedding, side by side: read and tokenise, run the model, commit.

The first and the last run in threads of their own; the model runs in the caller's. Queues between them are short,
so memory stays bounded by a few windows whatever the size of the data.
"""

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

from embedder.encoder import Encoder
from embedder.plan import Block, Step
from embedder.tokens import Tokens

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Job:
    """A block and, for each of its captions, the row of its vector in the window."""

    block: Block
    rows: np.ndarray
    """(n,) int64."""


@dataclass(slots=True)
class Window:
    """Captions that are packed into batches together: enough of them that batches hold captions of like length."""

    jobs: list[Job] = field(default_factory=list)
    tokens: list[Tokens] = field(default_factory=list)
    """One per row: the window's different captions."""
    num_tokens: int = 0
    settled: int = 0
    """Captions that need no vector: there already, or empty."""
    ended: int = 0
    """Sources that end in this window."""


def windows(steps: Iterable[Step], encoder: Encoder, window_tokens: int) -> Iterator[Window]:
    """Tokenise each different caption once and gather steps until they hold ``window_tokens``."""
    window, row_of = Window(), dict[str, int]()
    for step in steps:
        new: list[str] = []
        for block in step.blocks:
            rows = np.empty(len(block.captions), np.int64)
            for i, caption in enumerate(block.captions):
                if caption not in row_of:
                    row_of[caption] = len(row_of)
                    new.append(caption)
                else:
                    block.target.report.deduplicated += 1
                rows[i] = row_of[caption]
            window.jobs.append(Job(block, rows))
        tokens = encoder.tokenize(new) if new else []
        window.tokens += tokens
        window.num_tokens += sum(len(t.ids) for t in tokens)
        window.settled += step.num_settled
        window.ended += step.ends_source
        if window.num_tokens >= window_tokens or not window.jobs:
            yield window
            window, row_of = Window(), {}
    yield window


def commit(job: Job, vectors: np.ndarray, tokens: list[Tokens]) -> None:
    """Write one block; ``vectors`` (rows, D) and ``tokens`` are those of its window."""
    block, report = job.block, job.block.target.report
    block.target.writer.commit(block.name, block.keys, vectors[job.rows], block.hashes)
    report.embedded += len(job.rows)
    report.truncated += sum(tokens[row].truncated for row in job.rows)


@contextmanager
def ahead(items: Iterable[T], depth: int = 2) -> Iterator[Iterator[T]]:
    """Produce ``items`` in a thread, at most ``depth`` ahead of the consumer; errors come out at the consumer."""
    stop = threading.Event()
    results: queue.Queue[tuple[bool, T | BaseException | None]] = queue.Queue(depth)

    def put(entry: tuple[bool, T | BaseException | None]) -> bool:
        while not stop.is_set():
            try:
                results.put(entry, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def produce() -> None:
        try:
            for item in items:
                if not put((True, item)):
                    return
            put((False, None))
        except BaseException as error:  # noqa: BLE001 - raised again in the consumer's thread
            put((False, error))

    def consume() -> Iterator[T]:
        while True:
            going_on, item = results.get()
            if going_on:
                yield item  # type: ignore[misc]
            elif item is None:
                return
            else:
                raise item  # type: ignore[misc]

    thread = threading.Thread(target=produce, name="keyclip-ahead", daemon=True)
    thread.start()
    try:
        yield consume()
    finally:
        stop.set()
        thread.join()


class Worker(Generic[T]):
    """Runs ``work(item)`` in a thread, in order. Leaving the context waits for what was accepted."""

    def __init__(self, work: Callable[[T], None], depth: int = 8) -> None:
        self._work = work
        self._items: queue.Queue[T | None] = queue.Queue(depth)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="keyclip-worker", daemon=True)

    def __enter__(self) -> "Worker[T]":
        self._thread.start()
        return self

    def submit(self, item: T) -> None:
        """Queue an item; raises what an earlier item raised."""
        if self._error is not None:
            raise self._error
        self._items.put(item)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._items.put(None)
        self._thread.join()
        if self._error is not None and kind is None:
            raise self._error

    def _run(self) -> None:
        while (item := self._items.get()) is not None:
            if self._error is None:
                try:
                    self._work(item)
                except BaseException as error:  # noqa: BLE001 - raised again by submit or at the end
                    self._error = error
