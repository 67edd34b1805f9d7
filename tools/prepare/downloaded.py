"""The samples of a downloaded data set: keys, and a value of each sample's json, from tars or from their metadata.

img2dataset writes ``00012.parquet`` beside ``00012.tar``, with a row for every url that it tried. Where only keys and
urls are needed, reading these instead of the tars saves reading every image's header.
"""

from collections.abc import Iterator, Sequence

from tqdm import tqdm

from embedder.reading.tables import read_rows
from store.common.errors import ConfigError, DamagedShardError
from store.sources.keylist import is_listable
from store.sources.shards import expand_shards, iter_samples, load_json

Sample = tuple[str, str | None]
"""A sample key, and the value asked for: None where the sample has none."""


def iter_downloaded(patterns: Sequence[str], field: str | None, progress: bool = True) -> Iterator[Sample]:
    """Every sample of the shards (``.tar``) or metadata files (``.parquet``), in their order.

    ``field`` names the value to read of each sample's json or metadata row; without one the value is the key. A sample
    key that holds a line break cannot stand in a key list and is refused.

    Raises:
        ShardNotFoundError, DamagedShardError: a file is not there or cannot be read.
        ConfigError: a metadata file has no column ``key``, or none called ``field``.
    """
    files = expand_shards(patterns)
    for file in tqdm(files, "samples", unit="shard", disable=None if progress else True):
        for key, value in _metadata(file, field) if file.endswith(".parquet") else _tar(file, field):
            if not is_listable(key):
                raise DamagedShardError(
                    f"sample key {key!r:.100} of {file!r} cannot stand in a key list, where it would be a line of "
                    "UTF-8 text; rename the sample"
                )
            yield key, value


def files_of(patterns: Sequence[str]) -> list[str]:
    """The files that patterns name, and the lists (``@FILE``) that name them: what an output must not replace."""
    lists = [pattern[1:] for pattern in patterns if pattern.startswith("@")]
    return [*lists, *expand_shards(patterns)] if patterns else []


def _metadata(file: str, field: str | None) -> Iterator[Sample]:
    columns = ["key", "status", *([field] if field else [])]
    for row in read_rows(file, columns):
        if missing := [name for name in columns if name not in row and name != "status"]:
            raise ConfigError(
                f"{file!r} has no column {missing[0]!r} (there are {', '.join(row)}); give the parquet files that "
                "img2dataset wrote beside the shards, or the shards themselves"
            )
        if row.get("status", "success") == "success":
            yield str(row["key"]), _text(row[field]) if field else str(row["key"])


def _tar(file: str, field: str | None) -> Iterator[Sample]:
    for key, members in iter_samples(file, ["json"] if field else []):
        if field is None:
            yield key, key
        else:
            yield key, _text(load_json(members["json"], key, file).get(field)) if "json" in members else None


def _text(value: object) -> str | None:
    return None if value is None or value == "" else str(value)
