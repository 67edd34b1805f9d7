"""Captions of webdataset shards or keyed files, read in chunks of keyed rows."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from embedder.reading.tables import READERS, read_rows
from store.common.errors import CaptionFieldError, ConfigError
from store.sources.shards import caption_at, iter_samples, load_json, shard_name

Row = tuple[str, list[str | None]]
"""A sample key and its captions, one per caption field: None where it is empty, ABSENT where there is no such field."""

ABSENT = ""

MissingPolicy = Literal["error", "skip"]
"""What becomes of a sample without the caption field: an error that names it, or a caption that is ABSENT."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Neighbouring samples of one source."""

    source: str
    """Name of the shard or file, without folder and extension."""
    rows: list[Row]
    last: bool
    """Whether the source ends here."""


def shard_rows(shard: str, caption_fields: Sequence[str], missing: MissingPolicy) -> Iterator[Row]:
    """The samples of a shard; a caption field that begins with a dot names a text member (``.txt``).

    Raises:
        CaptionFieldError, DamagedShardError, ShardNotFoundError: see :mod:`store.sources.shards`.
    """
    extensions = {field[1:].lower() if field.startswith(".") else "json" for field in caption_fields}
    in_json = any(not field.startswith(".") for field in caption_fields)
    for key, members in iter_samples(shard, extensions):
        sample = load_json(members["json"], key, shard) if in_json and "json" in members else None
        yield key, _captions(partial(_of_sample, sample, members), caption_fields, key, shard, missing)


def file_rows(file: str, key_column: str, caption_fields: Sequence[str], missing: MissingPolicy) -> Iterator[Row]:
    """The rows of a keyed caption file, recognised by its extension.

    Raises:
        ConfigError: the file is absent, of an unknown kind, or lacks the key column.
        DamagedShardError: a row cannot be read.
        CaptionFieldError: a row lacks a caption field.
    """
    for number, row in enumerate(read_rows(file, [key_column, *caption_fields]), start=1):
        if row.get(key_column) in (None, ""):
            raise ConfigError(
                f"row {number} of {file!r} has no {key_column!r}; "
                f"name the key column with --key-column (there are {', '.join(map(str, row))})"
            )
        key = str(row[key_column])
        yield key, _captions(partial(_of_row, row), caption_fields, key, file, missing)


def _captions(
    read: Callable[[str], str | None], fields: Sequence[str], key: str, source: str, missing: MissingPolicy
) -> list[str | None]:
    captions: list[str | None] = []
    for field in fields:
        try:
            captions.append(read(field))
        except CaptionFieldError as error:
            if missing == "error":
                raise CaptionFieldError(
                    f"sample {key!r} of {source!r}: {error}; --missing skip goes on without such samples"
                ) from None
            captions.append(ABSENT)
    return captions


def _of_sample(sample: dict[str, Any] | None, members: dict[str, bytes], field: str) -> str | None:
    if not field.startswith("."):
        if sample is None:
            raise CaptionFieldError(f"no caption field {field!r}: there is no json member")
        return caption_at(sample, field)
    if field[1:].lower() not in members:
        raise CaptionFieldError(f"there is no {field} member")
    text = members[field[1:].lower()].decode("utf-8", errors="replace")
    return text if text.strip() else None


def _of_row(row: dict[str, Any], field: str) -> str | None:
    return caption_at({"": row[field]}, "") if field in row else caption_at(row, field)


def chunks(source: str, rows: Iterator[Row], size: int, listed: frozenset[str] | None) -> Iterator[Chunk]:
    """Cut rows into chunks of ``size``; only the keys ``listed``, if given. Every source yields a last chunk."""
    if listed is not None:
        rows = (row for row in rows if row[0] in listed)
    rest = list(islice(rows, size))
    while True:
        following = list(islice(rows, size))
        yield Chunk(source, rest, last=not following)
        if not following:
            return
        rest = following


def source_name(source: str) -> str:
    """The first part of the names of a shard's or file's blocks."""
    return Path(source).stem if Path(source).suffix.lower() in READERS else shard_name(source)
