"""Columns of keyed vectors in Arrow tables, which Parquet, Lance and clip-retrieval's metadata are.

A table has a text column of keys and a column of vectors per caption field, and where keyclip wrote it, beside each a
column ``NAME_caption_hash`` (uint64).
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

import store
from store.common.checked import parse_json
from store.common.errors import VectorFileError
from tools.interop.columns import Column, Rows, Vectors, stored_as, unknown_captions
from tools.interop.exporting import Selection

KEY = "key"
HASH = "{}_caption_hash"
MADE_BY = b"keyclip.fields"
"""The schema's metadata: json, column name -> spec of the field that it was exported from."""
READ_ROWS = 512
"""Rows decoded at a time."""

Batches = Callable[[Sequence[str]], Iterator[pa.RecordBatch]]
"""Some columns of a table from its first row on, in order."""


@contextlib.contextmanager
def damage_is_told(path: str, kind: str) -> Iterator[None]:
    """Turn the errors of a library that reads files into one sentence; put nothing else inside."""
    try:
        yield
    except (pa.ArrowException, ValueError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise VectorFileError(f"{path!r} cannot be read as {kind}: {reason:.200}") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # what libraries in Rust raise, which is no Exception
            raise
        raise VectorFileError(f"{path!r} cannot be read as {kind}: it is damaged") from error


def guarded(path: str, kind: str, batches: Batches) -> Batches:
    """The same batches; damage that shows while they are read becomes VectorFileError."""

    def read(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        iterator = iter(batches(columns))
        while True:
            with damage_is_told(path, kind):
                batch = next(iterator, None)
                if batch is not None:
                    batch.validate(full=True)
            if batch is None:
                return
            yield batch

    return read


def text_column(path: str, name: str, schema: pa.Schema, batches: Batches) -> list[str | None]:
    """A column of text, such as the keys.

    Raises:
        VectorFileError: there is no such column, or it is not text.
    """
    _require_one(path, name, schema)
    kind = schema.field(name).type
    if not _is_text(kind.value_type if pa.types.is_dictionary(kind) else kind):
        raise VectorFileError(f"column {name!r} of {path!r} is of type {kind}; expected text")
    return [text for batch in batches([name]) for text in batch.column(0).to_pylist()]


def key_column(path: str, name: str, schema: pa.Schema, batches: Batches) -> list[str]:
    """The keys; as :func:`text_column`, and none may be null or empty."""
    keys = text_column(path, name, schema, batches)
    filled = [key for key in keys if key]
    if len(filled) < len(keys):
        row = next(row for row, key in enumerate(keys) if not key)
        raise VectorFileError(f"row {row} of {path!r} has no key in column {name!r}; every row needs one")
    return filled


def vector_columns(
    path: str, schema: pa.Schema, batches: Batches, key_name: str, names: dict[str, str]
) -> list[Column]:
    """Columns of vectors; ``names`` as caption field -> column, by default every column of float lists.

    Raises:
        VectorFileError: a column is absent or of another type, a key or vector is null, or there is no row.
    """
    keys = key_column(path, key_name, schema, batches)
    if not keys:
        raise VectorFileError(f"{path!r} holds no vectors; it has no row")
    made_by = read_made_by(path, schema)
    if not names:
        vectors = [field.name for field in schema if _is_vector(field.type)]
        names = {made_by[name].caption_field if name in made_by else name: name for name in vectors}
    if not names:
        listed = ", ".join(f"{field.name} ({field.type})" for field in schema)
        raise VectorFileError(f"{path!r} has no column of float lists; there are {listed}")
    columns = [_vector_column(path, schema, batches, keys, field, name) for field, name in names.items()]
    return [replace(c, made_by=made_by.get(name)) for c, name in zip(columns, names.values(), strict=True)]


def read_made_by(path: str, schema: pa.Schema) -> dict[str, store.FieldSpec]:
    """``column name -> spec`` of the fields that columns were exported from; empty for files of others.

    Raises:
        VectorFileError: there is such a record, but it cannot be read.
    """
    record = (schema.metadata or {}).get(MADE_BY, b"{}")
    try:
        specs = parse_json(record, dict[str, dict[str, Any]], "it")
        return {name: store.FieldSpec.from_dict(spec) for name, spec in specs.items()}
    except (ValueError, TypeError) as error:
        raise VectorFileError(f"the record in {path!r} of how its vectors were made cannot be read: {error}") from error


def with_made_by(schema: pa.Schema, selection: Selection) -> pa.Schema:
    """The schema with a record of how the fields were made."""
    specs = {name: field.spec.to_dict() for name, field in selection.fields.items()}
    return schema.with_metadata({MADE_BY: json.dumps(specs, sort_keys=True).encode()})


def _vector_column(
    path: str, schema: pa.Schema, batches: Batches, keys: Sequence[str], caption_field: str, name: str
) -> Column:
    _require_one(path, name, schema)
    kind = schema.field(name).type
    if not _is_vector(kind):
        raise VectorFileError(f"column {name!r} of {path!r} is of type {kind}; expected lists of float numbers")
    dim = kind.list_size if pa.types.is_fixed_size_list(kind) else _first_length(next(batches([name])).column(0))
    if not dim:
        raise VectorFileError(f"the vector of key {keys[0]!r} in column {name!r} of {path!r} is empty or null")
    return Column(
        caption_field=caption_field,
        keys=keys,
        dim=dim,
        dtype=stored_as(kind.value_type.to_pandas_dtype()),
        read=_RowReader(path, name, batches, keys, dim).read,
        caption_hashes=caption_hashes(schema, batches, HASH.format(name), len(keys)),
    )


def caption_hashes(schema: pa.Schema, batches: Batches, name: str, count: int) -> NDArray[np.uint64]:
    """The column of caption hashes, where there is one of that name: (n,); else all are unknown."""
    if schema.names.count(name) != 1 or schema.field(name).type != pa.uint64():
        return unknown_captions(count)
    parts = [batch.column(0).fill_null(store.UNKNOWN_CAPTION).to_numpy() for batch in batches([name])]
    return np.concatenate(parts)


def _require_one(path: str, name: str, schema: pa.Schema) -> None:
    if (count := schema.names.count(name)) != 1:
        has = "no column" if not count else f"{count} columns"
        raise VectorFileError(f"{path!r} has {has} {name!r}; there are {', '.join(schema.names)}")


class _RowReader:
    """Rows of one column, mostly asked for from its start to its end."""

    def __init__(self, path: str, name: str, batches: Batches, keys: Sequence[str], dim: int) -> None:
        self._path, self._name, self._batches, self._keys, self._dim = path, name, batches, keys, dim
        self._restart()

    def _restart(self) -> None:
        self._iterator = self._batches([self._name])
        self._first, self._end = 0, 0
        self._held: pa.Array = None

    def read(self, rows: Rows) -> Vectors:
        """Ascending rows (m,) to vectors (m, dim)."""
        if not len(rows):
            return np.empty((0, self._dim), np.float32)
        if rows[0] < self._first:
            self._restart()
        parts, done = [], 0
        while True:
            upto = int(np.searchsorted(rows, self._end))
            if upto > done:
                parts.append(self._vectors(rows[done:upto]))
                done = upto
            if done == len(rows):
                return np.concatenate(parts)
            try:
                self._held = next(self._iterator).column(0)
            except StopIteration:
                raise VectorFileError(f"{self._path!r} has fewer vectors than keys; it changed meanwhile") from None
            self._first, self._end = self._end, self._end + len(self._held)

    def _vectors(self, rows: Rows) -> Vectors:
        first = int(rows[0]) - self._first
        if rows[-1] - rows[0] == len(rows) - 1:
            chosen = self._held.slice(first, len(rows))
        else:
            chosen = self._held.take(pa.array(rows - self._first))
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
        key = self._keys[row]
        return VectorFileError(
            f"the vector of key {key!r} (row {row}) in column {self._name!r} of {self._path!r} {what}"
        )


def _first_length(lists: pa.Array) -> int:
    length: int | None = pc.list_value_length(lists)[0].as_py()
    return length or 0


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_vector(kind: pa.DataType) -> bool:
    lists = (pa.types.is_fixed_size_list, pa.types.is_list, pa.types.is_large_list)
    return any(is_list(kind) for is_list in lists) and bool(pa.types.is_floating(kind.value_type))


def export_schema(selection: Selection, number: np.dtype[Any]) -> pa.Schema:
    """Keys, for each field its vectors and caption hashes, and how these were made."""
    columns = [pa.field(KEY, pa.string(), nullable=False)]
    for name, field in selection.fields.items():
        columns.append(pa.field(name, pa.list_(pa.from_numpy_dtype(number), field.spec.dim), nullable=False))
        columns.append(pa.field(HASH.format(name), pa.uint64(), nullable=False))
    return with_made_by(pa.schema(columns), selection)


def export_batches(
    selection: Selection, keys: Sequence[str], schema: pa.Schema, number: np.dtype[Any]
) -> Iterator[pa.RecordBatch]:
    """Rows of such a table, some at a time."""
    for some, columns in selection.vectors(keys, number.name):
        arrays = [pa.array(some, pa.string())]
        for (name, field), vectors in zip(selection.fields.items(), columns, strict=True):
            kind = schema.field(name).type
            arrays.append(pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), type=kind))
            arrays.append(pa.array(field.caption_hashes(some)))
        yield pa.record_batch(arrays, schema=schema)
