"""``keyclip store coverage``: which captions have their vector."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

import store
from embedder.reading.captions import Chunk
from embedder.run.config import EmbedConfig
from embedder.run.reader import Reader
from store.common.errors import ConfigError
from store.common.outputs import KEY_LIST, Outputs
from store.common.ranks import Ranks
from store.common.settings import Positional
from store.sources.keylist import line_of
from tools.prepare.downloaded import files_of
from tools.query.coverage import Coverage, cover
from tools.query.printing import printable, progress_bar

SHOWN = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Compare the fields of a store with shards or keyed caption files.

    Which captions lack a vector, which vectors have no sample, which were made from another caption than today's?
    Exit status 1 if a caption lacks its vector or has changed. Vectors without a sample are told, but are no fault.

    Example:
        keyclip store coverage cc3m.store --shards 'cc3m/{00000..00331}.tar' --write-missing missing.txt

    Then `keyclip embed --keys missing.txt ...` embeds what is missing.
    """

    store: Positional[str]
    """Folder or URL of the store."""
    shards: tuple[str, ...] = ()
    """Webdataset shards: paths, globs, brace ranges, or @FILE with one shard a line."""
    captions: tuple[str, ...] = ()
    """Keyed caption files instead of shards: .jsonl, .csv, .tsv or .parquet."""
    key_column: str = "key"
    """The column of the keyed files that holds the sample key."""
    keys: Path | None = None
    """Look only at the samples listed in this file, one key a line."""
    fields: tuple[str, ...] = ()
    """Fields to compare; all by default."""
    write_missing: Path | None = None
    """Write the keys of captions that lack a vector in any of the fields into this file, one a line."""
    write_changed: Path | None = None
    """The same for keys whose caption has changed."""
    write_orphans: Path | None = None
    """The same for keys of vectors that have no sample."""
    overwrite: bool = False
    """Replace lists that are there."""
    json: bool = False
    """Print json, with all keys."""

    def __post_init__(self) -> None:
        if bool(self.shards) == bool(self.captions):
            raise ConfigError("give either --shards or --captions")


def run(config: Config) -> int:
    """Print what is covered."""
    opened = store.open(config.store)
    fields = [opened.field(name) for name in config.fields or opened.survey()]
    if not fields:
        raise ConfigError(f"the store {opened.path!r} has no fields yet; run `keyclip embed`")
    lists = {"missing": config.write_missing, "changed": config.write_changed, "orphans": config.write_orphans}
    inputs = [config.store, config.keys, *config.captions, *files_of(config.shards)]
    with Outputs(inputs, config.overwrite) as outputs:
        parts = {kind: outputs.claim(file, KEY_LIST) for kind, file in lists.items() if file is not None}
        chunks = _chunks(config, [field.spec.caption_field for field in fields])
        found = cover(fields, chunks, progress_bar(config.json))
        for kind, part in parts.items():
            keys = dict.fromkeys(key for coverage in found for key in getattr(coverage, kind))
            outputs.lines(part).write(map(line_of, keys))
    if config.json:
        print(json.dumps({"fields": {coverage.field: asdict(coverage) for coverage in found}}))
    else:
        for coverage in found:
            _show(coverage)
    return 0 if all(coverage.complete for coverage in found) else 1


def _chunks(config: Config, caption_fields: list[str]) -> Iterator[Chunk]:
    """The samples as embed reads them; each row has a caption for every field, in their order."""
    unique = tuple(dict.fromkeys(caption_fields))
    reader = Reader(
        EmbedConfig(
            model="",
            store=config.store,
            caption_fields=unique,
            shards=config.shards,
            captions=config.captions,
            key_column=config.key_column,
            keys=config.keys,
            missing="skip",
        ),
        Ranks(),
    )
    columns = [unique.index(caption_field) for caption_field in caption_fields]
    quiet = True if config.json else None  # None: unless there is a terminal
    with tqdm(total=len(reader.sources), desc="read captions", unit=" files", disable=quiet) as bar:
        for chunk in reader:
            rows = [(key, [captions[column] for column in columns]) for key, captions in chunk.rows]
            yield Chunk(chunk.source, rows, chunk.last)
            bar.update(chunk.last)


def _show(coverage: Coverage) -> None:
    print(f"{printable(coverage.field)}: {coverage.num_vectors:,} vectors, for the captions {coverage.caption_field!r}")
    with_caption = coverage.num_covered + len(coverage.missing) + len(coverage.changed)
    unknown = f" ({coverage.num_unknown:,} of unknown captions)" if coverage.num_unknown else ""
    print(f"  {coverage.num_covered:>12,} of {with_caption:,} captions have their vector{unknown}")
    for keys, what in (
        (coverage.missing, "lack a vector"),
        (coverage.changed, "have the vector of another caption: they changed, or these are other data"),
        (coverage.orphans, "vectors have no sample here"),
    ):
        named = ", ".join(map(printable, keys[:SHOWN])) + (", ..." if len(keys) > SHOWN else "")
        print(f"  {len(keys):>12,} {what}{f': {named}' if keys else ''}")
    without = coverage.num_empty + coverage.num_absent
    print(f"  {without:>12,} of {coverage.num_samples:,} samples have no caption: ", end="")
    print(f"{coverage.num_empty:,} empty, {coverage.num_absent:,} without the caption field")
