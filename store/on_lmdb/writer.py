"""Writing a field: a block's values, its record and the index change in one LMDB transaction.

LMDB commits by writing all new pages, flushing them, then switching one of two meta pages and flushing again: a crash
at any moment leaves either the state before or the state after.
"""

import dataclasses
import os
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from store.batch import Batch, make_batch
from store.contract import Writer
from store.errors import BlockExistsError, DuplicateKeyError, FieldNotFoundError
from store.keytable import ABSENT, KeyTable, locate_in
from store.on_lmdb import layout
from store.on_lmdb.catalog import Catalog, largest_first, places_of, segment_header
from store.on_lmdb.environment import Environment, environment, page_of
from store.on_lmdb.layout import BlockRecord, FieldRecord, Segment, ValueHeader
from store.spec import FieldSpec

MAX_SEGMENT = 2**24
"""Segments are not merged beyond this many keys (about 0.5 GB), so that no merge needs much memory."""
MERGE_RATIO = 4
"""A segment takes in its predecessors that are less than this many times as large: few segments, few rewrites."""


class LmdbWriter(Writer):
    """A writer of one field of an LMDB store. Writers of all processes take turns."""

    def __init__(self, path: str, name: str, spec: FieldSpec) -> None:
        self.path = path
        self.name = name
        self.spec = spec
        self._lock = threading.Lock()
        self._process = -1
        self._env: Environment | None = None
        self._catalog: Catalog | None = None
        self._environment().write(self._create)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "name": self.name, "spec": self.spec}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def _environment(self) -> Environment:
        if self._process != os.getpid():
            self._env, self._catalog, self._lock = environment(self.path), None, threading.Lock()
            self._process = os.getpid()
        assert self._env is not None
        return self._env

    def _create(self, transaction: Any) -> None:
        env = self._environment()
        if (packed := self._read_record(transaction)) is not None:
            FieldRecord.unpack(packed).spec.require_same(self.spec, self.name)
            return
        meta = env.database(layout.META)
        field_id = int(bytes(transaction.get(b"next_field", b"0", db=meta)))
        transaction.put(b"next_field", str(field_id + 1).encode(), db=meta)
        self._write_record(transaction, FieldRecord(field_id, self.spec, layout.rows_per_chunk(self.spec)))

    def _read_record(self, transaction: Any) -> bytes | None:
        packed = transaction.get(self.name.encode(), db=self._environment().database(layout.FIELDS))
        return None if packed is None else bytes(packed)

    def _write_record(self, transaction: Any, record: FieldRecord) -> None:
        transaction.put(self.name.encode(), record.pack(), db=self._environment().database(layout.FIELDS))

    def commit(self, block: str, keys: Sequence[str], vectors: NDArray[Any], caption_hashes: ArrayLike) -> bool:
        batch = make_batch(self.spec, block, keys, vectors, caption_hashes)
        env = self._environment()
        with self._lock:
            return env.write(lambda transaction: self._commit(transaction, batch))

    def _commit(self, transaction: Any, batch: Batch) -> bool:
        catalog = self._load(transaction)
        if batch.block in catalog.numbers:
            self._require_same(catalog, batch)
            return False
        self._require_new_keys(transaction, catalog, batch)
        record = catalog.record
        number = record.next_block
        pages = self._put_values(transaction, record, number, batch)
        block = BlockRecord(batch.block, len(batch), len(batch.joined_keys), batch.content_digest, tuple(pages))
        database = self._environment().database(layout.BLOCKS)
        transaction.put(layout.block_key(record.field_id, number), block.pack(), db=database)
        record = dataclasses.replace(
            record,
            num_vectors=record.num_vectors + len(batch),
            num_blocks=record.num_blocks + 1,
            next_block=number + 1,
        )
        if len(batch):
            table = KeyTable.build(batch.hashes, places_of(number, len(batch)))
            record = self._put_index(transaction, record, catalog.tables, table)
        self._write_record(transaction, record)
        return True

    def _load(self, transaction: Any) -> Catalog:
        packed = self._read_record(transaction)
        if packed is None:
            raise FieldNotFoundError(f"field {self.name!r} was dropped from {self.path!r} while writing to it")
        if self._catalog is None or self._catalog.packed != packed:
            catalog = Catalog(self._environment(), self.name, packed, check=False)
            catalog.record.spec.require_same(self.spec, self.name)
            catalog.load(transaction, self._catalog)
            self._catalog = catalog
        return self._catalog

    def _require_same(self, catalog: Catalog, batch: Batch) -> None:
        if catalog.blocks[catalog.numbers[batch.block]].content_digest != batch.content_digest:
            raise BlockExistsError(
                f"block {batch.block!r} of field {self.name!r} is there already with other keys or captions; "
                "commit under another name, or drop the block first"
            )

    def _require_new_keys(self, transaction: Any, catalog: Catalog, batch: Batch) -> None:
        places = locate_in(largest_first(catalog.tables), batch.hashes)
        if len(there := np.flatnonzero(places != ABSENT)):
            other = catalog.blocks[int(places[there[0]]) >> 32].name
            more = f" (and {len(there) - 1} more keys)" if len(there) > 1 else ""
            raise DuplicateKeyError(
                f"key {batch.keys[there[0]]!r}{more} of block {batch.block!r} is in field {self.name!r} already, "
                f"in block {other!r}; keys are unique in a field: datasets whose keys collide need a store each"
            )

    def _put_values(self, transaction: Any, record: FieldRecord, number: int, batch: Batch) -> list[int]:
        head = ValueHeader(record.field_id, number, layout.HEAD, len(batch), 8 * len(batch) + len(batch.joined_keys))
        hashes = batch.caption_hashes.astype("<u8").view(np.uint8)
        pages = [self._put(transaction, layout.VALUES, head, hashes, batch.joined_keys)]
        for part, start in enumerate(range(0, len(batch), record.rows_per_chunk), start=1):
            rows = batch.rows[start : start + record.rows_per_chunk]
            header = layout.chunk_header(record.field_id, record.spec, number, part, len(rows))
            parts: list[NDArray[np.uint8] | bytes] = [rows.reshape(-1).view(np.uint8)]
            if batch.scales is not None:
                parts.append(bytes(layout.scales_at(record.spec, len(rows)) - rows.nbytes))
                parts.append(batch.scales[start : start + len(rows)].astype("<f4").view(np.uint8))
            pages.append(self._put(transaction, layout.VALUES, header, *parts))
        return pages

    def _put(self, transaction: Any, where: bytes, header: ValueHeader, *parts: NDArray[np.uint8] | bytes) -> int:
        env = self._environment()
        database = env.database(where)
        if where == layout.VALUES:
            key = layout.value_key(header.field_id, header.block, header.part)
        else:
            key = layout.block_key(header.field_id, header.block)
        transaction.put(key, header.value(env.page_bytes, *parts), db=database, overwrite=False)
        return page_of(transaction.get(key, db=database))

    def _put_index(
        self, transaction: Any, record: FieldRecord, tables: Sequence[KeyTable], table: KeyTable
    ) -> FieldRecord:
        segments, tables = list(record.segments), list(tables)
        merged = [table]
        total = len(table)
        while segments and segments[-1].count < MERGE_RATIO * total and segments[-1].count + total <= MAX_SEGMENT:
            total += segments[-1].count
            merged.append(tables.pop())
            old = segments.pop()
            key = layout.block_key(record.field_id, old.number)
            transaction.delete(key, db=self._environment().database(layout.INDEX))
        table = KeyTable.merge(merged) if len(merged) > 1 else table
        segment = Segment(record.next_segment, len(table), page=0)
        page = self._put(transaction, layout.INDEX, segment_header(record.field_id, segment), *table.parts())
        segments.append(dataclasses.replace(segment, page=page))
        return dataclasses.replace(record, next_segment=record.next_segment + 1, segments=tuple(segments))
