"""Reading a field: one numpy call gathers rows straight from the memory map.

Every row begins on a multiple of ``unit`` bytes in the file, where ``unit`` divides both the page and the row. The file
is therefore seen as one array of rows that overlap at steps of ``unit``, and a gather is a single numpy call, whichever
blocks the rows are in.
"""

from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from store.core.contract import Backend, Field, no_block
from store.core.process import PerProcess
from store.core.snapshot import Snapshot
from store.index.keytable import Places, largest_first, locate_in
from store.lmdb_backend.catalog import ROW_MASK, Catalog, CatalogCache
from store.lmdb_backend.environment import Reading

N = TypeVar("N", bound=np.generic)

TAKE_UNIT = 256
"""Smallest unit in bytes that `np.take` copies at full speed into a caller's buffer."""


class CatalogSnapshot(Snapshot):
    """A field at the state that a catalog describes."""

    def __init__(self, catalog: Catalog, transaction: Any) -> None:
        self._catalog = catalog
        self._transaction = transaction

    def count(self) -> int:
        return self._catalog.record.num_vectors

    def block_names(self) -> list[str]:
        return list(self._catalog.numbers)

    def block_keys(self, block: str) -> list[str]:
        return self._catalog.keys_of(self._transaction, self._number(block))

    def block_digest(self, block: str) -> bytes:
        return self._catalog.blocks[self._number(block)].content_digest

    def block_places(self, block: str) -> Places:
        return self._catalog.places_of(self._number(block))

    def _number(self, block: str) -> int:
        try:
            return self._catalog.numbers[block]
        except KeyError:
            raise no_block(self._catalog.record.name, block, len(self._catalog.numbers)) from None

    def locate(self, hashes: NDArray[np.uint64]) -> Places:
        return locate_in(largest_first(self._catalog.tables), hashes)

    def take_rows(self, places: Places, out: NDArray[Any]) -> None:
        if not len(places):
            return
        catalog = self._catalog
        chunk, row = catalog.chunks_of(places)
        catalog.require(self._transaction, chunk)
        size, unit = catalog.row_bytes, catalog.unit
        at = catalog.value_unit.take(chunk) + row * (size // unit)
        data = catalog.values.file(0)
        if unit >= TAKE_UNIT:
            if size > unit:
                at = (at[:, None] + np.arange(size // unit)).reshape(-1)
            kind = np.dtype((np.void, unit))
            np.take(data.view(kind), at, out=out.reshape(-1).view(kind), mode="clip")  # without clip numpy copies twice
        else:
            kind = np.dtype((np.void, size))
            rows = np.ndarray(((len(data) - size) // unit + 1,), kind, data, strides=(unit,))
            out.reshape(-1).view(kind)[:] = rows[at]

    def take_scales(self, places: Places) -> NDArray[np.float32]:
        catalog = self._catalog
        chunk, row = catalog.chunks_of(places)
        catalog.require(self._transaction, chunk)
        after_rows = -(-catalog.value_rows[chunk] * catalog.row_bytes // 4)
        return self._numbers(np.float32, catalog.value_page[chunk], after_rows + row)

    def take_caption_hashes(self, places: Places) -> NDArray[np.uint64]:
        head = self._catalog.heads_of(places)
        self._catalog.require(self._transaction, head)
        return self._numbers(np.uint64, self._catalog.value_page[head], places & ROW_MASK)

    def _numbers(self, dtype: type[N], page: NDArray[np.int64], index: NDArray[np.int64]) -> NDArray[N]:
        """Numbers by their index in the payloads that begin after ``page``."""
        values = self._catalog.values
        numbers: NDArray[N] = values.file(0).view(dtype)
        found: NDArray[N] = numbers[(page + 1) * (values.page_bytes // numbers.itemsize) + index]
        return found


class LmdbSnapshot(Reading, CatalogSnapshot):
    """A field at one read transaction, which lasts as long as the context."""

    def __init__(self, cache: CatalogCache) -> None:
        Reading.__init__(self, cache.env)
        self._cache = cache

    def __enter__(self) -> Self:
        transaction = super().__enter__()
        try:
            self._catalog = self._cache.at(transaction)
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self


class LmdbField(PerProcess[CatalogCache], Field):
    """A field of an LMDB store."""

    backend: Backend = "lmdb"

    def __init__(self, store_path: str, folder: Path, name: str, check: bool) -> None:
        self.store_path = store_path
        self.name = name
        self._folder = folder
        self._check = check
        cache = self._here
        with cache.env.read() as transaction:
            self.spec = cache.at(transaction).record.spec

    def _make(self) -> CatalogCache:
        return CatalogCache(self._folder, self.name, self.store_path, self._check)

    def snapshot(self) -> LmdbSnapshot:
        return LmdbSnapshot(self._here)
