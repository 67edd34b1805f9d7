"""Which captions have their vector: fields of a store compared with shards or keyed caption files.

Samples are read once, in their order. Memory: 50 bytes per sample, and the listed keys.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from dataclasses import field as default
from itertools import compress, islice

import numpy as np

import store
from embedder.reading.captions import ABSENT, Chunk
from store.core.batch import hash_keys
from store.core.contract import Progress
from store.index.keytable import ABSENT as NO_PLACE
from store.index.keytable import KeyTable
from tools.query.pieces import block_keys

MAX_LISTED = 24


@dataclass(kw_only=True, slots=True)
class Coverage:
    """Coverage of one field."""

    field: str
    caption_field: str
    num_vectors: int
    num_samples: int = 0
    """Samples read."""
    num_covered: int = 0
    """Captions that have their vector; the vector's caption may be unknown."""
    num_unknown: int = 0
    """Covered captions whose vector was made from an unknown caption."""
    num_empty: int = 0
    """Samples whose caption is empty; they need no vector."""
    num_absent: int = 0
    """Samples that have no such caption field."""
    missing: list[str] = default(default_factory=list)
    """Keys of captions without a vector."""
    changed: list[str] = default(default_factory=list)
    """Keys whose vector was made from another caption."""
    orphans: list[str] = default(default_factory=list)
    """Keys of vectors without a sample."""

    @property
    def complete(self) -> bool:
        """Whether every caption has its vector."""
        return not self.missing and not self.changed


@dataclass(frozen=True, slots=True)
class KeyCoverage:
    """Which samples have a vector in a field, whatever their captions."""

    num_samples: int
    num_covered: int
    num_without_sample: int
    """Vectors whose key is no sample's."""
    uncovered: list[str]
    """The first keys without a vector."""


def cover_keys(field: store.Field, keys: Sequence[str]) -> KeyCoverage:
    """Look up the keys of samples, each of them once, in a field."""
    there = field.contains(keys)
    found = int(there.sum())
    uncovered = list(islice(compress(keys, ~there), MAX_LISTED))
    return KeyCoverage(len(keys), found, len(field) - found, uncovered)


def cover(
    fields: Sequence[store.Field],
    chunks: Iterable[Chunk],
    caption_fields: Sequence[str],
    progress: Progress | None = None,
) -> list[Coverage]:
    """Compare fields with samples.

    Args:
        fields: any fields of one store.
        chunks: rows of a key and its captions.
        caption_fields: the caption fields of the captions in a row.
        progress: called with (field, blocks done, blocks in all) during the search for vectors without a sample.
    """
    columns = [caption_fields.index(field.spec.caption_field) for field in fields]
    found = [Coverage(field=f.name, caption_field=f.spec.caption_field, num_vectors=len(f)) for f in fields]
    hashes = [np.zeros((0, 2), np.uint64)]
    for chunk in chunks:
        hashes.append(hash_keys([key for key, _ in chunk.rows]))
        for column, field, coverage in zip(columns, fields, found, strict=True):
            _compare(field, [(key, captions[column]) for key, captions in chunk.rows], coverage)
    samples = np.concatenate(hashes)
    table = KeyTable.build(samples, np.arange(len(samples)))
    for field, coverage in zip(fields, found, strict=True):
        coverage.orphans = _without_sample(field, table, progress)
    return found


def _compare(field: store.Field, rows: Sequence[tuple[str, str | None]], coverage: Coverage) -> None:
    captioned = [(key, caption) for key, caption in rows if caption]
    absent = sum(caption == ABSENT for _, caption in rows)
    coverage.num_samples += len(rows)
    coverage.num_absent += absent
    coverage.num_empty += len(rows) - len(captioned) - absent
    if not captioned:
        return
    keys = [key for key, _ in captioned]
    today = store.caption_hashes(caption for _, caption in captioned)
    stored, there = field.caption_hashes(keys, missing="mask")
    changed = there & store.captions_differ(stored, today)
    coverage.num_covered += int((there & ~changed).sum())
    coverage.num_unknown += int((there & (stored == store.UNKNOWN_CAPTION)).sum())
    coverage.missing += compress(keys, ~there)
    coverage.changed += compress(keys, changed)


def _without_sample(field: store.Field, samples: KeyTable, progress: Progress | None) -> list[str]:
    orphans: list[str] = []
    blocks = field.blocks()
    for done, block in enumerate(blocks, start=1):
        keys = block_keys(field, block)
        orphans += compress(keys, samples.locate(hash_keys(keys)) == NO_PLACE)
        if progress:
            progress(field.name, done, len(blocks))
    return orphans
