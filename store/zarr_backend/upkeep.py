"""Checking and mending a field of a Zarr store: verify, repair, drop blocks."""

import time
from collections.abc import Iterator, Sequence

import numpy as np

from store.common.errors import DamagedBlockError
from store.core.contract import Damage, Progress, Upkeep, no_block
from store.core.info import FieldInfo
from store.core.naming import folder_name, shown_name
from store.core.spec import FieldSpec
from store.index.hashing import key_hashes
from store.index.keytable import KeyTable
from store.zarr_backend.bucket import Bucket
from store.zarr_backend.catalog import Catalog
from store.zarr_backend.chunks import Chunks
from store.zarr_backend.documents import DOCUMENT, BlockRecord, FieldRecord

ABANDONED_SECONDS = 24 * 3600
"""Arrays that no block claims after so long were left by a writer that died."""


class ZarrUpkeep(Upkeep):
    """A field of a Zarr store."""

    def __init__(self, bucket: Bucket, folder: str) -> None:
        self._bucket = bucket
        self._folder = folder
        self._place = f"fields/{folder}"

    def exists(self) -> bool:
        return self._bucket.read([f"{self._place}/{DOCUMENT}"])[0] is not None

    def look(self) -> dict[str, FieldInfo]:
        field = self._field()
        counts = [block.count for block in Catalog(self._bucket, self._folder, field.name, check=False).look()]
        return {field.name: FieldInfo(spec=field.spec, num_vectors=sum(counts), num_blocks=len(counts))}

    def verify(self, progress: Progress | None = None) -> list[Damage]:
        return [damage for _, damage in self._check(progress)]

    def repair(self, progress: Progress | None = None) -> list[Damage]:
        found = list(self._check(progress))
        for block, _ in found:
            self._drop_block(block)
        self._remove_abandoned()
        return [damage for _, damage in found]

    def drop_blocks(self, name: str, blocks: Sequence[str]) -> None:
        there = self._blocks()
        if absent := [block for block in blocks if folder_name(block) not in there]:
            raise no_block(name, absent[0], len(there))
        for block in blocks:
            self._drop_block(folder_name(block))

    def drop(self) -> None:
        self._bucket.remove(self._place, DOCUMENT)

    def _field(self) -> FieldRecord:
        return FieldRecord.unpack(self._bucket.read([f"{self._place}/{DOCUMENT}"])[0], self._folder)

    def _blocks(self) -> list[str]:
        """Folder names of the blocks."""
        return sorted(self._bucket.children(f"{self._place}/blocks", DOCUMENT).versions)

    def _drop_block(self, block: str) -> None:
        try:
            record = self._record(block)
        except DamagedBlockError:
            record = None  # its arrays are removed when they are old enough
        self._bucket.remove(f"{self._place}/blocks/{block}", DOCUMENT)
        if record is not None:
            self._bucket.remove(f"{self._place}/data/{record.data}", DOCUMENT)

    def _record(self, block: str) -> BlockRecord | None:
        """The record of a block; None if it is not there any more."""
        answer = self._bucket.read([f"{self._place}/blocks/{block}/{DOCUMENT}"])[0]
        return None if answer is None else BlockRecord.unpack(answer, block)

    def _remove_abandoned(self) -> None:
        claimed = {record.data for block in self._blocks() if (record := self._record(block))}
        for data in self._bucket.folders(f"{self._place}/data"):
            written = data.partition("-")[0]
            if data not in claimed and written.isdecimal() and time.time() - int(written) > ABANDONED_SECONDS:
                self._bucket.remove(f"{self._place}/data/{data}", DOCUMENT)

    def _check(self, progress: Progress | None) -> Iterator[tuple[str, Damage]]:
        """Folder name of every damaged block, and what is wrong."""
        field = self._field()
        blocks = self._blocks()
        chunks = Chunks(self._bucket, self._folder, field.name, check=True)
        tables: list[tuple[str, KeyTable]] = []
        for done, block in enumerate(blocks, start=1):
            try:
                if (record := self._record(block)) is not None:
                    self._require_whole(chunks, record, field.spec)
                    _require_unique(chunks, record, tables)
            except DamagedBlockError as error:
                yield block, Damage(field=field.name, block=shown_name(block), what=str(error))
            if progress:
                progress(field.name, done, len(blocks))

    def _require_whole(self, chunks: Chunks, record: BlockRecord, spec: FieldSpec) -> None:
        expected = record.arrays(spec)
        answers = self._bucket.read([f"{self._place}/data/{record.data}/{array}/{DOCUMENT}" for array in expected])
        for (array, document), answer in zip(expected.items(), answers, strict=True):
            if answer is None or answer.tobytes() != document:
                raise DamagedBlockError(f"the document of its {array} is not what was written")
        for array, sums in record.checksums.items():
            for number in range(len(sums)):
                chunks.get([(record, array, number)], keep=False)


def _require_unique(chunks: Chunks, record: BlockRecord, tables: list[tuple[str, KeyTable]]) -> None:
    """Raises if an earlier block has a key of this one; adds this block to ``tables``."""
    if not record.count:
        return
    keys = chunks.keys([record])[0]
    hashes = key_hashes(keys)
    for other, table in tables:
        if len(twice := np.flatnonzero(table.locate(hashes) >= 0)):
            raise DamagedBlockError(f"its key {keys[twice[0]].decode()!r} is also in block {other!r}")
    tables.append((record.name, KeyTable.build(hashes, np.arange(record.count))))
