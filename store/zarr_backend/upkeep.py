"""Checking and mending a field of a Zarr store: verify, repair, drop blocks."""

import time
from collections.abc import Iterator, Sequence

import numpy as np

from store.common.checked import InvalidDataError
from store.common.errors import BlockNotFoundError, DamagedBlockError
from store.core.contract import Damage, Progress
from store.core.naming import folder_name, shown_name
from store.core.spec import FieldSpec
from store.index.hashing import key_hashes
from store.index.keytable import KeyTable
from store.zarr_backend.bucket import Bucket
from store.zarr_backend.chunks import Chunks
from store.zarr_backend.documents import DOCUMENT, BlockRecord, FieldRecord

ABANDONED_SECONDS = 24 * 3600
"""Arrays that no block claims after so long were left by a writer that died."""

DAMAGE = (DamagedBlockError, InvalidDataError)

Found = tuple[str, Damage]
"""Folder name of the block (empty if it is the field's own record), and what is wrong."""


def verify(bucket: Bucket, folder: str, progress: Progress | None = None) -> list[Damage]:
    """Everything in a field that is not what was written."""
    return [damage for _, damage in _check(bucket, folder, progress)]


def repair(bucket: Bucket, folder: str, progress: Progress | None = None) -> list[Damage]:
    """Drop the damaged blocks and what dead writers left behind; returns the damage."""
    found = list(_check(bucket, folder, progress))
    for block in {block for block, _ in found if block}:
        _drop(bucket, folder, block)
    _remove_abandoned(bucket, folder)
    return [damage for _, damage in found]


def drop_blocks(bucket: Bucket, folder: str, name: str, blocks: Sequence[str]) -> None:
    """Remove blocks by name. Raises BlockNotFoundError, before anything is removed."""
    there = _block_folders(bucket, folder)
    for block in blocks:
        if folder_name(block) not in there:
            raise BlockNotFoundError(f"field {name!r} has no block {block!r} among its {len(there)}")
    for block in blocks:
        _drop(bucket, folder, folder_name(block))


def _block_folders(bucket: Bucket, folder: str) -> list[str]:
    return sorted(bucket.children(f"{folder}/blocks", DOCUMENT).versions)


def _drop(bucket: Bucket, folder: str, block: str) -> None:
    try:
        record = _record(bucket, folder, block)
    except DAMAGE:
        record = None  # its arrays are removed when they are old enough
    bucket.remove(f"{folder}/blocks/{block}", DOCUMENT)
    if record is not None:
        bucket.remove(f"{folder}/data/{record.data}", DOCUMENT)


def _record(bucket: Bucket, folder: str, block: str) -> BlockRecord | None:
    """The record of a block; None if it is not there any more."""
    answer = bucket.read([f"{folder}/blocks/{block}/{DOCUMENT}"])[0]
    return None if answer is None else BlockRecord.unpack(answer, block)


def _remove_abandoned(bucket: Bucket, folder: str) -> None:
    records = [_record(bucket, folder, block) for block in _block_folders(bucket, folder)]
    claimed = {record.data for record in records if record is not None}
    for data in bucket.folders(f"{folder}/data"):
        written = data.partition("-")[0]
        if data not in claimed and written.isdecimal() and time.time() - int(written) > ABANDONED_SECONDS:
            bucket.remove(f"{folder}/data/{data}", DOCUMENT)


def _check(bucket: Bucket, folder: str, progress: Progress | None) -> Iterator[Found]:
    try:
        field = FieldRecord.unpack(bucket.read([f"{folder}/{DOCUMENT}"])[0], folder)
    except DAMAGE as error:
        yield "", Damage(field=shown_name(folder.removeprefix("fields/")), block=None, what=str(error))
        return
    blocks = _block_folders(bucket, folder)
    chunks = Chunks(bucket, folder, field.name, check=True)
    tables: list[tuple[str, KeyTable]] = []
    for done, block in enumerate(blocks, start=1):
        try:
            if (record := _record(bucket, folder, block)) is not None:
                _require_whole(bucket, chunks, f"{folder}/data", record, field.spec)
                _require_unique(chunks, record, tables)
        except DAMAGE as error:
            yield block, Damage(field=field.name, block=shown_name(block), what=str(error))
        if progress:
            progress(field.name, done, len(blocks))


def _require_whole(bucket: Bucket, chunks: Chunks, data: str, record: BlockRecord, spec: FieldSpec) -> None:
    expected = record.arrays(spec)
    answers = bucket.read([f"{data}/{record.data}/{array}/{DOCUMENT}" for array in expected])
    for (array, document), answer in zip(expected.items(), answers, strict=True):
        if answer is None or answer.tobytes() != document:
            raise DamagedBlockError(f"the document of its {array} is not what was written")
    for array, sums in record.checksums.items():
        for number in range(len(sums)):
            chunks.get([(record, array, number)], keep=False)


def _require_unique(chunks: Chunks, record: BlockRecord, tables: list[tuple[str, KeyTable]]) -> None:
    """That no earlier block has a key of this one; ``tables`` grows by this block's."""
    if not record.count:
        return
    keys = chunks.get([(record, "keys", 0)], keep=False)[0].tobytes().split(b"\0")
    hashes = key_hashes(keys)
    for other, table in tables:
        if len(twice := np.flatnonzero(table.locate(hashes) >= 0)):
            raise DamagedBlockError(f"its key {keys[twice[0]].decode()!r} is also in block {other!r}")
    tables.append((record.name, KeyTable.build(hashes, np.arange(record.count))))
