"""What a process knows of a field's committed blocks: enough to go from key hashes to bytes in the memory map.

A :class:`Catalog` is built from the field's record and grows as blocks are committed. All facts per block and chunk
are arrays, so that a lookup of a thousand keys is a handful of numpy calls however many blocks there are.
"""

import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from store.common.errors import DamagedBlockError, DamagedFieldError
from store.core.batch import split_keys
from store.core.contract import dropped
from store.core.dtypes import row_bytes
from store.core.naming import folder_name
from store.index.keytable import ROW_MASK, KeyTable, Places, places_of, table_bytes
from store.lmdb_backend import layout
from store.lmdb_backend.environment import Environment
from store.lmdb_backend.layout import BlockRecord, FieldRecord, Segment, ValueHeader
from store.lmdb_backend.registry import environment
from store.lmdb_backend.values import ValueFile

_NONE = np.zeros(0, np.int64)
_NO_CHUNK = 2**62
"""Larger than the number of any chunk, so that a damaged index that leads to a dropped block is noticed."""


class Catalog:
    """Blocks, chunks and index of one field at one commit. A place is ``block << 32 | row``."""

    def __init__(self, values: ValueFile, record: FieldRecord, check: bool) -> None:
        self.values = values
        self.record = record
        self.check = check
        self.blocks: dict[int, BlockRecord] = {}
        self.numbers: dict[str, int] = {}
        self.first_chunk = _NONE
        """Per block number: its first chunk among all values, right after its head; _NO_CHUNK for dropped blocks."""
        self.value_block = _NONE
        """Per value (head or chunk): the number of its block."""
        self.value_page = _NONE
        self.value_unit = _NONE
        """Per value: where its payload begins in the file, in units."""
        self.value_rows = _NONE
        """Per chunk: its rows; 0 for a head."""
        self.value_known = np.zeros(0, np.bool_)
        """Per value: whether its page was confirmed (and its checksum compared)."""
        self.tables: list[KeyTable] = []
        self.row_bytes = row_bytes(record.spec.dtype, record.spec.dim)
        self.unit = math.gcd(values.page_bytes, self.row_bytes)
        """Every row begins on a multiple of so many bytes in the file."""

    def load(self, transaction: Any, env: Environment, earlier: "Catalog | None" = None) -> None:
        """Read the block records and the index; takes over from ``earlier`` what has not changed since."""
        if earlier and (
            earlier.record.epoch != self.record.epoch or earlier.record.next_block > self.record.next_block
        ):
            earlier = None
        records = read_blocks(transaction, env, self.record, earlier.record.next_block if earlier else 0)
        intact = {number: block for number, block in records.items() if block}
        if damaged := records.keys() - intact.keys():
            raise self._damaged(f"the record of its block number {min(damaged)} is damaged")
        self.add_blocks(intact, earlier)
        if len(self.blocks) != self.record.num_blocks:
            raise self._damaged(f"{self.record.num_blocks} blocks were committed, {len(self.blocks)} are there")
        self.load_index(transaction, earlier)

    def _damaged(self, what: str) -> DamagedFieldError:
        return DamagedFieldError(f"field {self.record.name!r} is damaged: {what}; run `keyclip store repair`")

    def add_blocks(self, records: dict[int, BlockRecord], earlier: "Catalog | None" = None) -> None:
        """Take in the blocks of ``earlier`` and the new ``records``, by number."""
        before = earlier or self
        known = earlier.record.next_block if earlier else 0
        new = self.record.next_block - known
        first_chunk = np.full(new, _NO_CHUNK, np.int64)
        block: list[int] = []
        page: list[int] = []
        rows: list[int] = []
        size = self.record.rows_per_chunk
        for number, record in records.items():
            first_chunk[number - known] = len(before.value_page) + len(page) + 1
            page += record.pages
            block += [number] * len(record.pages)
            rows += [0, *(min(size, record.count - at) for at in range(0, record.count, size))]
        self.blocks = before.blocks | records
        self.numbers = before.numbers | {record.name: number for number, record in records.items()}
        self.first_chunk = np.concatenate([before.first_chunk, first_chunk])
        self.value_block = np.concatenate([before.value_block, np.array(block, np.int64)])
        self.value_page = np.concatenate([before.value_page, np.array(page, np.int64)])
        self.value_unit = (self.value_page + 1) * (self.values.page_bytes // self.unit)
        self.value_rows = np.concatenate([before.value_rows, np.array(rows, np.int64)])
        self.value_known = np.concatenate([before.value_known, np.zeros(len(page), np.bool_)])

    def load_index(self, transaction: Any, earlier: "Catalog | None" = None) -> None:
        """Open the segments of the index; takes over those of ``earlier``."""
        have = dict(zip(earlier.record.segments, earlier.tables, strict=True)) if earlier else {}
        self.tables = [have.get(s) or self._open_segment(transaction, s) for s in self.record.segments]

    def _open_segment(self, transaction: Any, segment: Segment) -> KeyTable:
        header = segment_header(segment)
        key = layout.number_key(segment.number)
        self.values.fetch(segment.page, header)
        try:
            page = self.values.find(transaction, layout.INDEX, key, header, segment.page, self.check)
        except DamagedBlockError as error:
            raise self._damaged(f"in segment {segment.number} of its index {error}") from error
        return KeyTable.from_bytes(self.values.payload_at(page, header), segment.count)

    def require(self, transaction: Any, values: NDArray[np.int64]) -> None:
        """Confirm heads or chunks before their first use.

        Raises:
            DamagedBlockError: one differs from its block's record; names the block.
        """
        try:
            known = self.value_known.take(values)
        except IndexError:
            raise self._leads_nowhere() from None
        if known.all():
            return
        new = np.unique(values[~known]).tolist()
        headers = [self._header(value) for value in new]
        if self.check:
            for value, header in zip(new, headers, strict=True):
                self.values.fetch(int(self.value_page[value]), header)
        for value, header in zip(new, headers, strict=True):
            page = self._find(transaction, header, int(self.value_page[value]))
            self.value_page[value] = page
            self.value_unit[value] = (page + 1) * (self.values.page_bytes // self.unit)
            self.value_known[value] = True

    def _leads_nowhere(self) -> DamagedFieldError:
        return self._damaged("its index leads to a block that is not there")

    def _header(self, value: int) -> ValueHeader:
        """The header that a value must have."""
        block = int(self.value_block[value])
        part = value - int(self.first_chunk[block]) + 1
        if part == layout.HEAD:
            return self.blocks[block].head(block)
        return layout.chunk_header(self.record.spec, block, part, int(self.value_rows[value]))

    def _find(self, transaction: Any, header: ValueHeader, page: int) -> int:
        key = layout.value_key(header.number, header.part)
        try:
            return self.values.find(transaction, layout.VALUES, key, header, page, self.check)
        except DamagedBlockError as error:
            what = "head" if header.part == layout.HEAD else f"chunk {header.part}"
            raise DamagedBlockError(
                f"block {self.blocks[header.number].name!r} of field {self.record.name!r} is damaged in its {what}: "
                f"{error}; run `keyclip store repair`, then embed its captions again"
            ) from error

    def values_of(self, block: int) -> NDArray[np.int64]:
        """Head and chunks of a block by its number."""
        places: NDArray[np.int64] = self.first_chunk[block] - 1 + np.arange(len(self.blocks[block].pages))
        return places

    def keys_of(self, transaction: Any, block: int) -> list[str]:
        """Keys of a block by its number. Raises DamagedBlockError."""
        head = self.values_of(block)[:1]
        self.require(transaction, head)
        payload = self.values.payload_at(int(self.value_page[head[0]]), self.blocks[block].head(block))
        return split_keys(payload[8 * self.blocks[block].count :].tobytes())

    def places_of(self, block: int) -> Places:
        """Places of all rows of a block by its number."""
        return places_of(block, self.blocks[block].count)

    def chunks_of(self, places: Places) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Chunk and row within it of every place."""
        size = self.record.rows_per_chunk  # a power of two
        row = places & ROW_MASK
        chunk = self._first_chunks(places)
        chunk += row >> (size.bit_length() - 1)
        return chunk, row & (size - 1)

    def heads_of(self, places: Places) -> NDArray[np.int64]:
        """Head of the block of every place."""
        return self._first_chunks(places) - 1

    def _first_chunks(self, places: Places) -> NDArray[np.int64]:
        try:
            return self.first_chunk.take(places >> 32)
        except IndexError:
            raise self._leads_nowhere() from None


class CatalogCache:
    """This process's environment of a field, and the catalog at the last transaction that looked."""

    def __init__(self, folder: Path, name: str, store_path: str, check: bool) -> None:
        """Raises FieldNotFoundError if the field is gone."""
        self._name = name
        self._store_path = store_path
        self._check = check
        try:
            self.env = environment(folder)
        except FileNotFoundError:
            raise dropped(name, store_path) from None
        self.lock = threading.RLock()
        self._packed = b""
        self._seen: tuple[int, Catalog | None] = (-1, None)
        """Number of the last transaction, and its catalog; replaced together."""

    def at(self, transaction: Any) -> Catalog:
        """The catalog at a transaction: the cached one unless something was committed since."""
        number = transaction.id()
        seen, catalog = self._seen
        if catalog is None or seen != number:
            with self.lock:
                catalog = self._load(transaction, self._seen[1])
                self._seen = (number, catalog)
        return catalog

    def _load(self, transaction: Any, earlier: Catalog | None) -> Catalog:
        packed = read_packed(transaction, self.env)
        if earlier is not None and packed == self._packed:
            return earlier
        catalog = Catalog(self.env, unpack_record(packed, self.env.folder), self._check)
        if catalog.record.dropped:
            raise dropped(self._name, self._store_path)
        catalog.load(transaction, self.env, earlier)
        self._packed = packed
        return catalog


def segment_header(segment: Segment) -> ValueHeader:
    """The header that a segment of the index must have."""
    return ValueHeader(segment.number, layout.HEAD, segment.count, table_bytes(segment.count))


def read_blocks(
    transaction: Any, env: Environment, field: FieldRecord, first: int = 0
) -> dict[int, BlockRecord | None]:
    """Block records by number, from ``first`` on; None for a damaged one."""
    found: dict[int, BlockRecord | None] = {}
    with transaction.cursor(db=env.database(layout.BLOCKS)) as cursor:
        there = cursor.set_range(layout.number_key(first))
        while there:
            number = int.from_bytes(cursor.key(), "big")
            found[number] = BlockRecord.unpack(bytes(cursor.value()), field, number)
            there = cursor.next()
    return found


def read_packed(transaction: Any, env: Environment) -> bytes:
    """The field's record as it is stored. Raises DamagedFieldError if there is none."""
    packed = transaction.get(layout.FIELD, db=env.database(layout.META))
    if packed is None:
        raise lost_record(env.folder, "it is not there")
    return bytes(packed)


def read_record(transaction: Any, env: Environment) -> FieldRecord:
    """The field's record at this transaction. Raises DamagedFieldError if there is none, or one of another field."""
    return unpack_record(read_packed(transaction, env), env.folder)


def unpack_record(packed: bytes, folder: Path) -> FieldRecord:
    """The record of the field in ``folder``; raises as :func:`read_record` does."""
    try:
        record = FieldRecord.unpack(packed)
    except DamagedFieldError as error:
        raise lost_record(folder, str(error)) from error
    if folder_name(record.name) != folder.name and not folder.name.startswith("."):
        raise lost_record(folder, f"it is the record of field {record.name!r}")
    return record


def lost_record(folder: Path, why: str) -> DamagedFieldError:
    """The error for a field whose own record cannot be used, without which nothing else can."""
    return DamagedFieldError(
        f"the record of the field in {str(folder)!r} is lost ({why}); drop the field, or restore it from a copy"
    )
