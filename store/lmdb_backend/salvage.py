"""Saves what is intact of a field whose file LMDB must not touch, by reading its pages without LMDB.

Block records name the pages of a block's values, and every value has a checksum: blocks are found and proven even where
the trees around them are lost.
"""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from store.common.errors import DamagedBlockError
from store.common.files import UNFINISHED, flush, remove_durably
from store.core.batch import Batch
from store.core.contract import Damage, Progress
from store.lmdb_backend import layout
from store.lmdb_backend.catalog import Catalog, lost_record, unpack_record
from store.lmdb_backend.field import CatalogSnapshot
from store.lmdb_backend.layout import BlockRecord, FieldRecord
from store.lmdb_backend.pages import Entry, Pages, read_metas, summary
from store.lmdb_backend.values import ValueFile
from store.lmdb_backend.writer import LmdbWriter, create_field


class Remains(ValueFile):
    """What can be read of a damaged field."""

    def __init__(self, folder: Path) -> None:
        """Raises DamagedFieldError if not even the field's own record can be read: then nothing can."""
        super().__init__(folder)
        self._data = self.map_all()
        metas, problems = read_metas(self._data)
        reasons = list(problems)
        for meta in metas:
            pages, self.page_bytes = Pages(self._data, meta), meta.page_bytes
            trees = pages.trees()
            packed = [self._value(e) for e in pages.entries(trees, layout.META) if e.key == layout.FIELD]
            if packed:
                break
            reasons += pages.problems
            problems.append("its newest state is lost, an earlier one is read")
        else:
            raise lost_record(folder, reasons[0] if reasons else "it is not there")
        self.record: FieldRecord = unpack_record(packed[0], folder)
        self.blocks: dict[int, BlockRecord] = {}
        """By number: the blocks whose record is sound."""
        for entry in pages.entries(trees, layout.BLOCKS):
            number = int.from_bytes(entry.key, "big")
            if block := BlockRecord.unpack(self._value(entry), self.record, number):
                self.blocks[number] = block
        self._places = {entry.key: entry.page for entry in pages.entries(trees, layout.VALUES)}
        pages.entries(trees, layout.INDEX)
        pages.check_free()
        if cut_off := pages.cut_off:
            problems.append(f"{len(cut_off)} values are beyond the file's end: the file is cut short")
        problems += pages.problems
        what = [summary(problems)] if problems else []
        if lost := self.record.num_blocks - len(self.blocks):
            what.append(f"the records of {lost} of its {self.record.num_blocks} blocks are lost")
        self.damages = [Damage(field=self.record.name, block=None, what=each) for each in what]
        catalog = Catalog(self, self.record, check=True)
        catalog.add_blocks(self.blocks)
        self._snapshot = CatalogSnapshot(catalog, transaction=None)

    def _value(self, entry: Entry) -> bytes:
        return self._data[entry.start : entry.start + entry.size].tobytes()

    def _page_in_tree(self, transaction: Any, database: bytes, key: bytes) -> int:
        return self._places.get(key, 0)

    def batch(self, block: BlockRecord) -> Batch:
        """A block as it was committed. Raises DamagedBlockError if not all of it is intact."""
        batch = self._snapshot.read_batch(block.name, self.record.spec)
        if batch.content_digest != block.content_digest:
            raise DamagedBlockError("its keys or captions are not the committed ones")
        return batch


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
    name, spec = remains.record.name, remains.record.spec
    unfinished = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=folder.parent))
    try:
        place = unfinished / folder.name
        create_field(place, name, spec)
        damages = list(_each_block(remains, LmdbWriter(str(unfinished), place, name, spec), progress))
        remove_durably(folder)
        place.rename(folder)
        flush(folder.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return [*remains.damages, *damages]


def _each_block(remains: Remains, writer: LmdbWriter | None, progress: Progress | None) -> Iterator[Damage]:
    """Read every block and, given a writer, write it; yields the damage of blocks that are not intact."""
    for done, (_, block) in enumerate(sorted(remains.blocks.items()), start=1):
        try:
            batch = remains.batch(block)
            if writer:
                writer.commit_batch(batch)
        except DamagedBlockError as error:
            yield Damage(field=remains.record.name, block=block.name, what=str(error))
        if progress:
            progress(remains.record.name, done, len(remains.blocks))
