"""Settings that the commands of ``keyclip store`` share."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import store
from store.common.errors import ConfigError
from store.common.settings import Positional
from tools.query.printing import printable

if TYPE_CHECKING:
    from tools.query.gallery import Gallery


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreConfig:
    """A command that reads or changes one store."""

    store: Positional[str]
    """Folder or URL of the store."""
    json: bool = False
    """Print json."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldConfig(StoreConfig):
    """A command that reads one field."""

    field: str = ""
    """Name of the field; may be left out if the store has only one."""

    def open_field(self) -> store.Field:
        """The named field, or the only one.

        Raises:
            FieldNotFoundError: there is no such field.
            ConfigError: no name is given, and the store does not have exactly one field.
        """
        opened = store.open(self.store)
        if self.field:
            return opened.field(self.field)
        names = list(opened.survey())
        if not names:
            raise ConfigError(f"the store {opened.path!r} has no fields yet")
        if len(names) > 1:
            named = ", ".join(map(repr, names))
            raise ConfigError(f"the store {opened.path!r} has {len(names)} fields; name one with --field: {named}")
        return opened.field(names[0])


def open_gallery(shards: Sequence[str], quiet: bool) -> "Gallery | None":
    """The samples of shards, if any are named; raises as :class:`tools.query.gallery.Gallery`."""
    if not shards:
        return None
    from tools.query.gallery import Gallery  # loads torch

    return Gallery(shards, show_progress=not quiet and sys.stderr.isatty())


def first_of(keys: Sequence[str], shown: int, total: int | None = None) -> str:
    """The first few of ``total`` keys for a terminal, with dots if there are more; by default all are given."""
    more = ", ..." if (len(keys) if total is None else total) > shown else ""
    return ", ".join(map(printable, keys[:shown])) + more
