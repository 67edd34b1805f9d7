"""``keyclip data match``: keys for captions that lost them, found by url, path or file name."""

from dataclasses import dataclass
from typing import Literal

from store.common.errors import ConfigError
from tools.prepare.joining import JoinConfig, join_captions
from tools.prepare.matching import Comparison
from tools.prepare.urls import NAMES, url_forms


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(JoinConfig):
    """Find the sample that each row of a caption table belongs to, by url, and write the captions by sample key.

    A url is compared in three forms, and a row takes the first in which any sample is equal to it: url (without
    scheme, www., case of the host, port, fragment, percent-encoding, trailing slash), path (without host and query,
    as pictures move between hosts) and name (the file name alone, without extension and case). Rows that fit several
    samples, or several rows that contradict each other, are written to OUTPUT-ambiguous.parquet. Rows without a sample
    are written to OUTPUT-unmatched.parquet, keys of samples without a row to OUTPUT-without-captions.txt. The output is
    a keyed caption file for `keyclip embed --captions`, in the shards' order; its column matched_by names the form.

    Example:
        keyclip data match --shards 'yfcc15m/*.parquet' --tables yfcc15m_3long_3short_1raw_captions_url.csv
            --output captions.parquet
    """

    url_column: str = "Image Path"
    """The tables' column of urls or paths; DreamLIP's is the default."""
    sample_url: str = "url"
    """Name of the url in the samples' json or metadata."""
    by: tuple[Literal["url", "path", "name"], ...] = ("url", "path", "name")
    """Forms to compare, the most exact first whatever the order here."""

    def __post_init__(self) -> None:
        JoinConfig.__post_init__(self)
        if not self.by:
            raise ConfigError("--by names no form; expected some of url, path, name")


def run(config: Config) -> None:
    """Join by url."""
    which = [place for place, name in enumerate(NAMES) if name in config.by]
    by_url = Comparison([NAMES[place] for place in which], lambda url: [url_forms(url)[place] for place in which])
    join_captions(config, config.url_column, "--url-column", by_url, config.sample_url)
