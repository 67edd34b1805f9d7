"""Writing a field of a Zarr store from any number of hosts, without a lock.

A block's arrays are written under a name that nobody else uses, then the block's record under the block's own name, on
the condition that nothing is there: of several writers of one block, one wins. Keys are compared with those of the
blocks known before, and afterwards with those of blocks that came meanwhile: of two blocks that share a key and are
committed at the same moment, one or both are withdrawn again with an error.
"""

import os
import threading
import time
import uuid
from typing import Any

import numpy as np
from numpy.typing import NDArray

from store.common.errors import DuplicateKeyError, FieldNotFoundError, StoreFullError
from store.core.batch import Batch
from store.core.conflicts import require_new_keys, require_same_block
from store.core.contract import Writer
from store.core.naming import folder_name
from store.core.spec import FieldSpec
from store.index.hashing import checksum, key_hashes
from store.index.keytable import KeyTable, largest_first, locate_in
from store.zarr_backend import documents
from store.zarr_backend.bucket import Bucket, Data
from store.zarr_backend.catalog import Catalog, State
from store.zarr_backend.documents import DOCUMENT, BlockRecord, FieldRecord, chunk_key
from store.zarr_backend.field import dropped, read_spec


class ZarrWriter(Writer):
    """A writer of one field of a Zarr store."""

    def __init__(self, bucket: Bucket, folder: str, name: str, spec: FieldSpec, path: str) -> None:
        self.name = name
        self.spec = spec
        self._bucket = bucket
        self._folder = folder
        self._path = path
        self._forget()
        if bucket.read([f"fields/{DOCUMENT}"])[0] is None:  # whoever makes the store has not come to it yet
            bucket.write("fields", {DOCUMENT: documents.group()})
        if not bucket.write_new(f"{folder}/{DOCUMENT}", FieldRecord(name, spec).pack()):
            read_spec(bucket, folder, name, path).require_same(spec, name)
        for part in ("blocks", "data"):
            if bucket.read([f"{folder}/{part}/{DOCUMENT}"])[0] is None:
                bucket.write(f"{folder}/{part}", {DOCUMENT: documents.group()})

    def _forget(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._catalog = Catalog(self._bucket, self._folder, self.name, check=True)

    def __getstate__(self) -> dict[str, Any]:
        own = ("_process", "_lock", "_catalog")
        return {name: value for name, value in self.__dict__.items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def commit_batch(self, batch: Batch) -> bool:
        if self._process != os.getpid():
            self._forget()
        with self._lock:
            try:
                return self._commit(batch)
            except FileNotFoundError as error:
                raise dropped(self.name, self._path) from error

    def _commit(self, batch: Batch) -> bool:
        read_spec(self._bucket, self._folder, self.name, self._path)
        before = self._catalog.refresh()
        folder = folder_name(batch.block)
        if (number := before.numbers.get(folder)) is not None:
            require_same_block(self.name, batch, bytes.fromhex(before.records[number].content_digest))
            return False
        self._require_new_keys(batch, before)
        record = self._write_data(batch)
        place = f"{self._folder}/blocks/{folder}"
        if not self._bucket.write_new(f"{place}/{DOCUMENT}", record.pack()):
            self._bucket.remove(f"{self._folder}/data/{record.data}", DOCUMENT)
            after = self._catalog.refresh()
            require_same_block(self.name, batch, bytes.fromhex(after.records[after.numbers[folder]].content_digest))
            return False
        try:
            self._check_again(batch, folder, before)
        except (DuplicateKeyError, FieldNotFoundError):
            self._bucket.remove(place, DOCUMENT)
            self._bucket.remove(f"{self._folder}/data/{record.data}", DOCUMENT)
            raise
        return True

    def _require_new_keys(self, batch: Batch, state: State) -> None:
        places = locate_in(largest_first(state.tables), batch.hashes)
        require_new_keys(self.name, batch, places, lambda place: state.records[place >> 32].name)

    def _check_again(self, batch: Batch, folder: str, before: State) -> None:
        """That the field is still there, and that no block has come meanwhile that shares a key."""
        after = self._catalog.refresh()
        read_spec(self._bucket, self._folder, self.name, self._path)
        for other, number in after.numbers.items():
            record = after.records[number]
            if other != folder and before.numbers.get(other) != number and record.count:
                keys = self._catalog.chunks.get([(record, "keys", 0)], keep=False)[0].tobytes().split(b"\0")
                table = KeyTable.build(key_hashes(keys), np.full(len(keys), number))
                require_new_keys(self.name, batch, table.locate(batch.hashes), lambda n: after.records[n].name)

    def _write_data(self, batch: Batch) -> BlockRecord:
        """Write a block's arrays under a name of their own; returns the record that will commit them."""
        data = f"{int(time.time()):010d}-{uuid.uuid4().hex}"
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
            data=data,
            content_digest=batch.content_digest.hex(),
            committed=time.time(),
            checksums={name: [f"{checksum(part):016x}" for part in parts] for name, parts in flat.items()},
        )
        objects: dict[str, Data | bytes] = {DOCUMENT: documents.group()}
        for name, document in record.arrays(self.spec).items():
            objects[f"{name}/{DOCUMENT}"] = document
            objects.update((chunk_key(name, number), part) for number, part in enumerate(flat[name]))
        place = f"{self._folder}/data/{data}"
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
