"""Rows of keyed files, jsonl, json, csv, tsv and parquet: one dict per row, read as a stream."""

import csv
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from store.common.checked import json_object
from store.common.errors import ConfigError, DamagedShardError, first_line

Row = dict[str, Any]

_BETWEEN_ROWS = re.compile(r"[ \t\r\n,\[\]]*")

LONGEST_VALUE = 2**26
"""Characters of one value (csv) or one row (json), at most: in a longer one a quote or bracket is not closed."""


def read_rows(file: str, columns: Sequence[str] | None = None) -> Iterator[Row]:
    """The rows of a file, column -> value, read by its extension; values of csv and tsv are text.

    csv may hold quotes and line breaks inside quotes, and begin with a byte order mark. json is an array of objects, or
    objects one after the other. Of a parquet file only ``columns`` are read, if all of them are there.

    Raises:
        ConfigError: there is no such file, or it is of an unknown kind.
        DamagedShardError: a row cannot be read; names the file and the row.
    """
    path = Path(file)
    if path.suffix.lower() not in READERS:
        raise ConfigError(f"caption file {file!r} is not one of {', '.join(READERS)}")
    if not path.is_file():
        raise ConfigError(f"no such caption file: {file!r}")
    return READERS[path.suffix.lower()](path, columns)


def _jsonl(path: Path, columns: Sequence[str] | None) -> Iterator[Row]:
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if not (line := line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line).strip():
                continue
            try:
                row = json_object(line, f"line {number} of {str(path)!r}")
            except ValueError as error:
                raise DamagedShardError(str(error)) from error
            yield row


def _json(path: Path, columns: Sequence[str] | None) -> Iterator[Row]:
    """Objects between whitespace, commas and the brackets of an array, decoded as the text comes in."""
    decode = json.JSONDecoder().raw_decode
    text, number, size, first, last = "", 0, 2**20, "", ""
    try:
        with path.open(encoding="utf-8-sig") as stream:
            while True:
                more = stream.read(size)
                first, last = first or more.lstrip()[:1], more.rstrip()[-1:] or last
                text, at = text.lstrip(" \t\r\n,[]") + more, 0
                while (at := _BETWEEN_ROWS.match(text, at).end()) < len(text):  # type: ignore[union-attr]
                    try:
                        row, at = decode(text, at)
                    except json.JSONDecodeError as error:
                        if not more or len(text) - at > LONGEST_VALUE:
                            raise DamagedShardError(f"{_row(number + 1, path)} is not json: {error.msg}") from error
                        break
                    except (ValueError, RecursionError) as error:  # a number of too many digits, nested too deeply
                        raise DamagedShardError(f"{_row(number + 1, path)} cannot be decoded: {error}") from error
                    number += 1
                    if not isinstance(row, dict):
                        raise DamagedShardError(f"{_row(number, path)} is not a json object")
                    yield row
                text = text[at:]
                size = max(2**20, len(text))  # a long row is decoded again as often as its length doubles
                if not more:
                    break
        if first == "[" and last != "]":
            raise DamagedShardError(f"{str(path)!r} ends after row {number}, inside its array; copy it again")
    except UnicodeDecodeError as error:
        raise DamagedShardError(f"{str(path)!r} is not UTF-8 text after row {number}: {error.reason}") from error


def _csv(path: Path, columns: Sequence[str] | None) -> Iterator[Row]:
    csv.field_size_limit(LONGEST_VALUE)  # the default refuses captions above 128 KiB
    number = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.reader(stream, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
            if not (header := next(rows, [])):
                return
            if repeated := next((name for place, name in enumerate(header) if name and name in header[:place]), None):
                raise DamagedShardError(f"{str(path)!r} has two columns {repeated!r}; give each its own name")
            for number, values in enumerate(rows, start=1):
                if len(values) != len(header):
                    if not values:
                        continue
                    raise DamagedShardError(
                        f"{_row(number, path)} has {len(values)} columns, the header {len(header)} "
                        f"({', '.join(header)}); quote values that hold separators or line breaks"
                    )
                yield dict(zip(header, values, strict=True))
    except csv.Error as error:
        raise DamagedShardError(f"{_row(number + 1, path)} cannot be read as csv: {error}") from error
    except UnicodeDecodeError as error:
        raise DamagedShardError(
            f"{str(path)!r} is not UTF-8 text after row {number}: {error.reason}; convert it, for example with iconv"
        ) from error


def _parquet(path: Path, columns: Sequence[str] | None) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            there = set(file.schema_arrow.names)
            wanted = {c if c in there else c.split(".")[0] for c in columns or there}
            for batch in file.iter_batches(batch_size=8192, columns=sorted(wanted if there >= wanted else there)):
                batch.validate(full=True)
                yield from _without_times(batch, path).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise DamagedShardError(f"{str(path)!r} cannot be read as parquet: {first_line(error)}") from error


def _without_times(batch: Any, path: Path) -> Any:
    """Rows with dates and times as text: a file can hold dates that Python cannot.

    Raises:
        DamagedShardError: there are dates or times within lists or structs.
    """
    import pyarrow as pa

    fields = []
    for column in batch.schema:
        if _has_times(column.type) and not pa.types.is_temporal(column.type):
            raise DamagedShardError(
                f"column {column.name!r} of {str(path)!r} is of type {column.type}; expected no dates or times in it"
            )
        fields.append(column.with_type(pa.string()) if pa.types.is_temporal(column.type) else column)
    return batch.cast(pa.schema(fields))


def _has_times(kind: Any) -> bool:
    import pyarrow as pa

    parts = [kind.value_type] if pa.types.is_dictionary(kind) else []
    parts += [kind.field(place).type for place in range(kind.num_fields)]
    return bool(pa.types.is_temporal(kind)) or any(map(_has_times, parts))


def _row(number: int, path: Path) -> str:
    return f"row {number} of {str(path)!r}"


READERS: dict[str, Callable[[Path, Sequence[str] | None], Iterator[Row]]] = {
    ".jsonl": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
}
