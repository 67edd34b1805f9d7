"""``keyclip store drop``: remove a field, or blocks of it."""

import json
from dataclasses import dataclass

import store
from store.common.errors import DamagedFieldError
from tools.commands.store.base import StoreConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(StoreConfig):
    """Remove a field from a store and free its space; or with --blocks only some of its blocks.

    New blocks use the space of dropped blocks; `keyclip store compact` frees it.
    A damaged field can be removed, too; --json prints null as its number of vectors.

    Example:
        keyclip store drop cc3m.store --field minilm/captions.0
    """

    field: str
    """Name of the field."""
    blocks: tuple[str, ...] = ()
    """Names of blocks; without them the whole field is removed."""


def run(config: Config) -> None:
    """Drop and say what is gone."""
    opened = store.open(config.store, mode="a")
    before, after = _count(opened, config.field), 0
    if config.blocks:
        opened.drop_blocks(config.field, config.blocks)
        after = len(opened.field(config.field))
    else:
        opened.drop_field(config.field)
    dropped = None if before is None else before - after
    if config.json:
        print(json.dumps({"num_vectors_dropped": dropped, "num_vectors_left": after}))
    elif dropped is None:
        print(f"the damaged field {config.field!r} dropped")
    else:
        print(f"{dropped:,} vectors dropped from {config.field!r}, {after:,} left")


def _count(opened: store.Store, name: str) -> int | None:
    """Vectors in a field; None if it is damaged."""
    try:
        return len(opened.field(name))
    except DamagedFieldError:
        return None
