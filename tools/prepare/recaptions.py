"""Caption tables as they are published: rows with captions, and a column that tells which sample they belong to."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import xxhash

from embedder.reading.tables import Row, read_rows
from store.common.errors import CaptionFieldError, ConfigError, DamagedShardError
from store.sources.shards import expand_shards
from tools.prepare.database import BATCH, batched
from tools.prepare.matching import Rows

RESERVED = ("key", "matched_by", "candidates")
"""Columns that the outputs have of their own."""


class CaptionTables:
    """Rows of one or several files, read from the start as often as asked for.

    Attributes:
        files: the tables, in their order.
        column: the column that tells the sample.
        fields: columns of captions: (name, whether it holds lists of captions).
    """

    def __init__(self, patterns: Sequence[str], column: str, fields: Sequence[str], column_flag: str) -> None:
        """Looks at the first row of every file.

        Raises:
            ConfigError: a file is not there, of an unknown kind, holds no row, or lacks the column.
            CaptionFieldError: a file lacks a caption field.
            DamagedShardError: a file cannot be read.
        """
        self.files = [f for p in patterns for f in (expand_shards([p]) if any(c in p for c in "*?[{@") else [p])]
        self.column = column
        if wrong := {column, *RESERVED} & set(fields):
            raise ConfigError(f"--caption-fields names {min(wrong)!r}, which cannot be a column of captions")
        for number, file in enumerate(self.files):
            first = next(read_rows(file), None)
            if first is None:
                raise ConfigError(f"{file!r} holds no rows; expected a header or columns, and captions below")
            if column not in first:
                raise ConfigError(
                    f"{file!r} has no column {column!r}; there are {', '.join(map(repr, first))}: "
                    f"name the one that tells the sample with {column_flag}"
                )
            if number == 0:
                names = fields or [name for name in first if name not in (column, *RESERVED)]
                self.fields = [(name, isinstance(first.get(name), list)) for name in names]
            if absent := [name for name, _ in self.fields if name not in first]:
                raise CaptionFieldError(
                    f"{file!r} has no caption column {absent[0]!r}; there are {', '.join(map(repr, first))}"
                )
        if not self.fields:
            raise ConfigError(f"{self.files[0]!r} has no column beside {column!r}; expected captions")
        self.schema = pa.schema([pa.field(n, _LIST if is_list else _TEXT) for n, is_list in self.fields])

    def rows(self, num_rows: int = BATCH) -> Iterator[Rows]:
        """All rows in chunks of ``num_rows``; the digest of a row is XXH3-64 of its captions.

        Raises:
            DamagedShardError: a row cannot be read, or holds what is no text.
        """
        for chunk in batched(self._rows(), num_rows):
            said = [_digest(place, told, captions) for place, told, captions in chunk]
            yield Rows([told for _, told, _ in chunk], said, self._table([captions for *_, captions in chunk]))

    def _rows(self) -> Iterator[tuple["_Place", str | None, list[Any]]]:
        columns = [self.column, *(name for name, _ in self.fields)]
        for file in self.files:
            for number, row in enumerate(read_rows(file, columns), start=1):
                told, place = row.get(self.column), _Place(number, file)
                yield place, None if told is None or told == "" else str(told), self._captions(row, place)

    def _table(self, rows: Sequence[Sequence[Any]]) -> pa.Table:
        """Captions of rows as a table with the columns ``fields``."""
        columns = list(zip(*rows, strict=True)) or [()] * len(self.schema)
        arrays = [pa.array(values, field.type) for values, field in zip(columns, self.schema, strict=True)]
        return pa.Table.from_arrays(arrays, schema=self.schema)

    def _captions(self, row: Row, place: "_Place") -> list[Any]:
        captions: list[Any] = []
        for name, is_list in self.fields:
            value = row.get(name)
            if value is None or value == "":
                captions.append(None)
            elif isinstance(value, str) and not is_list:
                captions.append(value)
            elif is_list and isinstance(value, list):
                captions.append([None if part is None else str(part) for part in value])
            elif is_list or isinstance(value, list | dict):
                expected = "a list" if is_list else "text"
                raise DamagedShardError(
                    f"{place} holds {type(value).__name__} as {name!r}, the first row {expected}; "
                    "name the columns of captions with --caption-fields"
                )
            else:
                captions.append(str(value))
        return captions


def _digest(place: "_Place", told: str | None, captions: Sequence[Any]) -> int:
    try:
        (told or "").encode()
        return xxhash.xxh3_64_intdigest("\0".join(map(str, captions)).encode())
    except UnicodeEncodeError:
        raise DamagedShardError(f"{place} holds half a surrogate pair, which is no text") from None


class _Place(NamedTuple):
    number: int
    file: str

    def __str__(self) -> str:
        return f"row {self.number} of {self.file!r}"


_TEXT = pa.large_string()
_LIST = pa.large_list(pa.large_string())
