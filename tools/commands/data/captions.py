"""``keyclip data captions``: captions of a table, brought to the samples of shards by key."""

from dataclasses import dataclass

from store.common.settings import Padding
from tools.prepare.joining import JoinConfig, join_captions
from tools.prepare.matching import Comparison


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(JoinConfig):
    """Bring recaptions that come as a separate keyed table to the samples of image shards.

    Shards are never rewritten. The output is a keyed caption file for `keyclip embed --captions`, in the shards' order.
    Next to it are written the rows that belong to no sample (OUTPUT-unmatched.parquet), the rows that contradict each
    other (OUTPUT-ambiguous.parquet) and the keys of samples without captions (OUTPUT-without-captions.txt). Exit status
    1, and nothing written, if no row belongs to any sample. Where the keys were lost, `keyclip data match` finds them.

    Example:
        keyclip data captions --shards 'cc3m/{00000..00331}.tar' --tables recaptions.csv --output captions.parquet
    """

    key_column: str = "key"
    """The tables' column of sample keys."""
    pad_keys: Padding = 0
    """Digits of a sample key: 12 becomes 000000012 with 9. For tables whose keys lost their leading zeros."""


def run(config: Config) -> None:
    """Join by key."""
    by_key = Comparison(("key",), lambda key: (key.zfill(config.pad_keys) if key.isdecimal() else key,))
    join_captions(config, config.key_column, "--key-column", by_key)
