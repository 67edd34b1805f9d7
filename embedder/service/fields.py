"""Keyed captions into the store: idempotent by key and caption hash, answered when committed."""

import asyncio
import dataclasses
import threading
from collections.abc import Mapping, Sequence

import numpy as np

import store
from embedder.models.encoder import Encoder
from embedder.run.plan import Block, missing_block
from embedder.run.report import FieldReport
from embedder.run.targets import Target, open_target
from embedder.service.batching import Batcher
from store.common.errors import DuplicateKeyError, FieldNotFoundError
from store.core.spec import StoredDtype

_SOURCE = "service"


class FieldWriter:
    """Embeds keyed captions into fields of one store. Requests may come at the same time, with the same keys too."""

    def __init__(self, encoder: Encoder, batcher: Batcher, opened: store.Store, dtype: StoredDtype) -> None:
        self._encoder = encoder
        self._batcher = batcher
        self._store = opened
        self._dtype = dtype
        self._targets: dict[str, Target] = {}
        self._lock = threading.Lock()

    async def add(self, field: str, captions: Mapping[str, str]) -> FieldReport:
        """Embed and commit the captions (by sample key) that the field lacks; returns when they are durable.

        Raises:
            StaleCaptionError: a key is there with the vector of another caption; nothing is written.
            SpecMismatchError: the field was made by another model.
            OverloadedError: too much waits for the model.
        """
        report = FieldReport(field)
        target = dataclasses.replace(await asyncio.to_thread(self._target, field), report=report)
        rows = list(captions.items())
        block = await asyncio.to_thread(missing_block, _SOURCE, rows, target)
        if block is not None:
            unique = list(dict.fromkeys(block.captions))
            tokens = await asyncio.to_thread(self._encoder.tokenize, unique)
            vectors = await asyncio.wrap_future(self._batcher.submit(tokens))
            truncated = {caption for caption, t in zip(unique, tokens, strict=True) if t.truncated}
            row_of = {caption: row for row, caption in enumerate(unique)}
            written = await asyncio.to_thread(self._commit, block, vectors, row_of, target)
            report.embedded = len(written)
            report.reused = len(rows) - len(written)
            report.deduplicated = len(written) - len(set(written))
            report.truncated = sum(caption in truncated for caption in written)
        return report

    def _target(self, field: str) -> Target:
        """The field, made if there is none; its caption field and stored type are those it was made with."""
        with self._lock:
            if field not in self._targets:
                try:
                    there = self._store.field(field).spec
                    caption_field, dtype = there.caption_field, there.dtype
                except FieldNotFoundError:
                    caption_field, dtype = field.split("/", 1)[-1], self._dtype
                self._targets[field] = open_target(self._store, self._encoder, field, caption_field, dtype)
            return self._targets[field]

    def _commit(self, block: Block, vectors: np.ndarray, row_of: Mapping[str, int], target: Target) -> Sequence[str]:
        """Commit the block; what another request committed meanwhile is left out. Returns the captions written."""
        remaining: Block | None = block
        while remaining is not None:
            rows = np.array([row_of[caption] for caption in remaining.captions])
            try:
                written = target.field.commit(remaining.name, remaining.keys, vectors[rows], remaining.hashes)
                return remaining.captions if written else []
            except DuplicateKeyError:
                remaining = missing_block(_SOURCE, list(zip(remaining.keys, remaining.captions, strict=True)), target)
        return []
