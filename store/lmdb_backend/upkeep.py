"""Checking and mending a field: verify, repair, drop blocks."""

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from store.common.errors import DamagedBlockError, DamagedFieldError
from store.common.files import remove_durably
from store.core.batch import hash_keys
from store.core.contract import Damage, Progress, Upkeep, no_block
from store.core.info import FieldInfo
from store.index.keytable import MAX_ROWS, KeyTable, locate_in
from store.lmdb_backend import layout, salvage
from store.lmdb_backend.catalog import Catalog, lost_record, read_blocks, read_record
from store.lmdb_backend.environment import Environment
from store.lmdb_backend.registry import environment
from store.lmdb_backend.writer import add_to_index, write_record


class LmdbUpkeep(Upkeep):
    """A field of an LMDB store. What LMDB must not touch is read by :mod:`store.lmdb_backend.salvage`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def exists(self) -> bool:
        if self._folder.exists() and not (self._folder / "data.mdb").exists():
            raise lost_record(self._folder, "its data.mdb is not there")
        return self._folder.exists()

    def look(self) -> dict[str, FieldInfo]:
        try:
            env = environment(self._folder)
        except FileNotFoundError:
            if self._folder.exists():
                raise lost_record(self._folder, "its data.mdb is not there") from None
            return {}  # dropped meanwhile
        with env.read() as transaction:
            record = read_record(transaction, env)
        if record.dropped:
            return {}
        return {record.name: FieldInfo(spec=record.spec, num_vectors=record.num_vectors, num_blocks=record.num_blocks)}

    def verify(self, progress: Progress | None = None) -> list[Damage]:
        env = self._environment()
        if env is None or not _is_sound(env):
            return salvage.look(self._folder, progress)
        with env.read() as transaction:
            return [damage for damage, _ in _check(transaction, env, progress)]

    def repair(self, progress: Progress | None = None) -> list[Damage]:
        env = self._environment()
        if env is not None and _is_sound(env):
            return env.write(lambda transaction: _repair(transaction, env, progress))
        damages = salvage.mend(self._folder, progress)
        if env is not None:
            _mark_dropped(env)  # for everybody who has the old file open
        return damages

    def drop_blocks(self, name: str, blocks: Sequence[str]) -> None:
        env = environment(self._folder)
        if not _is_sound(env):
            raise DamagedFieldError(f"{str(self._folder / 'data.mdb')!r} is damaged; run `keyclip store repair` first")

        def work(transaction: Any) -> None:
            records = read_blocks(transaction, env, read_record(transaction, env))
            numbers = {block.name: number for number, block in records.items() if block}
            if absent := [block for block in blocks if block not in numbers]:
                raise no_block(name, absent[0], len(numbers))
            _rebuild(transaction, env, {numbers[block] for block in blocks})

        env.write(work)

    def drop(self) -> None:
        with contextlib.suppress(DamagedFieldError):
            if env := self._environment():
                _mark_dropped(env)
        remove_durably(self._folder)

    def _environment(self) -> Environment | None:
        """The environment; None if LMDB must not touch it. Raises DamagedFieldError if there is none."""
        try:
            return environment(self._folder)
        except DamagedFieldError:
            return None
        except FileNotFoundError as error:
            raise lost_record(self._folder, "its data.mdb is not there") from error


def _is_sound(env: Environment) -> bool:
    """Whether LMDB can read and delete everything."""
    try:
        return not env.check_pages(deep=True).cut_off
    except DamagedFieldError:
        return False


def _mark_dropped(env: Environment) -> None:
    """Make every reader and writer of a field see that it is gone, if it is sound enough for it."""
    with contextlib.suppress(DamagedFieldError):
        env.write(lambda t: write_record(t, env, replace(read_record(t, env), dropped=True)))


def _repair(transaction: Any, env: Environment, progress: Progress | None) -> list[Damage]:
    found = list(_check(transaction, env, progress))
    if found:
        _rebuild(transaction, env, {number for _, number in found if number is not None})
    return [damage for damage, _ in found]


def _check(transaction: Any, env: Environment, progress: Progress | None) -> Iterator[tuple[Damage, int | None]]:
    """Damage and the number of the block that it concerns."""
    record = read_record(transaction, env)
    blocks = read_blocks(transaction, env, record)
    intact = {number: block for number, block in blocks.items() if block}
    catalog = Catalog(env, record, check=True)
    catalog.add_blocks(intact)
    problems: list[tuple[str, int | None]] = [
        (f"the record of block number {number} is damaged", number) for number in sorted(blocks.keys() - intact.keys())
    ]
    try:
        catalog.load_index(transaction)
        tables: list[KeyTable] | None = catalog.tables
    except DamagedBlockError as error:
        tables = None
        problems.append((str(error), None))
    if len(intact) != record.num_blocks or sum(b.count for b in intact.values()) != record.num_vectors:
        what = f"{record.num_blocks} blocks of {record.num_vectors} vectors were committed, others are there"
        problems.append((what, None))
    for what, of_block in problems:
        yield Damage(field=record.name, block=None, what=what), of_block
    for done, (number, block) in enumerate(intact.items(), start=1):
        if what := _block_damage(transaction, catalog, number, tables):
            yield Damage(field=record.name, block=block.name, what=what), number
        if progress:
            progress(record.name, done, len(intact))


def _block_damage(transaction: Any, catalog: Catalog, number: int, tables: list[KeyTable] | None) -> str:
    """What is wrong with a block, or nothing."""
    try:
        keys = catalog.keys_of(transaction, number)
        catalog.require(transaction, catalog.values_of(number))
    except DamagedBlockError as error:
        return str(error)
    if tables is not None and not np.array_equal(locate_in(tables, hash_keys(keys)), catalog.places_of(number)):
        return "the index does not lead to its keys"
    return ""


def _rebuild(transaction: Any, env: Environment, unwanted: Collection[int]) -> None:
    """Delete blocks, and whatever belongs to no block, and write the index of the others anew."""
    record = read_record(transaction, env)
    blocks = read_blocks(transaction, env, record)
    kept = {number: block for number, block in blocks.items() if block and number not in unwanted}
    for name in (layout.BLOCKS, layout.VALUES):  # their keys begin with a block's number
        _delete(transaction, env.database(name), lambda key: int.from_bytes(key[:4], "big") not in kept)
    _delete(transaction, env.database(layout.INDEX), lambda key: True)
    num_vectors = sum(block.count for block in kept.values())
    record = replace(record, num_blocks=len(kept), segments=(), epoch=record.epoch + 1, num_vectors=num_vectors)
    catalog = Catalog(env, record, check=True)
    catalog.add_blocks(kept)
    for table in _tables_of(transaction, catalog):
        record = add_to_index(transaction, env, record, (), table)
    write_record(transaction, env, record)


def _delete(transaction: Any, database: Any, is_unwanted: Callable[[bytes], bool]) -> None:
    with transaction.cursor(db=database) as cursor:
        keys = [bytes(key) for key in cursor.iternext(values=False)]
    for key in filter(is_unwanted, keys):
        transaction.delete(key, db=database)


def _tables_of(transaction: Any, catalog: Catalog) -> Iterator[KeyTable]:
    """The keys of all blocks, in tables that are too large to be merged (but for the last)."""
    tables: list[KeyTable] = []
    for number in catalog.blocks:
        keys = catalog.keys_of(transaction, number)
        if sum(map(len, tables)) + len(keys) > MAX_ROWS:
            yield KeyTable.merge(tables)
            tables = []
        if keys:
            tables.append(KeyTable.build(hash_keys(keys), catalog.places_of(number)))
    if tables:
        yield KeyTable.merge(tables)
