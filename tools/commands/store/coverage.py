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
from store.sources.keylist import line_of
from tools.commands.store.base import StoreConfig, first_of
from tools.prepare.downloaded import files_of
from tools.query.coverage import Coverage, cover
from tools.query.printing import printable, progress_bar

SHOWN = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(StoreConfig):
    """Compare the fields of a store with shards or keyed caption files.

    Shows which captions lack a vector, which vectors have no sample, and which were made from an older caption.
    Exit status 1 if a caption lacks its vector or has changed. Vectors without a sample are shown, but are no fault.
    --json prints all keys.

    Example:
        keyclip store coverage cc3m.store --shards 'cc3m/{00000..00331}.tar' --write-missing missing.txt

    Then `keyclip embed --keys missing.txt ...` embeds what is missing.
    """

    shards: tuple[str, ...] = ()
    """Webdataset shards: paths, globs, brace ranges, or @FILE with one shard per line."""
    captions: tuple[str, ...] = ()
    """Keyed caption files instead of shards: .jsonl, .csv, .tsv or .parquet."""
    key_column: str = "key"
    """The column of the keyed files that holds the sample key."""
    keys: Path | None = None
    """Look only at the samples listed in this file, one key per line."""
    fields: tuple[str, ...] = ()
    """Fields to compare; all by default."""
    write_missing: Path | None = None
    """Write the keys of captions that lack a vector in any of the fields to this file, one per line."""
    write_changed: Path | None = None
    """The same for keys whose caption has changed."""
    write_orphans: Path | None = None
    """The same for keys of vectors that have no sample."""
    overwrite: bool = False
    """Replace existing lists."""

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
        caption_fields = tuple(dict.fromkeys(field.spec.caption_field for field in fields))
        chunks = _with_bar(_reader(config, caption_fields), config.json)
        found = cover(fields, chunks, caption_fields, progress_bar(config.json))
        for kind, part in parts.items():
            keys = dict.fromkeys(key for coverage in found for key in getattr(coverage, kind))
            outputs.lines(part).write(map(line_of, keys))
    if config.json:
        print(json.dumps({"fields": {coverage.field: asdict(coverage) for coverage in found}}))
    else:
        for coverage in found:
            _show(coverage)
    return 0 if all(coverage.complete for coverage in found) else 1


def _reader(config: Config, caption_fields: tuple[str, ...]) -> Reader:
    """The samples as embed reads them."""
    settings = EmbedConfig(
        model="",
        store=config.store,
        caption_fields=caption_fields,
        shards=config.shards,
        captions=config.captions,
        key_column=config.key_column,
        keys=config.keys,
        missing="skip",
    )
    return Reader(settings, Ranks())


def _with_bar(reader: Reader, quiet: bool) -> Iterator[Chunk]:
    disabled = True if quiet else None  # None: shown on a terminal
    with tqdm(total=len(reader.sources), desc="read captions", unit=" files", disable=disabled) as bar:
        for chunk in reader:
            yield chunk
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
        print(f"  {len(keys):>12,} {what}{f': {first_of(keys, SHOWN)}' if keys else ''}")
    without = coverage.num_empty + coverage.num_absent
    print(f"  {without:>12,} of {coverage.num_samples:,} samples have no caption: ", end="")
    print(f"{coverage.num_empty:,} empty, {coverage.num_absent:,} without the caption field")
