"""The fields that a run or a service fills."""

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

import store
from embedder.models.encoder import Encoder, Vectors
from embedder.run.report import FieldReport
from store.common.errors import FieldNotFoundError
from store.core.spec import StoredDtype

Hashes = NDArray[np.uint64]


class Target:
    """A field that is made with its first block, so that a run that fails before leaves none. Threads may share it.

    Raises:
        SpecMismatchError: the field is there, made by another model or in another way.
    """

    def __init__(self, opened: store.Store, name: str, spec: store.FieldSpec) -> None:
        self.name = name
        self.spec = spec
        self.report = FieldReport(name)
        """What the run did to the field."""
        self._store = opened
        self._reader: store.Field | None = None
        self._writer: store.Writer | None = None
        self._lock = threading.Lock()
        if (there := self._find()) is not None:
            there.spec.require_same(spec, name)

    def caption_hashes(self, keys: Sequence[str]) -> tuple[Hashes, NDArray[np.bool_]]:
        """Hashes of the captions that the field has (n,) uint64, and which of the keys it has (n,) bool."""
        found = self._find()
        if found is None:
            return np.zeros(len(keys), np.uint64), np.zeros(len(keys), bool)
        return found.caption_hashes(keys, missing="mask")

    def commit(self, block: str, keys: Sequence[str], vectors: Vectors, hashes: Hashes) -> bool:
        """Commit a block, as :meth:`store.Writer.commit` does."""
        with self._lock:
            if self._writer is None:
                self._writer = self._store.writer(self.name, self.spec)
        return self._writer.commit(block, keys, vectors, hashes)

    def _find(self) -> store.Field | None:
        with self._lock:
            if self._reader is None:
                self._reader = find_field(self._store, self.name)
            return self._reader


def find_field(opened: store.Store, name: str) -> store.Field | None:
    """The field, or None where the store has none of that name."""
    try:
        return opened.field(name)
    except FieldNotFoundError:
        return None


def open_target(
    opened: store.Store, encoder: Encoder, name: str, caption_field: str, dtype: StoredDtype | None
) -> Target:
    """The field ``name`` with a spec that says how ``encoder`` makes vectors; ``dtype`` None: as the field has it.

    Raises:
        SpecMismatchError: the field was made by another model or in another way.
    """
    if dtype is None:
        there = find_field(opened, name)
        dtype = there.spec.dtype if there is not None else "float16"
    return Target(opened, name, encoder.provenance.spec(caption_field, dtype))
