"""Writing a field of a Zarr store from any number of hosts, without a lock.

A block's arrays are written under a unique name, then the block's record under the block's own name, on
the condition that nothing is there: of several writers of one block, one wins. The keys are compared with the blocks
known before, and afterwards with blocks that came meanwhile: of two blocks that share a key and are committed at the
same moment, one or both are withdrawn again with an error.
"""

import time
import uuid
from typing import Any

import numpy as np
from numpy.typing import NDArray

from store.common.errors import DuplicateKeyError, FieldNotFoundError, StoreFullError
from store.core.batch import Batch
from store.core.contract import Writer, dropped
from store.core.naming import folder_name
from store.core.process import PerProcess
from store.core.spec import FieldSpec
from store.index.hashing import checksum, key_hashes
from store.index.keytable import KeyTable, largest_first, locate_in
from store.zarr_backend import documents
from store.zarr_backend.bucket import Bucket, Data
from store.zarr_backend.catalog import Catalog, State
from store.zarr_backend.documents import DOCUMENT, BlockRecord, FieldRecord, chunk_key
from store.zarr_backend.field import read_spec


class ZarrWriter(PerProcess[Catalog], Writer):
    """A writer of one field of a Zarr store."""

    def __init__(self, bucket: Bucket, folder: str, name: str, spec: FieldSpec, path: str) -> None:
        self.name = name
        self.spec = spec
        self._bucket = bucket
        self._folder = folder
        self._path = path
        self._place = f"fields/{folder}"
        self._require_group("fields")  # the process that makes the store may not have written it yet
        if not bucket.write_new(f"{self._place}/{DOCUMENT}", FieldRecord(name, spec).pack()):
            self._read_spec().require_same(spec, name)
        for part in ("blocks", "data"):
            self._require_group(f"{self._place}/{part}")

    def _require_group(self, place: str) -> None:
        if self._bucket.read([f"{place}/{DOCUMENT}"])[0] is None:
            self._bucket.write(place, {DOCUMENT: documents.group()})

    def _make(self) -> Catalog:
        return Catalog(self._bucket, self._folder, self.name, check=True)

    def _read_spec(self) -> FieldSpec:
        """The field's spec. Raises FieldNotFoundError if it was dropped."""
        return read_spec(self._bucket, self._folder, self.name, self._path)

    def commit_batch(self, batch: Batch) -> bool:
        catalog = self._here
        with catalog.lock:
            try:
                return self._commit(catalog, batch)
            except FileNotFoundError as error:
                raise dropped(self.name, self._path) from error

    def _commit(self, catalog: Catalog, batch: Batch) -> bool:
        self._read_spec()
        before = catalog.refresh()
        folder = folder_name(batch.block)
        if (number := before.numbers.get(folder)) is not None:
            batch.require_same_content(self.name, before.records[number].digest)
            return False
        places = locate_in(largest_first(before.tables), batch.hashes)
        batch.require_new_keys(self.name, places, lambda place: before.records[place >> 32].name)
        record = self._write_data(batch)
        block, data = f"{self._place}/blocks/{folder}", f"{self._place}/data/{record.data}"
        if not self._bucket.write_new(f"{block}/{DOCUMENT}", record.pack()):
            self._bucket.remove(data, DOCUMENT)
            after = catalog.refresh()
            batch.require_same_content(self.name, after.records[after.numbers[folder]].digest)
            return False
        try:
            self._check_again(catalog, batch, folder, before)
        except (DuplicateKeyError, FieldNotFoundError):
            self._bucket.remove(block, DOCUMENT)
            self._bucket.remove(data, DOCUMENT)
            raise
        return True

    def _check_again(self, catalog: Catalog, batch: Batch, folder: str, before: State) -> None:
        """Raises if the field was dropped meanwhile, or a block has come that shares a key."""
        after = catalog.refresh()
        self._read_spec()
        for other, number in after.numbers.items():
            record = after.records[number]
            if other != folder and before.numbers.get(other) != number and record.count:
                hashes = key_hashes(catalog.chunks.keys([record])[0])
                table = KeyTable.build(hashes, np.full(len(hashes), number))
                batch.require_new_keys(self.name, table.locate(batch.hashes), lambda n: after.records[n].name)

    def _write_data(self, batch: Batch) -> BlockRecord:
        """Write a block's arrays under a name of their own; returns the record that will commit them."""
        size = documents.rows_per_chunk(len(batch), max(1, batch.rows.itemsize * self.spec.dim))
        chunks = {
            "vectors": [_padded(batch.rows[i : i + size], size) for i in range(0, len(batch), max(1, size))],
            "caption_hashes": [batch.caption_hashes.astype("<u8")] if len(batch) else [],
            "keys": [np.frombuffer(batch.joined_keys, np.uint8)] if len(batch) else [],
        }
        if batch.scales is not None:
            chunks["scales"] = [batch.scales.astype("<f4")] if len(batch) else []
        flat = {name: [part.reshape(-1).view(np.uint8) for part in parts] for name, parts in chunks.items()}
        record = BlockRecord(
            name=batch.block,
            count=len(batch),
            joined_keys_bytes=len(batch.joined_keys),
            rows_per_chunk=size,
            data=f"{int(time.time()):010d}-{uuid.uuid4().hex}",
            content_digest=batch.content_digest.hex(),
            committed=time.time(),
            checksums={name: [f"{checksum(part):016x}" for part in parts] for name, parts in flat.items()},
        )
        objects: dict[str, Data | bytes] = {DOCUMENT: documents.group()}
        for name, document in record.arrays(self.spec).items():
            objects[f"{name}/{DOCUMENT}"] = document
            objects.update((chunk_key(name, number), part) for number, part in enumerate(flat[name]))
        place = f"{self._place}/data/{record.data}"
        try:
            self._bucket.write(place, objects)
        except StoreFullError:
            self._bucket.remove(place, DOCUMENT)
            raise
        return record


def _padded(rows: NDArray[Any], count: int) -> NDArray[Any]:
    """Rows filled up with zeros to ``count``: Zarr's chunks are all of one size."""
    if len(rows) == count:
        return rows
    return np.concatenate([rows, np.zeros((count - len(rows), rows.shape[1]), rows.dtype)])
