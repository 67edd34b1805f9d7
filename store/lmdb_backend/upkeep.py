"""Checking and mending a field: verify, repair, drop blocks."""

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from store.common.errors import BlockNotFoundError, DamagedBlockError, DamagedFieldError
from store.core.batch import hash_keys, split_keys
from store.core.contract import Damage, Progress
from store.core.naming import shown_name
from store.index.keytable import MAX_ROWS, KeyTable, locate_in
from store.lmdb_backend import layout, salvage
from store.lmdb_backend.catalog import Catalog, lost_record, places_of, read_record
from store.lmdb_backend.environment import Environment
from store.lmdb_backend.layout import BlockRecord
from store.lmdb_backend.registry import environment
from store.lmdb_backend.writer import add_to_index, write_record


def verify(folder: Path, progress: Progress | None = None) -> list[Damage]:
    """Everything in a field that is not what was written."""
    try:
        env = _openable(folder)
        if env is None or not _is_sound(env):
            return salvage.look(folder, progress)
        with env.read() as transaction:
            return [damage for damage, _ in _check(transaction, env, progress)]
    except DamagedFieldError as error:
        return [_lost(folder, error)]


def repair(folder: Path, progress: Progress | None = None) -> list[Damage]:
    """Drop what is damaged and make the index anew if need be; returns the damage."""

    try:
        env = _openable(folder)
        if env is not None and _is_sound(env):
            return env.write(lambda transaction: _repair(transaction, env, progress))
        damages = salvage.mend(folder, progress)
    except DamagedFieldError as error:
        return [_lost(folder, error)]
    if env is not None:
        _mark(env)  # whoever has the old file open
    return damages


def _repair(transaction: Any, env: Environment, progress: Progress | None) -> list[Damage]:
    found = list(_check(transaction, env, progress))
    if found:
        _rebuild(transaction, env, {number for _, number in found if number is not None})
    return [damage for damage, _ in found]


def _openable(folder: Path) -> Environment | None:
    """The environment; None if LMDB must not touch it. Raises DamagedFieldError if there is none."""
    try:
        return environment(folder)
    except DamagedFieldError:
        return None
    except FileNotFoundError as error:
        raise lost_record(folder, "its data.mdb is not there") from error


def _is_sound(env: Environment) -> bool:
    """Whether LMDB can read and delete everything."""
    try:
        return not env.check_pages(deep=True).cut_off
    except DamagedFieldError:
        return False


def _lost(folder: Path, error: DamagedFieldError) -> Damage:
    """The damage of a field of which nothing can be read."""
    return Damage(field=shown_name(folder.name), block=None, what=str(error))


def drop_blocks(folder: Path, names: Sequence[str]) -> None:
    """Remove blocks by name; all or none.

    Raises:
        BlockNotFoundError: a name is not there.
    """
    env = environment(folder)
    if not _is_sound(env):
        raise DamagedFieldError(f"{str(folder / 'data.mdb')!r} is damaged; run `keyclip store repair` first")

    def work(transaction: Any) -> None:
        record = read_record(transaction, env)
        numbers = {block.name: number for number, block in _blocks(transaction, env) if block}
        if absent := [name for name in names if name not in numbers]:
            raise BlockNotFoundError(f"field {record.name!r} has no block {absent[0]!r} among its {len(numbers)}")
        _rebuild(transaction, env, {numbers[name] for name in names})

    env.write(work)


def mark_dropped(folder: Path) -> None:
    """Tell every reader and writer that the field is going, if it is sound enough for it."""
    with contextlib.suppress(DamagedFieldError):
        if env := _openable(folder):
            _mark(env)


def _mark(env: Environment) -> None:
    with contextlib.suppress(DamagedFieldError):
        env.write(lambda t: write_record(t, env, dataclasses.replace(read_record(t, env), dropped=True)))


def _check(transaction: Any, env: Environment, progress: Progress | None) -> Iterator[tuple[Damage, int | None]]:
    """Damage and the number of the block that it concerns."""
    record = read_record(transaction, env)
    catalog = Catalog(env, record.pack(), check=True)
    blocks = list(_blocks(transaction, env))
    intact = {number: block for number, block in blocks if block}
    for number in (number for number, block in blocks if not block):
        yield Damage(field=record.name, block=None, what=f"the record of block number {number} is damaged"), number
    catalog.add_blocks(intact)
    tables, index_damage = _tables(transaction, catalog)
    if index_damage:
        yield Damage(field=record.name, block=None, what=index_damage), None
    if len(intact) != record.num_blocks or sum(b.count for b in intact.values()) != record.num_vectors:
        what = f"{record.num_blocks} blocks of {record.num_vectors} vectors were committed, others are there"
        yield Damage(field=record.name, block=None, what=what), None
    for done, (number, block) in enumerate(intact.items(), start=1):
        if what := _block_damage(transaction, catalog, number, tables):
            yield Damage(field=record.name, block=block.name, what=what), number
        if progress:
            progress(record.name, done, len(intact))


def _blocks(transaction: Any, env: Environment) -> Iterator[tuple[int, BlockRecord | None]]:
    """Block records by number; None for a damaged one."""
    field = read_record(transaction, env)
    with transaction.cursor(db=env.database(layout.BLOCKS)) as cursor:
        for key, value in cursor:
            number = int.from_bytes(key, "big")
            try:
                block = BlockRecord.unpack(bytes(value))
            except DamagedFieldError:
                yield number, None
            else:
                yield number, block if block.belongs_to(field, number) else None


def _tables(transaction: Any, catalog: Catalog) -> tuple[list[KeyTable] | None, str]:
    try:
        catalog.load_index(transaction)
    except DamagedBlockError as error:
        return None, str(error)
    return catalog.tables, ""


def _block_damage(transaction: Any, catalog: Catalog, number: int, tables: list[KeyTable] | None) -> str:
    """What is wrong with a block, or nothing."""
    block = catalog.blocks[number]
    try:
        head = catalog.head_payload(transaction, number)
        first = int(catalog.first_chunk[number])
        catalog.require_chunks(transaction, np.arange(first, first + len(block.pages) - 1))
    except DamagedBlockError as error:
        return str(error)
    if tables is not None:
        keys = split_keys(head[8 * block.count :].tobytes())
        if not np.array_equal(locate_in(tables, hash_keys(keys)), places_of(number, block.count)):
            return "the index does not lead to its keys"
    return ""


def _rebuild(transaction: Any, env: Environment, dropped: Collection[int]) -> None:
    """Delete blocks, and whatever belongs to no block, and write the index of the others anew."""
    kept = {number: block for number, block in _blocks(transaction, env) if block and number not in dropped}
    for number in [number for number, _ in _blocks(transaction, env) if number not in kept]:
        transaction.delete(layout.number_key(number), db=env.database(layout.BLOCKS))
    _delete_keys(transaction, env.database(layout.VALUES), lambda key: int.from_bytes(key[:4], "big") not in kept)
    _delete_keys(transaction, env.database(layout.INDEX), lambda key: True)
    record = dataclasses.replace(read_record(transaction, env), num_blocks=len(kept), segments=())
    record = dataclasses.replace(record, epoch=record.epoch + 1, num_vectors=sum(b.count for b in kept.values()))
    catalog = Catalog(env, record.pack(), check=True)
    catalog.add_blocks(kept)
    for table in _tables_of(transaction, catalog):
        record = add_to_index(transaction, env, record, (), table)
    write_record(transaction, env, record)


def _delete_keys(transaction: Any, database: Any, unwanted: Callable[[bytes], bool]) -> None:
    with transaction.cursor(db=database) as cursor:
        keys = [bytes(key) for key in cursor.iternext(values=False)]
    for key in filter(unwanted, keys):
        transaction.delete(key, db=database)


def _tables_of(transaction: Any, catalog: Catalog) -> Iterator[KeyTable]:
    """The keys of all blocks, in tables that are too large to be merged (but for the last)."""
    tables: list[KeyTable] = []
    for number, block in catalog.blocks.items():
        keys = split_keys(catalog.head_payload(transaction, number)[8 * block.count :].tobytes())
        if sum(map(len, tables)) + len(keys) > MAX_ROWS:
            yield KeyTable.merge(tables)
            tables = []
        if keys:
            tables.append(KeyTable.build(hash_keys(keys), places_of(number, len(keys))))
    if tables:
        yield KeyTable.merge(tables)
