"""What a process knows of a field's committed blocks."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from store.common.errors import DamagedFieldError
from store.core.contract import no_block
from store.index.hashing import key_hashes
from store.index.keytable import KeyTable, num_to_merge
from store.zarr_backend.bucket import Bucket, Listing
from store.zarr_backend.chunks import Chunks
from store.zarr_backend.documents import DOCUMENT, BlockRecord

ROW_MASK = 0xFFFFFFFF
_INDEXED_AT_ONCE = 64
"""Blocks whose keys are read together."""


@dataclass(frozen=True, slots=True)
class State:
    """The blocks at one listing. A place is ``block << 32 | row``; blocks are numbered as they become known."""

    listing: Listing
    """Folder name and version of the record of every block that is there."""
    numbers: dict[str, int]
    """Folder name -> number of the block."""
    records: tuple[BlockRecord, ...]
    """By number; dropped blocks stay, so that numbers keep their meaning."""
    chunk_rows: NDArray[np.int64]
    """By number: rows per chunk."""
    tables: tuple[KeyTable, ...]

    def present(self) -> list[BlockRecord]:
        """Records of the blocks that are there, in the order of their commits."""
        return sorted((self.records[number] for number in self.numbers.values()), key=_commit_order)

    def find(self, block: str, field: str) -> tuple[int, BlockRecord]:
        """Number and record of a block by its name. Raises BlockNotFoundError."""
        for number in self.numbers.values():
            if self.records[number].name == block:
                return number, self.records[number]
        raise no_block(field, block, len(self.numbers))


class Catalog:
    """The blocks of one field in a bucket, brought up to date on request. Safe to use from threads."""

    def __init__(self, bucket: Bucket, folder: str, field: str, check: bool) -> None:
        self.bucket = bucket
        self.field = field
        self.chunks = Chunks(bucket, folder, field, check)
        self.lock = threading.RLock()
        self.state = State(Listing({}), {}, (), np.zeros(0, np.int64), ())
        self._blocks = f"fields/{folder}/blocks"

    def refresh(self) -> State:
        """Take in what was committed or dropped since."""
        with self.lock:
            listing = self.bucket.children(self._blocks, DOCUMENT, self.state.listing)
            if listing.versions != self.state.listing.versions:
                self.state = self._next_state(listing)
            elif listing is not self.state.listing:
                self.state = replace(self.state, listing=listing)
            return self.state

    def look(self) -> list[BlockRecord]:
        """The records of the blocks that are there, in the order of their commits; nothing is cached."""
        return list(self._read_records(list(self.bucket.children(self._blocks, DOCUMENT).versions)).values())

    def _next_state(self, listing: Listing) -> State:
        old, versions = self.state, listing.versions
        kept = {f: number for f, number in old.numbers.items() if versions.get(f) == old.listing.versions[f]}
        new = self._read_records([folder for folder in versions if folder not in kept])
        tables = list(old.tables)
        if len(kept) < len(old.numbers):
            gone = np.array(sorted(set(old.numbers.values()) - set(kept.values())))
            tables = [table.only(~np.isin(table.places >> 32, gone)) for table in tables]
        numbers = kept | {folder: len(old.records) + i for i, folder in enumerate(new)}
        chunk_rows = np.array([max(1, record.rows_per_chunk) for record in new.values()], np.int64)
        return State(
            listing=replace(listing, versions={folder: versions[folder] for folder in numbers}),
            numbers=numbers,
            records=(*old.records, *new.values()),
            chunk_rows=np.concatenate([old.chunk_rows, chunk_rows]),
            tables=self._with_keys(tables, list(new.values()), len(old.records)),
        )

    def _read_records(self, folders: Sequence[str]) -> dict[str, BlockRecord]:
        answers = self.bucket.read([f"{self._blocks}/{folder}/{DOCUMENT}" for folder in folders])
        there = [(folder, data) for folder, data in zip(folders, answers, strict=True) if data is not None]
        try:
            records = {folder: BlockRecord.unpack(data, folder) for folder, data in there}
        except DamagedFieldError as error:
            raise DamagedFieldError(
                f"field {self.field!r} is damaged: {error}; run `keyclip store repair`, then embed its captions again"
            ) from error
        return dict(sorted(records.items(), key=lambda item: _commit_order(item[1])))

    def _with_keys(self, tables: list[KeyTable], records: list[BlockRecord], first: int) -> tuple[KeyTable, ...]:
        """``tables`` and the keys of ``records``, whose numbers begin at ``first``."""
        for start in range(0, len(records), _INDEXED_AT_ONCE):
            part = records[start : start + _INDEXED_AT_ONCE]
            encoded = [key for keys in self.chunks.keys(part) for key in keys]
            if not encoded:
                continue
            places = [(first + start + i << 32) + np.arange(r.count, dtype=np.int64) for i, r in enumerate(part)]
            table = KeyTable.build(key_hashes(encoded), np.concatenate(places))
            kept = len(tables) - num_to_merge([len(t) for t in tables], len(table))
            tables = [*tables[:kept], KeyTable.merge([*tables[kept:], table])]
        return tuple(tables)


def _commit_order(record: BlockRecord) -> tuple[float, str]:
    return record.committed, record.name
