"""Writing a field: one LMDB transaction changes a block's values, its record and the index.

LMDB commits by writing all new pages, flushing them, then switching one of two meta pages and flushing again: a crash
at any moment leaves either the state before or the state after.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from store.common.files import make_folder
from store.core.batch import Batch
from store.core.contract import Writer
from store.core.process import PerProcess
from store.core.spec import FieldSpec
from store.index.keytable import KeyTable, largest_first, locate_in, num_to_merge
from store.lmdb_backend import layout
from store.lmdb_backend.catalog import CatalogCache, places_of, read_record, segment_header
from store.lmdb_backend.environment import Environment, page_of
from store.lmdb_backend.layout import BlockRecord, FieldRecord, Segment, ValueHeader


def create_field(folder: Path, name: str, spec: FieldSpec) -> None:
    """Make the environment of an empty field, unless there is one."""

    def fill(unfinished: Path) -> None:
        env = Environment(unfinished, create=True)
        record = FieldRecord(name, spec, layout.rows_per_chunk(spec))
        env.write(lambda transaction: write_record(transaction, env, record))
        env.close()
        # Whoever may read the data must be able to register as a reader.
        mode = (unfinished / "data.mdb").stat().st_mode
        (unfinished / "lock.mdb").chmod(mode | (mode & 0o444) >> 1)

    make_folder(folder, fill)


def write_record(transaction: Any, env: Environment, record: FieldRecord) -> None:
    """Replace the field's record."""
    transaction.put(layout.FIELD, record.pack(), db=env.database(layout.META))


class LmdbWriter(PerProcess[CatalogCache], Writer):
    """A writer of one field of an LMDB store. Only one writer of all processes writes at a time."""

    def __init__(self, store_path: str, folder: Path, name: str, spec: FieldSpec) -> None:
        self.name = name
        self.spec = spec
        self._store_path = store_path
        self._folder = folder
        if not folder.exists():
            create_field(folder, name, spec)
        env = self._here.env
        with env.read() as transaction:
            read_record(transaction, env).spec.require_same(spec, name)

    def _make(self) -> CatalogCache:
        return CatalogCache(self._folder, self.name, self._store_path, check=True)

    def commit_batch(self, batch: Batch) -> bool:
        cache = self._here
        with cache.lock:
            return cache.env.write(
                lambda transaction: self._commit(transaction, cache, batch), batch.rows.nbytes + 2**20
            )

    def _commit(self, transaction: Any, cache: CatalogCache, batch: Batch) -> bool:
        env, catalog = cache.env, cache.at(transaction)
        if batch.block in catalog.numbers:
            batch.require_same_content(self.name, catalog.blocks[catalog.numbers[batch.block]].content_digest)
            return False
        places = locate_in(largest_first(catalog.tables), batch.hashes)
        batch.require_new_keys(self.name, places, lambda place: catalog.blocks[place >> 32].name)
        record = catalog.record
        number = record.next_block
        pages = _put_values(transaction, env, record, number, batch)
        block = BlockRecord(batch.block, len(batch), len(batch.joined_keys), batch.content_digest, tuple(pages))
        transaction.put(layout.number_key(number), block.pack(), db=env.database(layout.BLOCKS))
        record = replace(
            record, num_vectors=record.num_vectors + len(batch), num_blocks=record.num_blocks + 1, next_block=number + 1
        )
        if len(batch):
            table = KeyTable.build(batch.hashes, places_of(number, len(batch)))
            record = add_to_index(transaction, env, record, catalog.tables, table)
        write_record(transaction, env, record)
        return True


def _put_values(transaction: Any, env: Environment, record: FieldRecord, number: int, batch: Batch) -> Iterable[int]:
    """Store head and chunks; yields the pages at which they begin."""
    head = ValueHeader(number, layout.HEAD, len(batch), 8 * len(batch) + len(batch.joined_keys))
    hashes = batch.caption_hashes.astype("<u8").view(np.uint8)
    key = layout.value_key(number, layout.HEAD)
    yield _put(transaction, env, layout.VALUES, key, head, hashes, batch.joined_keys)
    for part, start in enumerate(range(0, len(batch), record.rows_per_chunk), start=1):
        rows = batch.rows[start : start + record.rows_per_chunk]
        header = layout.chunk_header(record.spec, number, part, len(rows))
        parts: list[NDArray[np.uint8] | bytes] = [rows.reshape(-1).view(np.uint8)]
        if batch.scales is not None:
            parts.append(bytes(layout.scales_at(record.spec, len(rows)) - rows.nbytes))
            parts.append(batch.scales[start : start + len(rows)].astype("<f4").view(np.uint8))
        yield _put(transaction, env, layout.VALUES, layout.value_key(number, part), header, *parts)


def _put(
    transaction: Any, env: Environment, where: bytes, key: bytes, header: ValueHeader, *parts: NDArray[np.uint8] | bytes
) -> int:
    database = env.database(where)
    transaction.put(key, header.value(env.page_bytes, *parts).data, db=database, overwrite=False)
    return page_of(transaction.get(key, db=database))


def add_to_index(
    transaction: Any, env: Environment, record: FieldRecord, tables: Sequence[KeyTable], table: KeyTable
) -> FieldRecord:
    """Store a new segment, merged with its predecessors as :func:`num_to_merge` says; returns the new record."""
    kept = len(record.segments) - num_to_merge([segment.count for segment in record.segments], len(table))
    if merged := record.segments[kept:]:
        table = KeyTable.merge([*tables[kept:], table])
    for old in merged:
        transaction.delete(layout.number_key(old.number), db=env.database(layout.INDEX))
    segment = Segment(record.next_segment, len(table), page=0)
    key = layout.number_key(segment.number)
    page = _put(transaction, env, layout.INDEX, key, segment_header(segment), *table.parts())
    segments = (*record.segments[:kept], replace(segment, page=page))
    return replace(record, next_segment=record.next_segment + 1, segments=segments)
