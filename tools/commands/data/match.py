"""``keyclip data match``: keys for captions that lost them, found by url, path or file name."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from store.common.errors import ConfigError
from tools.prepare.joining import as_dict, describe, join_captions, places
from tools.prepare.matching import Comparison
from tools.prepare.recaptions import CaptionTables
from tools.prepare.urls import NAMES, url_forms


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Find the sample that each row of a caption table belongs to, by url, and write the captions by sample key.

    A url is compared in three forms, and a row takes the first in which any sample is equal to it: url (without
    scheme, www., case of the host, port, fragment, percent-encoding, trailing slash), path (without host and query,
    as pictures move between hosts) and name (the file name alone, without extension and case). Rows that fit several
    samples, or several rows that contradict each other, are not guessed at: they go to OUTPUT-ambiguous.parquet. Rows
    without a sample go to OUTPUT-unmatched.parquet, keys of samples without a row to OUTPUT-without-captions.txt. The
    output is a keyed caption file for `keyclip embed --captions`, in the shards' order; its column matched_by tells
    the form.

    Example:
        keyclip data match --shards 'yfcc15m/*.parquet' --tables yfcc15m_3long_3short_1raw_captions_url.csv
            --output captions.parquet
    """

    shards: tuple[str, ...]
    """Shards, or the .parquet files that img2dataset wrote beside them (much faster): paths, globs, brace ranges."""
    tables: tuple[str, ...]
    """Caption tables: .csv, .tsv, .json, .jsonl or .parquet; globs and brace ranges too."""
    output: Path
    """Where the captions go: a .parquet file with the columns key, one per caption field, and matched_by."""
    url_column: str = "Image Path"
    """The tables' column of urls or paths; DreamLIP's is the default."""
    sample_url: str = "url"
    """Where the samples' json or metadata has the url."""
    by: tuple[Literal["url", "path", "name"], ...] = ("url", "path", "name")
    """Forms to compare, the most exact first whatever the order here."""
    caption_fields: tuple[str, ...] = ()
    """The tables' columns of captions. Default: all but the url, and but a column called key."""
    overwrite: bool = False
    """Replace outputs that are there."""
    json: bool = False
    """Print the counts as json."""

    def __post_init__(self) -> None:
        places(self.output)
        if not self.by:
            raise ConfigError("--by names no form; expected some of url, path, name")


def run(config: Config) -> None:
    """Join by url."""
    tables = CaptionTables(config.tables, config.url_column, config.caption_fields, "--url-column")
    which = [place for place, name in enumerate(NAMES) if name in config.by]
    by_url = Comparison([NAMES[place] for place in which], lambda url: [url_forms(url)[place] for place in which])
    counts = join_captions(
        config.shards, config.sample_url, tables, by_url, config.output, config.overwrite, config.json
    )
    print(json.dumps(as_dict(counts, config.output)) if config.json else describe(counts, config.output))
