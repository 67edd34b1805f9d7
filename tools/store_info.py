"""``keyclip store info``: what a store holds."""

import json
from dataclasses import dataclass
from typing import Any

import tyro

import store
from tools.stores import gigabytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Show the fields of a store: how many vectors, how they were made, how they are kept.

    Example:
        keyclip store info cc3m.store
    """

    store: tyro.conf.Positional[str]
    """Folder or URL of the store."""
    json: bool = False
    """Print json."""


def run(config: Config) -> None:
    """Print one section per field."""
    opened = store.open(config.store)
    fields = opened.fields()
    if config.json:
        print(json.dumps({"backend": opened.backend, "fields": {name: _values(info) for name, info in fields.items()}}))
        return
    print(f"{opened.path}: {opened.backend}, {len(fields)} field{'s' * (len(fields) != 1)}")
    for name, info in fields.items():
        print(f"\n{name}")
        print(f"  {info.num_vectors:,} vectors of {info.dim} {info.dtype} in {info.num_blocks:,} blocks, ", end="")
        print(gigabytes(info.num_bytes))
        for setting, value in info.spec.to_dict().items():
            print(f"  {setting:13} {value!r}")


def _values(info: store.FieldInfo) -> dict[str, Any]:
    sizes = {name: getattr(info, name) for name in ("num_vectors", "num_blocks", "num_bytes")}
    return {"spec": info.spec.to_dict(), **sizes}
