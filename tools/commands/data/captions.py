"""``keyclip data captions``: captions from a table, brought to the samples of shards by key."""

import json
from dataclasses import dataclass
from pathlib import Path

from store.common.settings import Padding
from tools.prepare.joining import as_dict, describe, join_captions, places
from tools.prepare.matching import Comparison
from tools.prepare.recaptions import CaptionTables


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Bring recaptions that come as a separate keyed table to the samples of image shards.

    Shards are never rewritten. The output is a keyed caption file for `keyclip embed --captions`, in the shards' order.
    Beside it stand the rows that belong to no sample (OUTPUT-unmatched.parquet), the rows that contradict each other
    (OUTPUT-ambiguous.parquet) and the keys of samples without captions (OUTPUT-without-captions.txt). Exit status 1,
    and nothing written, if no row belongs to any sample. Where the keys were lost, `keyclip data match` finds them.

    Example:
        keyclip data captions --shards 'cc3m/{00000..00331}.tar' --tables recaptions.csv --output captions.parquet
    """

    shards: tuple[str, ...]
    """Shards, or the .parquet files that img2dataset wrote beside them (much faster): paths, globs, brace ranges."""
    tables: tuple[str, ...]
    """Caption tables: .csv, .tsv, .json, .jsonl or .parquet; globs and brace ranges too."""
    output: Path
    """Where the captions go: a .parquet file with the columns key and one per caption field."""
    key_column: str = "key"
    """The tables' column of sample keys."""
    pad_keys: Padding = 0
    """Digits of a sample key: 12 becomes 000000012 with 9. For tables whose keys lost their leading zeros."""
    caption_fields: tuple[str, ...] = ()
    """The tables' columns of captions. Default: all but the key."""
    overwrite: bool = False
    """Replace outputs that are there."""
    json: bool = False
    """Print the counts as json."""

    def __post_init__(self) -> None:
        places(self.output)


def run(config: Config) -> None:
    """Join by key."""
    tables = CaptionTables(config.tables, config.key_column, config.caption_fields, "--key-column")
    by_key = Comparison(("key",), lambda key: (key.zfill(config.pad_keys) if key.isdecimal() else key,))
    counts = join_captions(config.shards, None, tables, by_key, config.output, config.overwrite, config.json)
    print(json.dumps(as_dict(counts, config.output)) if config.json else describe(counts, config.output))
