"""Writing a field: a block's values, its record and the index change in one LMDB transaction.

LMDB commits by writing all new pages, flushing them, then switching one of two meta pages and flushing again: a crash
at any moment leaves either the state before or the state after.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from store.common.files import make_folder
from store.core.batch import Batch
from store.core.conflicts import require_new_keys, require_same_block
from store.core.contract import Writer
from store.core.spec import FieldSpec
from store.index.keytable import KeyTable, largest_first, locate_in, num_to_merge
from store.lmdb_backend import layout
from store.lmdb_backend.catalog import Catalog, places_of, read_packed, read_record, segment_header
from store.lmdb_backend.environment import Environment, page_of
from store.lmdb_backend.layout import BlockRecord, FieldRecord, Segment, ValueHeader
from store.lmdb_backend.registry import EnvironmentUser


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


class LmdbWriter(EnvironmentUser, Writer):
    """A writer of one field of an LMDB store. Writers of all processes take turns."""

    _PER_PROCESS = (*EnvironmentUser._PER_PROCESS, "_catalog")

    def __init__(self, store_path: str, folder: Path, name: str, spec: FieldSpec) -> None:
        self.spec = spec
        super().__init__(store_path, folder, name)
        if not folder.exists():
            create_field(folder, name, spec)
        env = self._current_environment()
        with env.read() as transaction:
            read_record(transaction, env).spec.require_same(spec, name)

    def _forget(self) -> None:
        super()._forget()
        self._catalog: Catalog | None = None

    def commit_batch(self, batch: Batch) -> bool:
        env = self._current_environment()
        with self._lock:
            return env.write(lambda transaction: self._commit(transaction, env, batch), batch.rows.nbytes + 2**20)

    def _commit(self, transaction: Any, env: Environment, batch: Batch) -> bool:
        catalog = self._load(transaction, env)
        if batch.block in catalog.numbers:
            require_same_block(self.name, batch, catalog.blocks[catalog.numbers[batch.block]].content_digest)
            return False
        places = locate_in(largest_first(catalog.tables), batch.hashes)
        require_new_keys(self.name, batch, places, lambda place: catalog.blocks[place >> 32].name)
        record = catalog.record
        number = record.next_block
        pages = _put_values(transaction, env, record, number, batch)
        block = BlockRecord(batch.block, len(batch), len(batch.joined_keys), batch.content_digest, tuple(pages))
        transaction.put(layout.number_key(number), block.pack(), db=env.database(layout.BLOCKS))
        record = dataclasses.replace(
            record,
            num_vectors=record.num_vectors + len(batch),
            num_blocks=record.num_blocks + 1,
            next_block=number + 1,
        )
        if len(batch):
            table = KeyTable.build(batch.hashes, places_of(number, len(batch)))
            record = add_to_index(transaction, env, record, catalog.tables, table)
        write_record(transaction, env, record)
        return True

    def _load(self, transaction: Any, env: Environment) -> Catalog:
        packed = read_packed(transaction, env)
        if self._catalog is None or self._catalog.packed != packed:
            catalog = Catalog(env, packed, check=True)
            if catalog.record.dropped:
                raise self._gone()
            catalog.load(transaction, self._catalog)
            self._catalog = catalog
        return self._catalog


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
    segments = list(record.segments)
    kept = len(segments) - num_to_merge([segment.count for segment in segments], len(table))
    if merged := segments[kept:]:
        table = KeyTable.merge([*tables[kept:], table])
    for segment in merged:
        transaction.delete(layout.number_key(segment.number), db=env.database(layout.INDEX))
    del segments[kept:]
    segment = Segment(record.next_segment, len(table), page=0)
    key = layout.number_key(segment.number)
    page = _put(transaction, env, layout.INDEX, key, segment_header(segment), *table.parts())
    segments.append(dataclasses.replace(segment, page=page))
    return dataclasses.replace(record, next_segment=record.next_segment + 1, segments=tuple(segments))
