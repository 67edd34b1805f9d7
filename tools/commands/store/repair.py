"""``keyclip store repair``: drop what is damaged."""

from dataclasses import dataclass

import store
from store.common.settings import Positional
from tools.query.printing import print_damages, progress_bar


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Drop the damaged blocks of a store and mend its index; intact blocks stay as they are.

    Afterwards `keyclip embed`, given again as before, fills exactly the blocks that were dropped.
    Exit status 1 if something is still damaged.

    Example:
        keyclip store repair cc3m.store
    """

    store: Positional[str]
    """Folder or URL of the store."""
    json: bool = False
    """Print what was damaged as a json list."""


def run(config: Config) -> int:
    """Print what was damaged; then verify."""
    opened = store.open(config.store, mode="a")
    damages = opened.repair(progress_bar(config.json))
    print_damages(damages, config.json)
    left = opened.verify(progress_bar(config.json)) if damages else []
    if not config.json:
        blocks = len({(damage.field, damage.block) for damage in damages if damage.block is not None})
        print(f"{blocks} blocks dropped, {len(left)} damages left" if damages else "intact")
    return 1 if left else 0
