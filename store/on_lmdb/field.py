"""Reading a field: rows are gathered straight from the memory map, all at once.

Every row begins on a multiple of ``unit`` bytes after the first payload of the file, where ``unit`` divides both the
page and the row. The file is therefore seen as one array of rows that overlap at steps of ``unit``, and a gather is a
single numpy call, whichever blocks the rows are in.
"""

import contextlib
import math
import os
import threading
from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from store.batch import split_keys
from store.contract import Field, Snapshot
from store.errors import BlockNotFoundError, FieldNotFoundError
from store.keytable import Places, locate_in
from store.on_lmdb import layout
from store.on_lmdb.catalog import ROW_MASK, Catalog, largest_first, places_of
from store.on_lmdb.environment import Environment, environment

N = TypeVar("N", bound=np.generic)

TAKE_UNIT = 256
"""Smallest unit in bytes that `np.take` copies at full speed into a caller's buffer."""


class LmdbSnapshot(Snapshot):
    """A field as of one read transaction."""

    def __init__(self, transaction: Any, catalog: Catalog) -> None:
        self._transaction = transaction
        self._catalog = catalog

    def count(self) -> int:
        return self._catalog.record.num_vectors

    def block_names(self) -> list[str]:
        return list(self._catalog.numbers)

    def block_keys(self, block: str) -> list[str]:
        number = self._number(block)
        count = self._catalog.blocks[number].count
        return split_keys(self._catalog.head_payload(self._transaction, number)[8 * count :].tobytes())

    def block_places(self, block: str) -> Places:
        number = self._number(block)
        return places_of(number, self._catalog.blocks[number].count)

    def _number(self, block: str) -> int:
        try:
            return self._catalog.numbers[block]
        except KeyError:
            raise BlockNotFoundError(
                f"field {self._catalog.name!r} has no block {block!r} among its {len(self._catalog.numbers)}"
            ) from None

    def locate(self, hashes: NDArray[np.uint64]) -> Places:
        return locate_in(largest_first(self._catalog.tables), hashes)

    def take_rows(self, places: Places, out: NDArray[Any]) -> None:
        if not len(places):
            return
        catalog, env = self._catalog, self._catalog.env
        chunk, row = catalog.chunks_of(places)
        catalog.require_chunks(self._transaction, chunk)
        size = catalog.row_bytes
        unit = math.gcd(env.page_bytes, size)
        at = catalog.chunk_page[chunk] * (env.page_bytes // unit) + row * (size // unit)
        data = env.file(0)[layout.PAYLOAD_AT :]
        if unit >= TAKE_UNIT:
            if size > unit:
                at = (at[:, None] + np.arange(size // unit)).reshape(-1)
            units = data[: len(data) // unit * unit].view(f"V{unit}")
            np.take(units, at, out=out.reshape(-1).view(f"V{unit}"), mode="clip")  # without clip numpy copies twice
        else:
            rows = np.ndarray(((len(data) - size) // unit + 1,), f"V{size}", data, strides=(unit,))
            out.reshape(-1).view(f"V{size}")[:] = rows[at]

    def take_scales(self, places: Places) -> NDArray[np.float32]:
        catalog, env = self._catalog, self._catalog.env
        chunk, row = catalog.chunks_of(places)
        catalog.require_chunks(self._transaction, chunk)
        after_rows = -(-catalog.chunk_rows[chunk] * catalog.row_bytes // 4)
        return self._numbers(np.float32, catalog.chunk_page[chunk] * (env.page_bytes // 4) + after_rows + row)

    def take_caption_hashes(self, places: Places) -> NDArray[np.uint64]:
        catalog, env = self._catalog, self._catalog.env
        block = places >> 32
        catalog.require_heads(self._transaction, block)
        return self._numbers(np.uint64, catalog.head_page[block] * (env.page_bytes // 8) + (places & ROW_MASK))

    def _numbers(self, dtype: type[N], at: NDArray[np.int64]) -> NDArray[N]:
        data = self._catalog.env.file(0)[layout.PAYLOAD_AT :]
        size = np.dtype(dtype).itemsize
        return data[: len(data) // size * size].view(dtype)[at]


class LmdbField(Field):
    """A field of an LMDB store."""

    def __init__(self, path: str, name: str, check: bool) -> None:
        self.path = path
        self.name = name
        self._check = check
        self._reset()
        with self.snapshot() as snapshot:
            self.spec = snapshot._catalog.record.spec

    def _reset(self) -> None:
        self._process = -1
        self._environment: Environment | None = None
        self._catalog: Catalog | None = None
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "name": self.name, "spec": self.spec, "_check": self._check}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[LmdbSnapshot]:
        env = self._current_environment()
        with env.read() as transaction:
            packed = transaction.get(self.name.encode(), db=env.database(layout.FIELDS))
            if packed is None:
                raise no_field(self.name, self.path, field_names(env, transaction))
            catalog = self._catalog
            if catalog is None or catalog.packed != packed:
                with self._lock:
                    catalog = Catalog(env, self.name, bytes(packed), self._check)
                    catalog.load(transaction, self._catalog)
                    self._catalog = catalog
            yield LmdbSnapshot(transaction, catalog)

    def _current_environment(self) -> Environment:
        if self._process != os.getpid():
            self._reset()
            self._environment = environment(self.path)
            self._process = os.getpid()
        assert self._environment is not None
        return self._environment


def field_names(env: Environment, transaction: Any) -> list[str]:
    """Names of all fields, sorted."""
    with transaction.cursor(db=env.database(layout.FIELDS)) as cursor:
        return sorted(bytes(name).decode() for name in cursor.iternext(values=False))


def no_field(name: str, path: str, names: list[str]) -> FieldNotFoundError:
    """The error for a field that is not there."""
    there = f"there are {', '.join(map(repr, names))}" if names else "it has no fields yet"
    return FieldNotFoundError(f"the store {path!r} has no field {name!r}; {there}")
