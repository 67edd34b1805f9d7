"""Windows: captions that are packed into batches together, each different one once."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from embedder.models.encoder import Encoder, Vectors
from embedder.models.tokens import Tokens
from embedder.reading.captions import Chunk
from embedder.run.plan import Block, missing_blocks
from embedder.run.report import FieldReport
from embedder.run.targets import Target


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


@dataclass(slots=True)
class Window:
    """Enough captions that batches cut from them, sorted by length, hold captions of like length.

    ``row_of``, ``tokens`` and ``owners`` have one entry per row, that is per different caption; the owner counts the
    field in which the caption came first.
    """

    blocks: list[tuple[Block, NDArray[np.int64]]] = field(default_factory=list)
    """Blocks and, for each of their captions, the row of its vector in the window: (n,)."""
    row_of: dict[str, int] = field(default_factory=dict)
    tokens: list[Tokens] = field(default_factory=list)
    owners: list[FieldReport] = field(default_factory=list)
    num_tokens: int = 0
    num_captions: int = 0
    """Captions of all samples that were read for it, whether they need a vector or not."""
    num_settled: int = 0
    """Captions that need no vector, because it is there already or they are empty."""
    num_ended: int = 0
    """Sources that end in this window."""

    def add(self, chunk: Chunk, targets: Sequence[Target], encoder: Encoder) -> None:
        """Add the captions of a chunk that need a vector, and tokenise the new ones."""
        num_missing = 0
        for block in missing_blocks(chunk, targets):
            num_missing += len(block.keys)
            rows = [self.row_of.setdefault(caption, len(self.row_of)) for caption in block.captions]
            self.blocks.append((block, np.array(rows, np.int64)))
            self.owners += [block.target.report] * (len(self.row_of) - len(self.owners))
        if new := list(islice(self.row_of, len(self.tokens), None)):
            tokens = encoder.tokenize(new)
            self.tokens += tokens
            self.num_tokens += sum(len(t.ids) for t in tokens)
        num_captions = len(chunk.rows) * len(targets)
        self.num_captions += num_captions
        self.num_settled += num_captions - num_missing
        self.num_ended += chunk.last

    def vectors(self, encoder: Encoder, recent: Recent, on_tokens: Callable[[int], None]) -> Vectors:
        """(rows, D) float32 vectors: remembered ones, and new ones of the model, which are then remembered."""
        vectors = np.empty((len(self.row_of), encoder.dim), np.float32)
        new = {}
        for caption, row in self.row_of.items():
            if (known := recent.get(caption)) is None:
                new[caption] = row
            else:
                vectors[row] = known
        for block, rows in self.blocks:
            block.target.report.deduplicated += len(rows)
        for row in new.values():
            self.owners[row].deduplicated -= 1
        if new:
            rows_of_new = list(new.values())
            vectors[rows_of_new] = encoder.embed([self.tokens[row] for row in rows_of_new], on_tokens)
            recent.add(new, vectors[rows_of_new])
        return vectors


def windows(
    chunks: Iterable[Chunk], targets: Sequence[Target], encoder: Encoder, window_tokens: int
) -> Iterator[Window]:
    """Gather chunks until their different captions hold ``window_tokens``; a chunk without work comes at once."""
    window = Window()
    for chunk in chunks:
        window.add(chunk, targets, encoder)
        if window.num_tokens >= window_tokens or not window.blocks:
            yield window
            window = Window()
    yield window
