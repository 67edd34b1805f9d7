"""``keyclip store keys``: the sample keys of a field."""

import json
import sys
from dataclasses import dataclass

from store.sources.keylist import line_of
from tools.commands.store.base import FieldConfig
from tools.query.pieces import block_keys
from tools.query.printing import printable


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(FieldConfig):
    """Print the sample keys of a field, one per line, block after block in the order of commits.

    The output is a key list for --keys of embed, train, eval and export. On a terminal, control characters in
    a key are shown as escapes.

    Example:
        keyclip store keys cc3m.store --field minilm/captions.0 > keys.txt
    """

    blocks: tuple[str, ...] = ()
    """Names of blocks whose keys to print; all by default."""


def run(config: Config) -> None:
    """Print the keys."""
    field = config.open_field()
    if config.json:
        print(json.dumps([key for block in config.blocks or field.blocks() for key in block_keys(field, block)]))
        return
    shown = printable if sys.stdout.isatty() else str
    for block in config.blocks or field.blocks():
        for key in block_keys(field, block):
            print(shown(line_of(key)))
