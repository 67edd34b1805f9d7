"""``keyclip store convert``: another backend or another dtype."""

from dataclasses import dataclass

import store
from store.common.settings import Positional
from store.core.contract import Backend
from store.core.spec import StoredDtype
from store.transfer import copy
from tools.query.printing import print_copied, progress_bar


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Copy a store into one of another backend or with numbers of another dtype.

    The source is only read. The same command again goes on where it stopped.

    Example:
        keyclip store convert cc3m.store --output s3://bucket/cc3m.store --backend zarr
        keyclip store convert cc3m.store --output small.store --dtype int8
    """

    source: Positional[str]
    """Folder or URL of the store."""
    output: str
    """The store to write to; made if it is not there."""
    backend: Backend | None = None
    """Backend of a new output, lmdb by default; an output that exists must have it."""
    dtype: StoredDtype | None = None
    """How to store the numbers; as in the source by default."""
    fields: tuple[str, ...] = ()
    """Fields to copy; all by default."""
    json: bool = False
    """Print the counts as json."""


def run(config: Config) -> None:
    """Convert and say what was copied."""
    source = store.open(config.source)
    output = store.open_or_create(config.output, config.backend)
    progress = progress_bar(config.json)
    print_copied(copy([source], output, fields=config.fields, dtype=config.dtype, progress=progress), config.json)
