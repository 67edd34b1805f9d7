"""``keyclip data sample``: a random list of sample keys that anyone can draw again."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import store
from store.common.errors import ConfigError
from store.common.settings import Alias, Count, Seed
from store.sources.keylist import iter_key_list
from tools.prepare.downloaded import files_of, iter_downloaded
from tools.prepare.drawing import draw_keys


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Draw sample keys at random into a key list, which --keys of embed, training and eval takes.

    The list depends on the set of keys and the seed alone: not on the order of shards, nor on the source of the keys.
    Its first lines are a draw of fewer keys, so experiments of 100,000 and 1,000,000 samples are nested.

    Example:
        keyclip data sample -n 1000000 --seed 1 --shards 'cc3m/{00000..00331}.tar' --output cc3m-1m.txt
    """

    number: Annotated[Count, Alias("-n")]
    """Number of keys to draw, at least 1."""
    output: Path
    """The list: a text file, one sample key a line."""
    shards: tuple[str, ...] = ()
    """Draw from the samples of these shards, or of the .parquet files that img2dataset wrote next to them."""
    store: Path | None = None
    """Draw from the keys of a store's field."""
    field: str | None = None
    """The field of the store."""
    keys: tuple[Path, ...] = ()
    """Draw from these key lists, such as the good samples of `keyclip data check`."""
    seed: Seed = 0
    """Another seed draws other keys; at least 0."""
    overwrite: bool = False
    """Replace a list that is there."""
    json: bool = False
    """Print the counts as json."""

    def __post_init__(self) -> None:
        if [bool(self.shards), bool(self.store), bool(self.keys)].count(True) != 1:
            raise ConfigError("give one of --shards, --store and --keys, the place where the keys are")
        if bool(self.store) != bool(self.field):
            raise ConfigError("give --store and --field together")


def run(config: Config) -> None:
    """Draw and write the list."""
    inputs = [*files_of(config.shards), *config.keys, config.store]
    num_keys, num_repeated = draw_keys(
        _keys(config), config.number, config.seed, config.output, inputs, config.overwrite
    )
    if config.json:
        counts = {"num_drawn": config.number, "num_keys": num_keys, "num_repeated": num_repeated}
        print(json.dumps(counts | {"output": str(config.output)}))
        return
    print(f"{config.number:,} of {num_keys - num_repeated:,} keys drawn: {config.output}")
    if num_repeated:
        print(f"{num_repeated:,} keys came more than once; if they name different samples, draw from one data set")


def _keys(config: Config) -> Iterator[str]:
    if config.shards:
        yield from (key for key, _ in iter_downloaded(config.shards, None, progress=not config.json))
    for file in config.keys:
        yield from iter_key_list(file)
    if config.store and config.field:
        with store.open(config.store).field(config.field).snapshot() as snapshot:
            for block in snapshot.block_names():
                yield from snapshot.block_keys(block)
