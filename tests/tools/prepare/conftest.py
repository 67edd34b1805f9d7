"""A small pretended download, made once: 60 urls in 3 shards, some of which failed."""

import pytest

from tests.tools.prepare.examples import Download, keys_of, rows_of
from tools.scenes import download


@pytest.fixture(scope="package")
def downloaded(tmp_path_factory) -> Download:
    folder = tmp_path_factory.mktemp("download")
    shards = download.write(folder / "plain", folder / "list.csv", 60, urls_per_shard=20, save_columns=False)
    return Download(folder / "plain", [str(s) for s in shards], folder / "list.csv", keys_of(shards), rows_of(folder))
