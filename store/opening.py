"""Making and opening stores, whichever backend keeps them."""

from pathlib import Path
from typing import Literal

from store.contract import Store
from store.errors import ConfigError, StoreExistsError, StoreNotFoundError

Backend = Literal["lmdb", "zarr"]


def create(path: str | Path, backend: Backend = "lmdb") -> Store:
    """Make an empty store and open it for writing.

    Raises:
        StoreExistsError: something is at ``path`` already.
        ConfigError: there is no such backend.
    """
    place = Path(path).absolute()
    if place.exists() or place.is_symlink():
        raise StoreExistsError(f"{str(place)!r} exists already; open it with mode='a', or choose another path")
    if backend != "lmdb":
        raise ConfigError(f"there is no backend {backend!r}; expected lmdb or zarr")
    from store.on_lmdb import store as on_lmdb

    on_lmdb.create(str(place))
    return open(place, mode="a")


def open(path: str | Path, mode: Literal["r", "a"] = "r", check: bool = True) -> Store:
    """Open a store; cheap, and the result can be sent to other processes, forked or spawned.

    Args:
        mode: ``r`` to read, ``a`` to read and write.
        check: compare every chunk of 4 MiB with its checksum when a process first reads from it.

    Raises:
        StoreNotFoundError: there is no store; names the stores beside it.
        FormatVersionError: a newer version wrote it.
    """
    if mode not in ("r", "a"):
        raise ConfigError(f"mode is {mode!r}; expected 'r' to read or 'a' to read and write")
    place = Path(path).absolute()
    if not (place / "data.mdb").is_file():
        raise StoreNotFoundError(_nothing_at(place))
    from store.on_lmdb.store import LmdbStore

    return LmdbStore(str(place), mode, check)


def _nothing_at(place: Path) -> str:
    if place.exists():
        return f"{str(place)!r} is not a store: it holds no data.mdb"
    beside = sorted(entry.parent.name for entry in place.parent.glob("*/data.mdb"))
    there = f"the stores in {str(place.parent)!r} are {', '.join(beside)}" if beside else "make one with store.create"
    return f"there is no store at {str(place)!r}; {there}"
