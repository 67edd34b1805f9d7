"""Windows: captions that are packed into batches together, each different one once."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from embedder.models.encoder import Encoder, Vectors
from embedder.models.tokens import Tokens
from embedder.run.plan import Block, Step
from embedder.run.report import FieldReport


class Recent:
    """Vectors of recent captions, so that a caption which comes again later in a run is not computed again.

    Holds at most ``max_bytes`` and forgets the least recently used. For one thread.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._vectors: OrderedDict[str, Vectors] = OrderedDict()

    def get(self, caption: str) -> Vectors | None:
        """The (D,) float32 vector of ``caption``, if remembered."""
        if caption in self._vectors:
            self._vectors.move_to_end(caption)
        return self._vectors.get(caption)

    def add(self, captions: Iterable[str], vectors: Vectors) -> None:
        """Remember new captions with their vectors (n, D), which are copied."""
        for caption, vector in zip(captions, vectors, strict=True):
            self._vectors[caption] = vector.copy()
            self._bytes += 4 * len(caption) + vector.nbytes
        while self._bytes > self._max_bytes:
            caption, vector = self._vectors.popitem(last=False)
            self._bytes -= 4 * len(caption) + vector.nbytes


@dataclass(frozen=True, slots=True)
class Job:
    """A block and, for each of its captions, the row of its vector in the window."""

    block: Block
    rows: NDArray[np.int64]
    """(n,)"""
    num_repeated: int
    """Captions that came before in the window."""


@dataclass(slots=True)
class Window:
    """Enough captions that batches cut from them, sorted by length, hold captions of like length.

    ``captions``, ``tokens`` and ``owners`` have one entry per row, that is per different caption; the owner counts
    the field in which the caption came first.
    """

    jobs: list[Job] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)
    tokens: list[Tokens] = field(default_factory=list)
    owners: list[FieldReport] = field(default_factory=list)
    row_of: dict[str, int] = field(default_factory=dict)
    num_tokens: int = 0
    num_captions: int = 0
    """Captions of all samples that were read for it, whether they need a vector or not."""
    num_settled: int = 0
    """Captions that need no vector, because it is there already or they are empty."""
    num_ended: int = 0
    """Sources that end in this window."""

    def add(self, step: Step, encoder: Encoder) -> None:
        """Add the captions of a step and tokenise the new ones."""
        for block in step.blocks:
            before = len(self.captions)
            rows = np.array([self._row(c, block.target.report) for c in block.captions], np.int64)
            self.jobs.append(Job(block, rows, before + len(rows) - len(self.captions)))
        if new := self.captions[len(self.tokens) :]:
            tokens = encoder.tokenize(new)
            self.tokens += tokens
            self.num_tokens += sum(len(t.ids) for t in tokens)
        self.num_captions += step.num_settled + sum(len(block.keys) for block in step.blocks)
        self.num_settled += step.num_settled
        self.num_ended += step.ends_source

    def _row(self, caption: str, report: FieldReport) -> int:
        if caption not in self.row_of:
            self.row_of[caption] = len(self.captions)
            self.captions.append(caption)
            self.owners.append(report)
        return self.row_of[caption]

    def vectors(self, encoder: Encoder, recent: Recent, on_tokens: Callable[[int], None]) -> Vectors:
        """(rows, D) float32 vectors: remembered ones, and new ones of the model, which are then remembered."""
        vectors = np.empty((len(self.captions), encoder.dim), np.float32)
        new = []
        for row, caption in enumerate(self.captions):
            if (known := recent.get(caption)) is None:
                new.append(row)
            else:
                vectors[row] = known
                self.owners[row].deduplicated += 1
        for job in self.jobs:
            job.block.target.report.deduplicated += job.num_repeated
        if new:
            vectors[new] = encoder.embed([self.tokens[row] for row in new], on_tokens)
            recent.add([self.captions[row] for row in new], vectors[new])
        return vectors


def windows(steps: Iterable[Step], encoder: Encoder, window_tokens: int) -> Iterator[Window]:
    """Gather steps until their different captions hold ``window_tokens``; a step without work comes at once."""
    window = Window()
    for step in steps:
        window.add(step, encoder)
        if window.num_tokens >= window_tokens or not window.jobs:
            yield window
            window = Window()
    yield window
