"""``keyclip store compact``: a copy without holes."""

from dataclasses import dataclass

import store
from store.common.settings import Positional
from store.transfer import copy
from tools.query.printing import print_copied, progress_bar


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Copy a store into a new one without the space that dropped blocks and rewritten indexes left free.

    The source is only read; remove it yourself afterwards. The same command again goes on where it stopped.

    Example:
        keyclip store compact cc3m.store --output cc3m-compact.store
    """

    source: Positional[str]
    """Folder or URL of the store."""
    output: str
    """The store to write to; made if it is not there, of the source's backend."""
    json: bool = False
    """Print the counts as json."""


def run(config: Config) -> None:
    """Compact and say what was copied."""
    source = store.open(config.source)
    output = store.open_or_create(config.output, source.backend)
    print_copied(copy([source], output, progress=progress_bar(config.json)), config.json)
