"""Windows: captions that are packed into batches together, each different one once."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from embedder.models.encoder import Encoder
from embedder.models.tokens import Tokens
from embedder.run.plan import Block, Step
from embedder.run.recent import Recent
from embedder.run.report import FieldReport


@dataclass(frozen=True, slots=True)
class Job:
    """A block and, for each of its captions, the row of its vector in the window."""

    block: Block
    rows: np.ndarray
    """(n,) int64."""
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
    num_tokens: int = 0
    num_captions: int = 0
    """Captions of all samples that were read for it, whether they need a vector or not."""
    num_settled: int = 0
    """Of these: those that need none, because it is there already or they are empty."""
    num_ended: int = 0
    """Sources that end in this window."""

    def vectors(self, encoder: Encoder, recent: Recent, on_tokens: Callable[[int], None]) -> np.ndarray:
        """(rows, D) float32 vectors: remembered ones, and those that go through the model, which are remembered."""
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
    builder = _Builder(encoder)
    for step in steps:
        builder.add(step)
        if builder.window.num_tokens >= window_tokens or not builder.window.jobs:
            yield builder.window
            builder = _Builder(encoder)
    yield builder.window


class _Builder:
    def __init__(self, encoder: Encoder) -> None:
        self.window = Window()
        self._encoder = encoder
        self._row_of: dict[str, int] = {}

    def add(self, step: Step) -> None:
        window = self.window
        for block in step.blocks:
            before = len(window.captions)
            rows = np.array([self._row(c, block.target.report) for c in block.captions], np.int64)
            window.jobs.append(Job(block, rows, before + len(rows) - len(window.captions)))
        if new := window.captions[len(window.tokens) :]:
            tokens = self._encoder.tokenize(new)
            window.tokens += tokens
            window.num_tokens += sum(len(t.ids) for t in tokens)
        window.num_captions += step.num_settled + sum(len(block.keys) for block in step.blocks)
        window.num_settled += step.num_settled
        window.num_ended += step.ends_source

    def _row(self, caption: str, report: FieldReport) -> int:
        if caption not in self._row_of:
            self._row_of[caption] = len(self.window.captions)
            self.window.captions.append(caption)
            self.window.owners.append(report)
        return self._row_of[caption]
