"""The fields that a run or a service fills."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

import store
from embedder.models.encoder import Encoder
from embedder.run.report import FieldReport
from store.common.errors import FieldNotFoundError
from store.core.spec import StoredDtype


class TargetField:
    """A field that is made with its first block, so that a run that fails before leaves none. Threads may share it.

    Raises:
        SpecMismatchError: the field is there, made by another model or in another way.
    """

    def __init__(self, opened: store.Store, name: str, spec: store.FieldSpec) -> None:
        self._store = opened
        self._name = name
        self.spec = spec
        self._reader: store.Field | None = None
        self._writer: store.Writer | None = None
        self._lock = threading.Lock()
        if (there := self._find()) is not None:
            there.spec.require_same(spec, name)

    def caption_hashes(self, keys: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Hashes of the captions that the field has (n,) uint64, and which of the keys it has (n,) bool."""
        found = self._find()
        if found is None:
            return np.zeros(len(keys), np.uint64), np.zeros(len(keys), bool)
        return found.caption_hashes(keys, missing="mask")

    def commit(self, block: str, keys: Sequence[str], vectors: np.ndarray, hashes: np.ndarray) -> bool:
        """Commit a block, as :meth:`store.Writer.commit` does."""
        with self._lock:
            if self._writer is None:
                self._writer = self._store.writer(self._name, self.spec)
        return self._writer.commit(block, keys, vectors, hashes)

    def _find(self) -> store.Field | None:
        with self._lock:
            if self._reader is None:
                try:
                    self._reader = self._store.field(self._name)
                except FieldNotFoundError:
                    return None
            return self._reader


@dataclass(frozen=True, slots=True)
class Target:
    """A field of the store that is being filled, and what was done to it."""

    caption_field: str
    name: str
    field: TargetField
    report: FieldReport


def field_name(encoder: Encoder, prefix: str | None, caption_field: str) -> str:
    """``PREFIX/CAPTION_FIELD``; the prefix is the model's short name unless given."""
    return f"{prefix or encoder.short_name}/{caption_field.removeprefix('.')}"


def open_target(
    opened: store.Store, encoder: Encoder, name: str, caption_field: str, dtype: StoredDtype | None
) -> Target:
    """The field ``name`` with a spec that says how ``encoder`` makes vectors; ``dtype`` None: as the field has it.

    Raises:
        SpecMismatchError: the field was made by another model or in another way.
    """
    spec = encoder.provenance.spec(caption_field, dtype or _stored_dtype(opened, name))
    return Target(caption_field, name, TargetField(opened, name, spec), FieldReport(name))


def _stored_dtype(opened: store.Store, name: str) -> StoredDtype:
    try:
        return opened.field(name).spec.dtype
    except FieldNotFoundError:
        return "float16"


def open_targets(
    opened: store.Store, encoder: Encoder, prefix: str | None, caption_fields: Sequence[str], dtype: StoredDtype | None
) -> list[Target]:
    """One target per caption field; see :func:`open_target`."""
    return [open_target(opened, encoder, field_name(encoder, prefix, f), f, dtype) for f in caption_fields]
