"""Keyed captions into the store: idempotent by key and caption hash, answered when committed."""

import asyncio
import threading
from collections.abc import Mapping, Sequence

import numpy as np

import store
from embedder.models.encoder import Encoder, Vectors, distinct
from embedder.run.plan import Block, missing_block
from embedder.run.report import FieldReport
from embedder.run.targets import Target, find_field, open_target
from embedder.service.batching import Batcher
from store.common.errors import DuplicateKeyError
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
        target = await asyncio.to_thread(self._target, field)
        block = await asyncio.to_thread(missing_block, _SOURCE, list(captions.items()), target, report)
        if block is not None:
            different, rows = distinct(block.captions)
            tokens = await asyncio.to_thread(self._encoder.tokenize, different)
            vectors = await asyncio.wrap_future(self._batcher.submit(tokens))
            written = await asyncio.to_thread(self._commit, block, dict(zip(block.keys, vectors[rows], strict=True)))
            truncated = {caption for caption, t in zip(different, tokens, strict=True) if t.truncated}
            report.embedded = len(written)
            report.reused = len(captions) - len(written)
            report.deduplicated = len(written) - len(set(written))
            report.truncated = sum(caption in truncated for caption in written)
        return report

    def _target(self, field: str) -> Target:
        """The field, made if there is none; a field that is there keeps its caption field and stored type."""
        with self._lock:
            if field not in self._targets:
                caption_field, dtype = field.split("/", 1)[-1], self._dtype
                if (there := find_field(self._store, field)) is not None:
                    caption_field, dtype = there.spec.caption_field, there.spec.dtype
                self._targets[field] = open_target(self._store, self._encoder, field, caption_field, dtype)
            return self._targets[field]

    def _commit(self, block: Block, vectors: Mapping[str, Vectors]) -> Sequence[str]:
        """Commit the block, without what another request has committed since. Returns the captions written."""
        remaining: Block | None = block
        while remaining is not None:
            rows = np.stack([vectors[key] for key in remaining.keys])
            try:
                written = remaining.target.commit(remaining.name, remaining.keys, rows, remaining.hashes)
                return remaining.captions if written else []
            except DuplicateKeyError:
                rest = list(zip(remaining.keys, remaining.captions, strict=True))
                remaining = missing_block(_SOURCE, rest, remaining.target, FieldReport(remaining.target.name))
        return []
