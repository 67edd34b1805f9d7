"""Reading a field: rows are gathered straight from the memory map, all at once.

Every row begins on a multiple of ``unit`` bytes in the file, where ``unit`` divides both the page and the row. The file
is therefore seen as one array of rows that overlap at steps of ``unit``, and a gather is a single numpy call, whichever
blocks the rows are in.
"""

from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from store.common.errors import BlockNotFoundError
from store.core.batch import split_keys
from store.core.contract import Field
from store.core.snapshot import Snapshot
from store.index.keytable import Places, largest_first, locate_in
from store.lmdb_backend.catalog import ROW_MASK, Catalog, places_of, read_packed
from store.lmdb_backend.environment import Environment
from store.lmdb_backend.layout import FieldRecord
from store.lmdb_backend.registry import EnvironmentUser

N = TypeVar("N", bound=np.generic)

TAKE_UNIT = 256
"""Smallest unit in bytes that `np.take` copies at full speed into a caller's buffer."""


class LmdbSnapshot(Snapshot):
    """A field as of one read transaction; a context that begins and ends it."""

    _transaction: Any
    _catalog: Catalog

    def __init__(self, field: "LmdbField", env: Environment) -> None:
        self._field = field
        self._env = env
        self._reading = env.read()

    def __enter__(self) -> Self:
        self._transaction = self._reading.__enter__()
        try:
            self._catalog = self._field.catalog(self._transaction, self._env)
        except BaseException as error:
            self._reading.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reading.__exit__(kind, error, trace)

    @property
    def record(self) -> FieldRecord:
        """The field's record."""
        return self._catalog.record

    def count(self) -> int:
        return self._catalog.record.num_vectors

    def block_names(self) -> list[str]:
        return list(self._catalog.numbers)

    def block_keys(self, block: str) -> list[str]:
        number = self._number(block)
        count = self._catalog.blocks[number].count
        return split_keys(self._catalog.head_payload(self._transaction, number)[8 * count :].tobytes())

    def block_digest(self, block: str) -> bytes:
        return self._catalog.blocks[self._number(block)].content_digest

    def block_places(self, block: str) -> Places:
        number = self._number(block)
        return places_of(number, self._catalog.blocks[number].count)

    def _number(self, block: str) -> int:
        try:
            return self._catalog.numbers[block]
        except KeyError:
            raise BlockNotFoundError(
                f"field {self._catalog.record.name!r} has no block {block!r} among its {len(self._catalog.numbers)}"
            ) from None

    def locate(self, hashes: NDArray[np.uint64]) -> Places:
        return locate_in(largest_first(self._catalog.tables), hashes)

    def take_rows(self, places: Places, out: NDArray[Any]) -> None:
        if not len(places):
            return
        catalog, env = self._catalog, self._catalog.env
        chunk, row = catalog.chunks_of(places)
        catalog.require_chunks(self._transaction, chunk)
        size, unit = catalog.row_bytes, catalog.unit
        at = catalog.chunk_unit.take(chunk) + row * (size // unit)
        data = env.file(0)
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
        catalog.require_chunks(self._transaction, chunk)
        after_rows = -(-catalog.chunk_rows[chunk] * catalog.row_bytes // 4)
        return self._numbers(np.float32, catalog.chunk_page[chunk], after_rows + row)

    def take_caption_hashes(self, places: Places) -> NDArray[np.uint64]:
        block = places >> 32
        self._catalog.require_heads(self._transaction, block)
        return self._numbers(np.uint64, self._catalog.head_page[block], places & ROW_MASK)

    def _numbers(self, dtype: type[N], page: NDArray[np.int64], index: NDArray[np.int64]) -> NDArray[N]:
        """Numbers by their index in the payloads that begin after ``page``."""
        env = self._catalog.env
        numbers: NDArray[N] = env.file(0).view(dtype)
        found: NDArray[N] = numbers[(page + 1) * (env.page_bytes // numbers.itemsize) + index]
        return found


class LmdbField(EnvironmentUser, Field):
    """A field of an LMDB store."""

    _PER_PROCESS = (*EnvironmentUser._PER_PROCESS, "_seen")

    def __init__(self, store_path: str, folder: Path, name: str, check: bool) -> None:
        self._check = check
        super().__init__(store_path, folder, name)
        with self.snapshot() as snapshot:
            self.spec = snapshot.record.spec

    def _forget(self) -> None:
        super()._forget()
        self._seen: tuple[int, Catalog | None] = (-1, None)
        """Number of the last transaction, and the catalog as of it; replaced together."""

    def snapshot(self) -> LmdbSnapshot:
        return LmdbSnapshot(self, self._current_environment())

    def catalog(self, transaction: Any, env: Environment) -> Catalog:
        """The catalog as of a transaction: the one at hand unless something was committed since."""
        number = transaction.id()
        seen, catalog = self._seen
        if catalog is None or seen != number:
            packed = read_packed(transaction, env)
            if catalog is None or catalog.packed != packed:
                catalog = self._load(transaction, env, packed, catalog)
            self._seen = (number, catalog)
        return catalog

    def _load(self, transaction: Any, env: Environment, packed: bytes, earlier: Catalog | None) -> Catalog:
        catalog = Catalog(env, packed, self._check)
        if catalog.record.dropped:
            raise self._gone()
        with self._lock:
            catalog.load(transaction, earlier)
        return catalog
