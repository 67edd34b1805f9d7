"""``keyclip store verify``: is everything still what was written?"""

from dataclasses import dataclass

import store
from store.common.settings import Positional
from tools.query.printing import print_damages, progress_bar


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Read a whole store and compare it with its checksums. Exit status 1 if anything is damaged.

    Example:
        keyclip store verify cc3m.store
    """

    store: Positional[str]
    """Folder or URL of the store."""
    json: bool = False
    """Print the damage as a json list."""


def run(config: Config) -> int:
    """Print the damage."""
    damages = store.open(config.store).verify(progress_bar(config.json))
    print_damages(damages, config.json)
    if not damages and not config.json:
        print("intact")
    return 1 if damages else 0
