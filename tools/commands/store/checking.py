"""``keyclip store verify`` and ``repair``: compare a store with its checksums, and drop what is damaged."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import store
from store.core.contract import Damage
from tools.commands import Command
from tools.commands.store.base import StoreConfig
from tools.query.printing import printable, progress_bar


@dataclass(frozen=True, kw_only=True, slots=True)
class Verify(StoreConfig):
    """Read a whole store and compare it with its checksums. Exit status 1 if anything is damaged.

    --json prints the damage as a list.

    Example:
        keyclip store verify cc3m.store
    """


@dataclass(frozen=True, kw_only=True, slots=True)
class Repair(StoreConfig):
    """Drop the damaged blocks of a store and mend its index; intact blocks stay as they are.

    Afterwards `keyclip embed`, given again as before, fills exactly the blocks that were dropped.
    Exit status 1 if something is still damaged. --json prints what was damaged as a list.

    Example:
        keyclip store repair cc3m.store
    """


def _verify(config: Verify) -> int:
    damages = store.open(config.store).verify(progress_bar(config.json))
    _show(damages, config.json)
    if not damages and not config.json:
        print("intact")
    return 1 if damages else 0


def _repair(config: Repair) -> int:
    opened = store.open(config.store, mode="a")
    damages = opened.repair(progress_bar(config.json))
    _show(damages, config.json)
    left = opened.verify(progress_bar(config.json)) if damages else []
    if not config.json:
        blocks = len({(damage.field, damage.block) for damage in damages if damage.block is not None})
        print(f"{blocks} blocks dropped, {len(left)} damages left" if damages else "intact")
    return 1 if left else 0


def _show(damages: Sequence[Damage], as_json: bool) -> None:
    if as_json:
        print(json.dumps([asdict(damage) for damage in damages]))
        return
    for damage in damages:
        place = f"field {damage.field!r}" + (f", block {damage.block!r}" if damage.block is not None else "")
        print(printable(f"{place}: {damage.what}"))


VERIFY, REPAIR = Command(Verify, _verify), Command(Repair, _repair)
