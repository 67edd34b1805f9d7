"""What the ``keyclip store`` commands share."""

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from tqdm import tqdm

import store
from store.contract import Backend, Damage, Progress
from store.errors import StoreNotFoundError
from store.transfer import Copied


def progress_bar(quiet: bool) -> Progress:
    """A bar on stderr, one per field."""
    bars: dict[str, tqdm[Any]] = {}

    def show(field: str, done: int, total: int) -> None:
        bar = bars.setdefault(field, tqdm(desc=field, unit=" blocks", disable=quiet or not sys.stderr.isatty()))
        bar.total = total
        bar.update(done - bar.n)
        if done == total:
            bars.pop(field).close()

    return show


def open_or_create(path: str, backend: Backend) -> store.Store:
    """The store at ``path``, for writing; made if it is not there, so that the same command can be given again."""
    try:
        return store.open(path, mode="a")
    except StoreNotFoundError:
        return store.create(path, backend=backend)


def print_damages(damages: Iterable[Damage], as_json: bool) -> None:
    """One line each, or a json list."""
    if as_json:
        print(json.dumps([asdict(damage) for damage in damages]))
        return
    for damage in damages:
        place = f"field {damage.field!r}" + (f", block {damage.block!r}" if damage.block is not None else "")
        print(f"{place}: {damage.what}")


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
