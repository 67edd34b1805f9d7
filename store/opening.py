"""Making and opening stores, whichever backend keeps them."""

import json
from pathlib import Path
from typing import Any, Literal, get_args

from store.contract import Store
from store.errors import ConfigError, FormatVersionError, StoreExistsError, StoreNotFoundError
from store.files import make_folder
from store.on_lmdb import layout as lmdb_layout
from store.on_lmdb import store as on_lmdb

Backend = Literal["lmdb", "zarr"]


def create(path: str | Path, backend: Backend = "lmdb") -> Store:
    """Make an empty store and open it for writing.

    Raises:
        StoreExistsError: something is at ``path`` already.
        ConfigError: there is no such backend.
    """
    if backend not in get_args(Backend):
        raise ConfigError(f"there is no backend {backend!r}; expected {' or '.join(get_args(Backend))}")
    place = Path(path).absolute()
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists() or place.is_symlink() or not make_folder(place, on_lmdb.fill):
        raise StoreExistsError(f"{str(place)!r} exists already; open it with mode='a', or choose another path")
    return open(place, mode="a")


def open(path: str | Path, mode: Literal["r", "a"] = "r", check: bool = True) -> Store:
    """Open a store; cheap, and the result can be sent to other processes, forked or spawned.

    Args:
        path: where the store is.
        mode: ``r`` to read, ``a`` to read and write.
        check: compare every chunk of 4 MiB with its checksum when a process first reads from it.

    Raises:
        StoreNotFoundError: there is no store; names the stores beside it.
        FormatVersionError: a newer version wrote it.
    """
    if mode not in ("r", "a"):
        raise ConfigError(f"mode is {mode!r}; expected 'r' to read or 'a' to read and write")
    place = Path(path).absolute()
    document = _document(place)
    if document.get("format") != lmdb_layout.FORMAT:
        raise StoreNotFoundError(_nothing_at(place))
    if document.get("version") != lmdb_layout.VERSION:
        raise FormatVersionError(
            f"the store {str(place)!r} has format {document.get('version')}, this keyclip reads format "
            f"{lmdb_layout.VERSION}; open it with the version that wrote it, or a newer one"
        )
    return on_lmdb.LmdbStore(str(place), mode, check)


def _document(place: Path) -> dict[str, Any]:
    try:
        document = json.loads((place / "store.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _nothing_at(place: Path) -> str:
    if place.exists():
        return f"{str(place)!r} is not a store: it holds no store.json of keyclip"
    beside = sorted(entry.parent.name for entry in place.parent.glob("*/store.json"))
    there = f"the stores in {str(place.parent)!r} are {', '.join(beside)}" if beside else "make one with store.create"
    return f"there is no store at {str(place)!r}; {there}"
