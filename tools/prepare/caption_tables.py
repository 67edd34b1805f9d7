"""Caption tables as they are published: rows with captions, and a column that refers to their samples."""

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import xxhash

from embedder.reading.tables import read_rows
from store.common.errors import CaptionFieldError, ConfigError, DamagedShardError
from store.sources.shards import expand_shards
from tools.prepare.database import BATCH, batched
from tools.prepare.matching import Rows

RESERVED = ("key", "matched_by", "candidates")
"""Columns that the outputs have of their own."""

_TEXT = pa.large_string()
_LIST = pa.large_list(pa.large_string())


class CaptionTables:
    """Rows of one or several files, which can be read several times.

    Attributes:
        column: the column that refers to the sample: its key, url or path.
        fields: columns of captions: (name, whether it holds lists of captions).
        schema: the same columns for Arrow.
    """

    def __init__(self, patterns: Sequence[str], column: str, fields: Sequence[str], column_flag: str) -> None:
        """Raises: ConfigError, CaptionFieldError, DamagedShardError: a file's first row is absent or lacks a column."""
        self.files = [f for p in patterns for f in (expand_shards([p]) if set("*?[{@") & set(p) else [p])]
        self.column = column
        if wrong := {column, *RESERVED} & set(fields):
            raise ConfigError(f"--caption-fields names {min(wrong)!r}, which cannot be a column of captions")
        for number, file in enumerate(self.files):
            first = next(read_rows(file), None)
            if first is None:
                raise ConfigError(f"{file!r} holds no rows; expected a header or columns, and captions below")
            there = ", ".join(map(repr, first))
            if column not in first:
                raise ConfigError(
                    f"{file!r} has no column {column!r}; there are {there}: name the column of keys, urls or paths "
                    f"with {column_flag}"
                )
            if number == 0:
                names = fields or [name for name in first if name not in (column, *RESERVED)]
                self.fields = [(name, isinstance(first.get(name), list)) for name in names]
            if absent := [name for name, _ in self.fields if name not in first]:
                raise CaptionFieldError(f"{file!r} has no caption column {absent[0]!r}; there are {there}")
        if not self.fields:
            raise ConfigError(f"{self.files[0]!r} has no column besides {column!r}; expected captions")
        self.schema = pa.schema([(name, _LIST if is_list else _TEXT) for name, is_list in self.fields])

    def rows(self, num_rows: int = BATCH) -> Iterator[Rows]:
        """All rows in chunks; digests are XXH3-64 of the captions. Raises: DamagedShardError: a row is damaged."""
        for chunk in batched(self._rows(), num_rows):
            references, digests, captions = zip(*chunk, strict=True)
            columns = list(zip(*captions, strict=True))
            arrays = [pa.array(values, field.type) for values, field in zip(columns, self.schema, strict=True)]
            yield Rows(references, digests, pa.Table.from_arrays(arrays, schema=self.schema))

    def _rows(self) -> Iterator[tuple[str | None, int, list[Any]]]:
        columns = [self.column, *(name for name, _ in self.fields)]
        for file in self.files:
            for number, row in enumerate(read_rows(file, columns), start=1):
                reference = row.get(self.column)
                reference = None if reference is None or reference == "" else str(reference)
                captions = [_caption(row.get(name), name, is_list, number, file) for name, is_list in self.fields]
                try:
                    (reference or "").encode()
                    digest = xxhash.xxh3_64_intdigest("\0".join(map(str, captions)).encode())
                except UnicodeEncodeError:
                    raise DamagedShardError(
                        f"row {number} of {file!r} holds half a surrogate pair, which is no text"
                    ) from None
                yield reference, digest, captions


def _caption(value: object, name: str, is_list: bool, number: int, file: str) -> str | list[str | None] | None:
    """A caption, or a list of captions, as the first row of the tables has it; None where there is none."""
    if value is None or value == "":
        return None
    if is_list and isinstance(value, list):
        return [None if part is None else str(part) for part in value]
    if is_list or isinstance(value, list | dict):
        raise DamagedShardError(
            f"row {number} of {file!r} holds {type(value).__name__} as {name!r}, the first row "
            f"{'a list' if is_list else 'text'}; name the columns of captions with --caption-fields"
        )
    return str(value)
