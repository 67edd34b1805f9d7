"""Which captions still need a vector: asks the fields, block by block, before anything is tokenised."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

import store
from embedder.reading.captions import ABSENT, Chunk
from embedder.run.report import FieldReport
from embedder.run.targets import Hashes, Target
from store.common.errors import StaleCaptionError
from store.core.naming import block_name


@dataclass(frozen=True, slots=True)
class Block:
    """Captions of one field that will be committed together."""

    target: Target
    name: str
    keys: list[str]
    captions: list[str]
    hashes: Hashes
    """(n,) hashes of the captions, as the store keeps them."""


def missing_blocks(chunk: Chunk, targets: Sequence[Target]) -> Iterator[Block]:
    """The captions of a chunk that need a vector; column ``i`` of its captions goes to target ``i``.

    Raises:
        StaleCaptionError: a key is in the field with the vector of another caption.
    """
    for column, target in enumerate(targets):
        rows = [(key, caption) for key, captions in chunk.rows if (caption := captions[column])]
        absent = sum(captions[column] == ABSENT for _, captions in chunk.rows)
        target.report.missing += absent
        target.report.empty += len(chunk.rows) - len(rows) - absent
        if block := missing_block(chunk.source, rows, target, target.report):
            yield block


def missing_block(source: str, rows: Sequence[tuple[str, str]], target: Target, report: FieldReport) -> Block | None:
    """The rows (sample key, caption) of which the field has no vector yet, or None; counts the rows that it has.

    Raises:
        StaleCaptionError: a key is in the field with the vector of another caption.
    """
    if not rows:
        return None
    keys = [key for key, _ in rows]
    hashes = store.caption_hashes([caption for _, caption in rows])
    stored, there = target.caption_hashes(keys)
    stale = np.flatnonzero(there & store.captions_differ(stored, hashes))
    if stale.size:
        names = ", ".join(repr(keys[i]) for i in stale[:3])
        raise StaleCaptionError(
            f"field {target.name!r} holds vectors of other captions for {stale.size} keys of {source!r}, "
            f"such as {names}: the captions changed, or two datasets share these keys; embed into a field of "
            "another name (--field-prefix) or into another store"
        )
    report.reused += int(there.sum())
    rest = np.flatnonzero(~there).tolist()
    if not rest:
        return None
    keys = [keys[i] for i in rest]
    return Block(target, block_name(source, keys), keys, [rows[i][1] for i in rest], hashes[rest])
