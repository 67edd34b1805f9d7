"""``keyclip store merge``: several stores into one."""

from dataclasses import dataclass

import store
from store.common.settings import Positional
from store.core.contract import Backend
from store.transfer import copy
from tools.query.printing import print_copied, progress_bar


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Copy the fields of several stores into one, such as the stores that every node wrote on its own disk.

    Sources are only read. The same command again goes on where it stopped.

    Example:
        keyclip store merge node0.store node1.store --output cc3m.store
    """

    sources: Positional[tuple[str, ...]]
    """Folders or URLs of the stores."""
    output: str
    """The store to write to; made if it is not there."""
    backend: Backend | None = None
    """Backend of a new output, lmdb by default; an output that exists must have it."""
    fields: tuple[str, ...] = ()
    """Fields to copy; all by default."""
    json: bool = False
    """Print the counts as json."""


def run(config: Config) -> None:
    """Merge and say what was copied."""
    sources = [store.open(source) for source in config.sources]
    output = store.open_or_create(config.output, config.backend)
    print_copied(copy(sources, output, fields=config.fields, progress=progress_bar(config.json)), config.json)
