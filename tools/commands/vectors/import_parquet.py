"""``keyclip vectors import parquet``: Parquet files of keyed vectors."""

from dataclasses import dataclass

from store.common.settings import Positional
from store.sources.shards import expand_shards
from tools.interop.captions import KnownCaptions
from tools.interop.columns import column_names
from tools.interop.config import CaptionedImportConfig
from tools.interop.formats.parquet import parquet_sources
from tools.interop.importing import import_vectors


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(CaptionedImportConfig):
    """Import Parquet files with a text column of sample keys and columns of float lists, all of one length.

    Files are decoded in pieces, however large their row groups are. A file is imported as a whole or not at all; the
    same command again imports what is missing. Hashes of captions come from --shards or --captions, or from the column
    NAME_caption_hash that the export writes; else they are unknown.

    Example:
        keyclip vectors import parquet 'vectors/*.parquet' --caption-fields captions.0=embedding --key-column id
            --store cc3m.store --model sentence-transformers/all-MiniLM-L6-v2 --kind sentence
    """

    files: Positional[tuple[str, ...]]
    """Parquet files: paths, globs, brace ranges, or @FILE with one a line."""
    key_column: str = "key"
    """The column that holds the sample key."""
    caption_fields: tuple[str, ...] = ()
    """CAPTION_FIELD or CAPTION_FIELD=COLUMN: what to import. Default: every column of float lists."""


def run(config: Config) -> None:
    """Import and report."""
    names = column_names(config.caption_fields)
    sources = parquet_sources(expand_shards(config.files), config.key_column, names)
    report = import_vectors(config, sources, KnownCaptions.named(config, list(names)))
    print(report.as_json() if config.json else report)
