"""What the ``keyclip store`` commands share."""

import json
import re
import sys
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from tqdm import tqdm

import store
from store.common.errors import ConfigError
from store.core.contract import Damage, Progress
from store.transfer import Copied

_STEERING = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def progress_bar(quiet: bool) -> Progress:
    """A bar on stderr, one per field."""
    bars: dict[str, tqdm[Any]] = {}

    def show(field: str, done: int, total: int) -> None:
        hidden = quiet or not sys.stderr.isatty()
        bar = bars.setdefault(field, tqdm(desc=printable(field), unit=" blocks", disable=hidden))
        bar.total = total
        bar.update(done - bar.n)
        if done == total:
            bars.pop(field).close()

    return show


def choose_field(opened: store.Store, name: str) -> store.Field:
    """The field of this name; without a name the only one there is.

    Raises:
        FieldNotFoundError: there is no such field.
        ConfigError: no name, and not one field.
    """
    if name:
        return opened.field(name)
    names = list(opened.survey())
    if len(names) != 1:
        there = f"has {len(names)} fields; name one with --field: {', '.join(map(repr, names))}"
        there = there if names else "has no fields yet"
        raise ConfigError(f"the store {opened.path!r} {there}")
    return opened.field(names[0])


def printable(text: str) -> str:
    """Text that cannot steer a terminal: escapes for control characters, marks that change the direction of writing,
    line separators and half surrogate pairs.
    """
    return _STEERING.sub(lambda found: ascii(found[0])[1:-1], text)


def print_damages(damages: Iterable[Damage], as_json: bool) -> None:
    """One line each, or a json list."""
    if as_json:
        print(json.dumps([asdict(damage) for damage in damages]))
        return
    for damage in damages:
        place = f"field {damage.field!r}" + (f", block {damage.block!r}" if damage.block is not None else "")
        print(printable(f"{place}: {damage.what}"))


def gigabytes(num_bytes: int) -> str:
    """``1.25 GB``; smaller sizes in MB or kB."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if num_bytes >= size:
            return f"{num_bytes / size:.2f} {unit}"
    return f"{num_bytes / 1e3:.1f} kB"


def print_copied(copied: Copied, as_json: bool) -> None:
    """One sentence, or json."""
    if as_json:
        print(json.dumps(asdict(copied)))
        return
    print(f"{copied.num_vectors:,} vectors copied in {copied.num_blocks:,} blocks", end="")
    print(f"; {copied.num_blocks_before:,} blocks were there already" if copied.num_blocks_before else "")
