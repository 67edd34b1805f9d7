"""Reading a field of a Zarr store: rows are gathered chunk by chunk."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from store.core.contract import Backend, Field, dropped
from store.core.process import PerProcess
from store.core.snapshot import Snapshot
from store.core.spec import FieldSpec
from store.index.keytable import ABSENT, Places, largest_first, locate_in
from store.zarr_backend.bucket import Bucket
from store.zarr_backend.catalog import ROW_MASK, Catalog, State
from store.zarr_backend.documents import DOCUMENT, FieldRecord


class ZarrSnapshot(Snapshot):
    """A field at its last listing; listed anew when the answer could be out of date."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._state = catalog.refresh() if catalog.bucket.is_local else catalog.state

    def _newest(self) -> State:
        self._state = self._catalog.refresh()
        return self._state

    def count(self) -> int:
        return sum(record.count for record in self._newest().present())

    def block_names(self) -> list[str]:
        return [record.name for record in self._newest().present()]

    def block_keys(self, block: str) -> list[str]:
        _, record = self._newest().find(block, self._catalog.field)
        return [key.decode() for key in self._catalog.chunks.keys([record])[0]]

    def block_digest(self, block: str) -> bytes:
        return self._newest().find(block, self._catalog.field)[1].digest

    def block_places(self, block: str) -> Places:
        number, record = self._state.find(block, self._catalog.field)
        return (number << 32) + np.arange(record.count, dtype=np.int64)

    def locate(self, hashes: NDArray[np.uint64]) -> Places:
        places = locate_in(largest_first(self._state.tables), hashes)
        if (places == ABSENT).any():
            known = self._state
            if self._newest() is not known:
                places = locate_in(largest_first(self._state.tables), hashes)
        return places

    def take_rows(self, places: Places, out: NDArray[Any]) -> None:
        block, row = places >> 32, places & ROW_MASK
        chunk_rows = self._state.chunk_rows[block]
        self._gather("vectors", (block << 32) + row // chunk_rows, row % chunk_rows, out)

    def take_scales(self, places: Places) -> NDArray[np.float32]:
        scales = np.empty(len(places), np.float32)
        self._gather("scales", places & ~ROW_MASK, places & ROW_MASK, scales)
        return scales

    def take_caption_hashes(self, places: Places) -> NDArray[np.uint64]:
        hashes = np.empty(len(places), np.uint64)
        self._gather("caption_hashes", places & ~ROW_MASK, places & ROW_MASK, hashes)
        return hashes

    def _gather(self, array: str, chunks: NDArray[np.int64], rows: NDArray[np.int64], out: NDArray[Any]) -> None:
        """Fill ``out`` with rows of the chunks ``block << 32 | chunk``, taking every chunk once."""
        if not len(chunks):
            return
        order = np.argsort(chunks, kind="stable")
        starts = np.flatnonzero(np.diff(chunks[order], prepend=-1)).tolist()
        each = chunks[order[starts]].tolist()
        wanted = [(self._state.records[chunk >> 32], array, chunk & ROW_MASK) for chunk in each]
        ends = [*starts[1:], len(order)]
        for data, start, end in zip(self._catalog.chunks.get(wanted), starts, ends, strict=True):
            at = order[start:end]
            values = data.view(out.dtype).reshape(-1, *out.shape[1:])
            if at[-1] - at[0] == end - start - 1:  # neighbours in ``out``, so numpy can copy without a detour
                np.take(values, rows[at], axis=0, out=out[at[0] : at[-1] + 1], mode="clip")
            else:
                out[at] = values[rows[at]]


class ZarrField(PerProcess[Catalog], Field):
    """A field of a Zarr store."""

    backend: Backend = "zarr"

    def __init__(self, bucket: Bucket, folder: str, name: str, path: str, check: bool) -> None:
        self.store_path = path
        self.name = name
        self._bucket = bucket
        self._folder = folder
        self._check = check
        self.spec = read_spec(bucket, folder, name, path)

    def _make(self) -> Catalog:
        catalog = Catalog(self._bucket, self._folder, self.name, self._check)
        if not self._bucket.is_local:
            catalog.refresh()
        return catalog

    def snapshot(self) -> ZarrSnapshot:
        return ZarrSnapshot(self._here)


def read_spec(bucket: Bucket, folder: str, name: str, path: str) -> FieldSpec:
    """The spec of a field. Raises FieldNotFoundError if the field is not there, DamagedFieldError if it is damaged."""
    document = bucket.read([f"fields/{folder}/{DOCUMENT}"])[0]
    if document is None:
        raise dropped(name, path)
    return FieldRecord.unpack(document, folder).spec
