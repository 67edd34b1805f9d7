"""Saves what is intact of a field whose file LMDB must not touch, by reading its pages without LMDB.

Block records name the pages of a block's values, and every value has a checksum: blocks are found and proven even where
the trees around them are lost.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from store.common.errors import DamagedBlockError, DamagedFieldError
from store.common.files import flush, remove_durably
from store.core.batch import Batch, hash_keys, split_keys
from store.core.contract import Damage, Progress
from store.core.dtypes import STORAGE, has_scales
from store.lmdb_backend import layout
from store.lmdb_backend.catalog import lost_record, unpack_record
from store.lmdb_backend.layout import HEAD, BlockRecord, FieldRecord, ValueHeader
from store.lmdb_backend.pages import Entry, Pages, Tree, map_file, open_file, read_metas
from store.lmdb_backend.writer import LmdbWriter, create_field


class Remains:
    """What can be read of a damaged field."""

    def __init__(self, folder: Path) -> None:
        """Raises DamagedFieldError if not even the field's own record can be read: then nothing can."""
        handle = open_file(folder / "data.mdb")
        try:
            self._data = map_file(handle)
        finally:
            os.close(handle)
        metas, problems = read_metas(self._data)
        reasons = list(problems)
        for meta in metas:
            self._pages, self._page_bytes = Pages(self._data, meta), meta.page_bytes
            trees = self._pages.trees()
            packed = [self._value(e) for e in self._entries(trees, layout.META) if e.key == layout.FIELD]
            if packed:
                self.record: FieldRecord = unpack_record(packed[0], folder)
                break
            reasons += self._pages.problems
            problems.append("its newest state is lost, an earlier one is read")
        else:
            raise lost_record(folder, reasons[0] if reasons else "it is not there")
        self.blocks: dict[int, BlockRecord] = {}
        """By number: the blocks whose record is sound."""
        self._read_blocks(trees)
        self._places = {entry.key: entry.page for entry in self._entries(trees, layout.VALUES)}
        for _ in self._entries(trees, layout.INDEX):
            pass
        self._pages.check_free()
        if cut_off := self._pages.cut_off:
            problems.append(f"{len(cut_off)} values are beyond the file's end: the file is cut short")
        what = _summary([*problems, *self._pages.problems])
        if lost := self.record.num_blocks - len(self.blocks):
            what.append(f"the records of {lost} of its {self.record.num_blocks} blocks are lost")
        self.damages = [Damage(field=self.record.name, block=None, what=each) for each in what]

    def _entries(self, trees: dict[bytes, Tree], name: bytes) -> list[Entry]:
        return list(self._pages.entries(trees[name], name, deep=True)) if name in trees else []

    def _value(self, entry: Entry) -> bytes:
        return self._data[entry.start : entry.start + entry.size].tobytes()

    def _read_blocks(self, trees: dict[bytes, Tree]) -> None:
        for entry in self._entries(trees, layout.BLOCKS):
            number = int.from_bytes(entry.key, "big")
            try:
                block = BlockRecord.unpack(self._value(entry))
            except DamagedFieldError:
                continue  # counted as lost
            if block.belongs_to(self.record, number):
                self.blocks[number] = block

    def batch(self, number: int) -> Batch:
        """A block as it was committed. Raises DamagedBlockError if not all of it is intact."""
        block, spec, size = self.blocks[number], self.record.spec, self.record.rows_per_chunk
        head = self._payload(block.head(number), block.pages[0])
        rows: list[NDArray[Any]] = []
        scales = [np.empty(0, np.float32)]
        for part, page in enumerate(block.pages[1:], start=1):
            count = min(size, block.count - (part - 1) * size)
            payload = self._payload(layout.chunk_header(spec, number, part, count), page)
            kind = np.dtype(STORAGE[spec.dtype])
            rows.append(payload[: count * spec.dim * kind.itemsize].view(kind).reshape(count, spec.dim))
            if has_scales(spec.dtype):
                scales.append(payload[layout.scales_at(spec, count) :].view("<f4"))
        keys = split_keys(head[8 * block.count :].tobytes())
        batch = Batch(
            block=block.name,
            keys=keys,
            joined_keys=head[8 * block.count :].tobytes(),
            hashes=hash_keys(keys),
            caption_hashes=head[: 8 * block.count].view("<u8"),
            rows=np.concatenate(rows) if rows else np.empty((0, spec.dim), STORAGE[spec.dtype]),
            scales=np.concatenate(scales) if has_scales(spec.dtype) else None,
        )
        if batch.content_digest != block.content_digest:
            raise DamagedBlockError("its keys or captions are not those that were committed")
        return batch

    def _payload(self, header: ValueHeader, page: int) -> NDArray[np.uint8]:
        for place in (page, self._places.get(layout.value_key(header.number, header.part), 0)):
            start = place * self._page_bytes + layout.PAGE_HEADER_BYTES
            value = self._data[start : start + layout.HEADER.size]
            start = (place + 1) * self._page_bytes
            payload = self._data[start : start + header.payload_bytes]
            if len(payload) == header.payload_bytes and header.matches(value, payload):
                return payload
        what = "head" if header.part == HEAD else f"chunk {header.part}"
        raise DamagedBlockError(f"its {what} is damaged or lost")


def look(folder: Path, progress: Progress | None = None) -> list[Damage]:
    """What is damaged, and which blocks :func:`mend` would drop. Raises as :class:`Remains`."""
    remains = Remains(folder)
    return [*remains.damages, *_each_block(remains, None, progress)]


def mend(folder: Path, progress: Progress | None = None) -> list[Damage]:
    """Replace the field by a new one with the blocks that are intact; returns the damage.

    The new field is complete before it takes the old one's place. Needs room for a copy.

    Raises:
        DamagedFieldError: nothing can be saved, see :class:`Remains`.
        StoreFullError: no space left; the field stays as it was.
    """
    remains = Remains(folder)
    unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=folder.parent))
    try:
        damages = _rewrite(remains, unfinished / folder.name, progress)
        remove_durably(folder)
        (unfinished / folder.name).rename(folder)
        flush(folder.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return [*remains.damages, *damages]


def _rewrite(remains: Remains, folder: Path, progress: Progress | None) -> list[Damage]:
    create_field(folder, remains.record.name, remains.record.spec)
    writer = LmdbWriter(str(folder.parent), folder, remains.record.name, remains.record.spec)
    return list(_each_block(remains, writer, progress))


def _each_block(remains: Remains, writer: LmdbWriter | None, progress: Progress | None) -> Iterator[Damage]:
    """Read every block and write it where a writer is given; yields the damage of those that are not intact."""
    for done, (number, block) in enumerate(sorted(remains.blocks.items()), start=1):
        try:
            batch = remains.batch(number)
            if writer:
                writer.commit_batch(batch)
        except DamagedBlockError as error:
            yield Damage(field=remains.record.name, block=block.name, what=str(error))
        if progress:
            progress(remains.record.name, done, len(remains.blocks))


def _summary(problems: list[str]) -> list[str]:
    """The first problem, and how many more there are."""
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return [f"{problems[0]}{more}"] if problems else []
