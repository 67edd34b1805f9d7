"""``keyclip store drop``: remove a field, or blocks of it."""

import json
from dataclasses import dataclass

import store
from store.settings import Positional


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Remove a field from a store and give its space back; or with --blocks only some of its blocks.

    The space of dropped blocks is used again by the next ones; `keyclip store compact` gives it back.

    Example:
        keyclip store drop cc3m.store --field minilm/captions.0
    """

    store: Positional[str]
    """Folder or URL of the store."""
    field: str
    """Name of the field."""
    blocks: tuple[str, ...] = ()
    """Names of blocks; without any the whole field goes."""
    json: bool = False
    """Print the counts as json."""


def run(config: Config) -> None:
    """Drop and say what is gone."""
    opened = store.open(config.store, mode="a")
    before = len(opened.field(config.field))
    if config.blocks:
        opened.drop_blocks(config.field, config.blocks)
        after = len(opened.field(config.field))
    else:
        opened.drop_field(config.field)
        after = 0
    if config.json:
        print(json.dumps({"num_vectors_dropped": before - after, "num_vectors_left": after}))
    else:
        print(f"{before - after:,} vectors dropped from {config.field!r}, {after:,} left")
