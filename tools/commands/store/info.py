"""``keyclip store info``: what a store holds."""

import json
from dataclasses import asdict, dataclass
from typing import Any

import store
from tools.commands.store.base import StoreConfig, open_gallery
from tools.query.coverage import KeyCoverage, cover_keys
from tools.query.printing import gigabytes, printable


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(StoreConfig):
    """Show the fields of a store: how many vectors, how they were made, how they are stored.

    Damaged fields are listed with the reason; then the exit status is 1.
    With --shards also how many samples with an image have a vector; `keyclip store coverage` compares captions.

    Example:
        keyclip store info cc3m.store
    """

    shards: tuple[str, ...] = ()
    """Local shards with the samples to look up: paths, globs, brace ranges, or @FILE."""


def run(config: Config) -> int:
    """Print one section per field."""
    opened = store.open(config.store)
    found = opened.survey()
    fields = {name: about for name, about in found.items() if isinstance(about, store.FieldInfo)}
    damaged = {name: str(about) for name, about in found.items() if name not in fields}
    gallery = open_gallery(config.shards, config.json)
    keys = None if gallery is None else gallery.keys()
    coverage = {name: None if keys is None else cover_keys(opened.field(name), keys) for name in fields}
    if config.json:
        values = {name: _values(info, coverage[name]) for name, info in fields.items()}
        print(json.dumps({"backend": opened.backend, "fields": values, "damaged": damaged}))
        return 1 if damaged else 0
    number = len(fields) + len(damaged)
    print(f"{printable(opened.path)}: {opened.backend}, {number} field{'s' * (number != 1)}")
    for name, info in fields.items():
        _show(name, info, coverage[name])
    for name, why in damaged.items():
        print(f"\n{printable(name)}\n  damaged: {printable(why)}")
    return 1 if damaged else 0


def _show(name: str, info: store.FieldInfo, coverage: KeyCoverage | None) -> None:
    print(f"\n{printable(name)}")
    print(f"  {info.num_vectors:,} vectors of {info.dim} {info.dtype} in {info.num_blocks:,} blocks, ", end="")
    print(gigabytes(info.num_bytes))
    if coverage is not None:
        print(f"  {coverage.num_covered:,} of {coverage.num_samples:,} samples have a vector; ", end="")
        print(f"{coverage.num_without_sample:,} vectors have no sample here")
    for setting, value in info.spec.to_dict().items():
        print(f"  {setting:13} {printable(repr(value))}")


def _values(info: store.FieldInfo, coverage: KeyCoverage | None) -> dict[str, Any]:
    sizes = {name: getattr(info, name) for name in ("num_vectors", "num_blocks", "num_bytes")}
    return {"spec": info.spec.to_dict(), **sizes, **({"coverage": asdict(coverage)} if coverage else {})}
