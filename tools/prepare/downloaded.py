"""The samples of a downloaded data set: keys, and a value of each sample's json, from tars or from their metadata.

img2dataset writes ``00012.parquet`` next to ``00012.tar``, with a row for every url that it tried. Where only keys and
urls are needed, reading these files instead of the tars saves reading every image's header.
"""

from collections.abc import Iterator, Sequence

from tqdm import tqdm

from embedder.reading.tables import read_rows
from store.common.errors import ConfigError, DamagedShardError
from store.sources.keylist import is_listable
from store.sources.shards import expand_shards, iter_samples, load_json

Sample = tuple[str, str | None]
"""A sample key, and a value of its json or metadata: None where the sample has none."""


def iter_downloaded(patterns: Sequence[str], field: str | None, progress: bool = True) -> Iterator[Sample]:
    """Every sample of the shards (``.tar``) or metadata files (``.parquet``), in their order.

    ``field`` names the value to read in each sample's json or metadata row; without one the value is the key.

    Raises:
        ConfigError: a metadata file lacks a column; DamagedShardError: a file is damaged, or a key has a line break.
    """
    files = expand_shards(patterns)
    for file in tqdm(files, "samples", unit="shard", disable=None if progress else True):
        for key, value in _metadata(file, field) if file.endswith(".parquet") else _tar(file, field):
            if not is_listable(key):
                raise DamagedShardError(
                    f"sample key {key!r:.100} of {file!r} is no line of a key list; rename the sample"
                )
            text = None if value is None or value == "" else str(value)
            yield key, text if field else key


def files_of(patterns: Sequence[str]) -> list[str]:
    """The files that patterns name, and the lists (``@FILE``) that name them: an output must not replace any."""
    lists = [pattern[1:] for pattern in patterns if pattern.startswith("@")]
    return [*lists, *expand_shards(patterns)] if patterns else []


def _metadata(file: str, field: str | None) -> Iterator[tuple[str, object]]:
    columns = ["key", "status", *([field] if field else [])]
    for row in read_rows(file, columns):
        if missing := [name for name in columns if name not in row and name != "status"]:
            raise ConfigError(
                f"{file!r} has no column {missing[0]!r} (there are {', '.join(row)}); give the parquet files that "
                "img2dataset wrote next to the shards, or the shards themselves"
            )
        if row.get("status", "success") == "success":
            yield str(row["key"]), row.get(field) if field else None


def _tar(file: str, field: str | None) -> Iterator[tuple[str, object]]:
    for key, members in iter_samples(file, ["json"] if field else []):
        yield key, load_json(members["json"], key, file).get(field) if field and "json" in members else None
