"""Keyed vectors as Arrow tables, which Parquet, Lance, DuckDB, Ray and Hugging Face datasets read and write.

A table has a text column of keys and a column of float lists per field. :func:`to_arrow` adds a column
``NAME_caption_hash`` (uint64) per field and, in the schema's metadata, how the vectors were made.
"""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
from numpy.typing import NDArray

import store
from store.common.checked import parse_json
from store.common.errors import VectorFileError, first_line
from tools.interop.columns import Column, Rows, Source, Vectors, stored_as, unknown_captions
from tools.interop.config import FileDtype, ImportConfig
from tools.interop.exporting import READ_ROWS, file_dtype, iter_keys
from tools.interop.importing import import_vectors
from tools.interop.report import ImportReport

KEY = "key"
HASH = "{}_caption_hash"
MADE_BY = b"keyclip.fields"
"""Name in the schema's metadata: json, column name -> spec of the exported field."""


def to_arrow(
    fields: Mapping[str, store.Field], keys: Iterable[str] | None = None, dtype: FileDtype = None
) -> pa.RecordBatchReader:
    """Keys, vectors and caption hashes of fields as record batches, which are read from the store one by one.

    Args:
        fields: column name -> field, such as ``{"short": store.open("cc3m.store").field("llama/shortSV_captions")}``.
        keys: the rows' keys; by default the keys of the first field, in the store's order.
        dtype: numbers of the vectors; by default float16 where all fields have them so, else float32.

    Raises:
        MissingKeysError: a field lacks a key; while the batch is read.
    """
    number = file_dtype(fields, dtype)
    columns = [pa.field(KEY, pa.string(), nullable=False)]
    for name, field in fields.items():
        columns.append(pa.field(name, pa.list_(pa.from_numpy_dtype(number), field.spec.dim), nullable=False))
        columns.append(pa.field(HASH.format(name), pa.uint64(), nullable=False))
    schema = with_made_by(pa.schema(columns), fields)

    def batches() -> Iterator[pa.RecordBatch]:
        rest = iter(iter_keys(next(iter(fields.values()))) if keys is None else keys)
        while some := list(islice(rest, READ_ROWS)):
            arrays = [pa.array(some, pa.string())]
            for name, field in fields.items():
                numbers = pa.array(field.get(some, dtype=number).reshape(-1))
                arrays.append(pa.FixedSizeListArray.from_arrays(numbers, type=schema.field(name).type))
                arrays.append(pa.array(field.caption_hashes(some)))
            yield pa.record_batch(arrays, schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def from_arrow(
    config: ImportConfig, data: Any, key_column: str = KEY, names: Mapping[str, str] | None = None
) -> ImportReport:
    """Import an Arrow table, as ``keyclip vectors import`` imports a file: as a whole or not at all.

    Args:
        config: the store, and how the vectors were made where the table does not say so.
        data: a ``pyarrow.dataset.Dataset``, also one of Lance, which is read piece by piece; or whatever
            ``pyarrow.table`` takes, such as a relation of DuckDB, which is held in memory.
        names: caption field -> column; by default every column of float lists.

    Raises:
        KeyclipError: the table or a setting is wrong; nothing was stored.
    """
    table = Table.of(data if isinstance(data, pa.dataset.Dataset) else pa.table(data))
    opened = contextlib.nullcontext(table)
    return import_vectors(config, [table_source(lambda _: opened, table.path, key_column, names or {})])


def with_made_by(schema: pa.Schema, fields: Mapping[str, store.Field]) -> pa.Schema:
    """The schema with a record of how the fields were made."""
    specs = {name: field.spec.to_dict() for name, field in fields.items()}
    return schema.with_metadata({MADE_BY: json.dumps(specs, sort_keys=True).encode()})


@contextlib.contextmanager
def one_sentence(path: str, kind: str) -> Iterator[None]:
    """Turn the errors of a library that reads files into a VectorFileError; put nothing else inside."""
    try:
        yield
    except (pa.ArrowException, ValueError, OSError) as error:
        raise VectorFileError(f"{path!r} cannot be read as {kind}: {first_line(error):.200}") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # raised by libraries in Rust, and no Exception
            raise
        raise VectorFileError(f"{path!r} cannot be read as {kind}: it is damaged") from error


_TEXTS = (pa.string(), pa.large_string(), pa.string_view())


@dataclass(frozen=True, slots=True)
class Table:
    """An Arrow table whose columns are read piece by piece, as often as needed."""

    path: str
    kind: str
    """What ``path`` should be, for messages."""
    schema: pa.Schema
    scan: Callable[[list[str]], Iterable[pa.RecordBatch]]
    """Some columns from the first row on, in order."""

    @classmethod
    def of(cls, data: Any, path: str = "table", kind: str = "an Arrow table") -> "Table":
        """A ``pyarrow.Table`` or a ``pyarrow.dataset.Dataset``."""
        if isinstance(data, pa.Table):
            return cls(path, kind, data.schema, lambda names: data.select(names).to_batches(READ_ROWS))
        return cls(path, kind, data.schema, lambda names: data.to_batches(columns=names, batch_size=READ_ROWS))

    def pieces(self, name: str) -> Iterator[pa.Array]:
        """A column from its first row on. Raises: VectorFileError: damage shows while it is read."""
        with one_sentence(self.path, self.kind):
            batches = iter(self.scan([name]))
        while True:
            with one_sentence(self.path, self.kind):
                if (batch := next(batches, None)) is not None:
                    batch.validate(full=True)
            if batch is None:
                return
            yield batch.column(0)

    def type_of(self, name: str) -> pa.DataType:
        """The type of a column. Raises: VectorFileError: there is none of that name, or several."""
        if (count := self.schema.names.count(name)) != 1:
            has = "no column" if not count else f"{count} columns"
            raise VectorFileError(f"{self.path!r} has {has} {name!r}; there are {', '.join(self.schema.names)}")
        return self.schema.field(name).type

    def texts(self, name: str) -> list[str | None]:
        """A column of text. Raises: VectorFileError: there is no such column, or it is not text."""
        kind = self.type_of(name)
        if (kind.value_type if pa.types.is_dictionary(kind) else kind) not in _TEXTS:
            raise VectorFileError(f"column {name!r} of {self.path!r} is of type {kind}; expected text")
        return [text for piece in self.pieces(name) for text in piece.to_pylist()]

    def keys(self, name: str) -> list[str]:
        """The keys; as :meth:`texts`, and none may be null or empty."""
        keys = self.texts(name)
        filled = [key for key in keys if key]
        if len(filled) < len(keys):
            row = next(row for row, key in enumerate(keys) if not key)
            raise VectorFileError(f"row {row} of {self.path!r} has no key in column {name!r}; every row needs one")
        return filled

    def caption_hashes(self, name: str, num_rows: int) -> NDArray[np.uint64]:
        """The column of caption hashes, where there is one of that name: (n,); else all are unknown."""
        if self.schema.names.count(name) != 1 or self.schema.field(name).type != pa.uint64():
            return unknown_captions(num_rows)
        pieces = [piece.fill_null(store.UNKNOWN_CAPTION).to_numpy() for piece in self.pieces(name)]
        return np.concatenate([np.empty(0, np.uint64), *pieces])

    def made_by(self) -> dict[str, store.FieldSpec]:
        """``column name -> spec`` of the exported fields; empty for tables of others.

        Raises:
            VectorFileError: there is such a record, but it cannot be read.
        """
        record = (self.schema.metadata or {}).get(MADE_BY, b"{}")
        try:
            specs = parse_json(record, dict[str, dict[str, Any]], "it")
            return {name: store.FieldSpec.from_dict(spec) for name, spec in specs.items()}
        except (ValueError, TypeError) as error:
            raise VectorFileError(
                f"the record in {self.path!r} of how its vectors were made cannot be read: {error}"
            ) from error

    def columns(self, key_column: str, names: Mapping[str, str]) -> list[Column]:
        """Columns of vectors; ``names`` as caption field -> column, by default every column of float lists.

        Raises:
            VectorFileError: a column is absent or of another type, a key or vector is null, or there is no row.
        """
        keys = self.keys(key_column)
        if not keys:
            raise VectorFileError(f"{self.path!r} holds no vectors; it has no row")
        made_by = self.made_by()
        if not names:
            vectors = [field.name for field in self.schema if _is_vector(field.type)]
            names = {made_by[name].caption_field if name in made_by else name: name for name in vectors}
        if not names:
            listed = ", ".join(f"{field.name} ({field.type})" for field in self.schema)
            raise VectorFileError(f"{self.path!r} has no column of float lists; there are {listed}")
        return [self._column(keys, field, name, made_by.get(name)) for field, name in names.items()]

    def _column(self, keys: Sequence[str], caption_field: str, name: str, made_by: store.FieldSpec | None) -> Column:
        kind = self.type_of(name)
        if not _is_vector(kind):
            raise VectorFileError(f"column {name!r} of {self.path!r} is of type {kind}; expected lists of floats")
        first = next(self.pieces(name))
        dim = kind.list_size if pa.types.is_fixed_size_list(kind) else pc.list_value_length(first)[0].as_py()
        if not dim:
            raise VectorFileError(f"the vector of key {keys[0]!r} in column {name!r} of {self.path!r} is empty or null")
        return Column(
            caption_field=caption_field,
            keys=keys,
            dim=dim,
            dtype=stored_as(kind.value_type.to_pandas_dtype()),
            read=_RowReader(self, name, keys, dim).read,
            caption_hashes=self.caption_hashes(HASH.format(name), len(keys)),
            made_by=made_by,
        )


def table_source(
    open_table: Callable[[str], AbstractContextManager[Table]], path: str, key_column: str, names: Mapping[str, str]
) -> Source:
    """A table to import; ``names`` as caption field -> column, by default every column of float lists."""

    @contextlib.contextmanager
    def opened() -> Iterator[Sequence[Column]]:
        with open_table(path) as table:
            yield table.columns(key_column, names)

    return Source(path=path, name=Path(path).stem, open=opened)


class _RowReader:
    """Vectors of one column by row number, mostly asked for from its start to its end."""

    def __init__(self, table: Table, name: str, keys: Sequence[str], dim: int) -> None:
        self._table, self._name, self._keys, self._dim = table, name, keys, dim
        self._restart()

    def _restart(self) -> None:
        self._pieces = self._table.pieces(self._name)
        self._first, self._held = 0, pa.array([])

    def read(self, rows: Rows) -> Vectors:
        """Ascending rows (m,) to vectors (m, dim)."""
        if len(rows) and rows[0] < self._first:
            self._restart()
        parts, done = [np.empty((0, self._dim), np.float16)], 0
        while done < len(rows):
            until = int(np.searchsorted(rows, self._first + len(self._held)))
            if until > done:
                parts.append(self._vectors(rows[done:until]))
                done = until
                continue
            self._first += len(self._held)
            self._held = next(self._pieces, None)
            if self._held is None:
                raise VectorFileError(f"{self._table.path!r} has fewer vectors than keys; it has changed since")
        return np.concatenate(parts)

    def _vectors(self, rows: Rows) -> Vectors:
        first, contiguous = int(rows[0]) - self._first, rows[-1] - rows[0] == len(rows) - 1
        chosen = self._held.slice(first, len(rows)) if contiguous else self._held.take(pa.array(rows - self._first))
        lengths = pc.fill_null(pc.list_value_length(chosen), -1).to_numpy(zero_copy_only=False)
        if (wrong := np.flatnonzero(lengths != self._dim)).size:
            length = lengths[wrong[0]]
            has = "is null" if length < 0 else f"has {length} numbers"
            raise self._unfit(rows[wrong[0]], f"{has}; expected {self._dim}")
        numbers = chosen.flatten()
        if numbers.null_count:
            null = int(np.flatnonzero(numbers.is_null().to_numpy(zero_copy_only=False))[0])
            raise self._unfit(rows[null // self._dim], "has a number that is null")
        vectors: Vectors = numbers.to_numpy(zero_copy_only=False).reshape(len(rows), self._dim)
        return vectors

    def _unfit(self, row: int, what: str) -> VectorFileError:
        place = f"of key {self._keys[row]!r} (row {row}) in column {self._name!r} of {self._table.path!r}"
        return VectorFileError(f"the vector {place} {what}")


def _is_vector(kind: pa.DataType) -> bool:
    lists = (pa.types.is_fixed_size_list, pa.types.is_list, pa.types.is_large_list)
    return any(is_list(kind) for is_list in lists) and bool(pa.types.is_floating(kind.value_type))
