"""Making and opening stores of both backends."""

from pathlib import Path
from typing import Any, get_args

from store.common.checked import InvalidDataError, parse_json
from store.common.errors import ConfigError, FormatVersionError, StoreExistsError, StoreNotFoundError
from store.common.files import make_folder
from store.core.contract import Backend, Mode, Store
from store.lmdb_backend import layout
from store.lmdb_backend import store as lmdb
from store.zarr_backend import documents
from store.zarr_backend import store as zarr
from store.zarr_backend.bucket import Bucket, Data, LocalBucket

_VERSIONS = {layout.FORMAT: layout.VERSION, documents.FORMAT: documents.VERSION}
_DOCUMENTS = ("store.json", documents.DOCUMENT)


def create(path: str | Path, backend: Backend = "lmdb") -> Store:
    """Make an empty store and open it for writing.

    Args:
        path: a folder that is not there yet, or for ``zarr`` also a URL such as ``s3://bucket/cc3m.store``.
        backend: ``lmdb`` for one machine; ``zarr`` for many writer hosts and for object storage.

    Raises:
        StoreExistsError: something is at ``path`` already.
        ConfigError: there is no such backend, or it cannot be at a URL.
    """
    if backend not in get_args(Backend):
        raise ConfigError(f"there is no backend {backend!r}; expected {' or '.join(get_args(Backend))}")
    place = _place(path)
    if isinstance(place, str):
        if backend != "zarr":
            raise ConfigError(f"an LMDB store must be on a local disk; give backend='zarr' for {place!r}")
        made = zarr.create(_bucket(place))
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        made = not (place.exists() or place.is_symlink())
        made = made and (make_folder(place, lmdb.fill) if backend == "lmdb" else zarr.create(_bucket(place)))
    if not made:
        raise StoreExistsError(f"{str(place)!r} exists already: store.open(path, mode='a') adds to it if it is a store")
    return open(path, mode="a")


def open_or_create(path: str | Path, backend: Backend | None = None) -> Store:
    """The store at ``path``, for writing; made if nothing is there. Several processes may do so at once.

    Args:
        path: as for :func:`create`.
        backend: of a new store, ``lmdb`` by default; one that exists must have the backend that is named.

    Raises:
        StoreNotFoundError: something else than a store is there.
        ConfigError: the store there has another backend, or :func:`create` refuses this one.
        FormatVersionError: as :func:`open`.
    """
    try:
        opened = open(path, mode="a")
    except StoreNotFoundError as nothing:
        try:
            return create(path, backend=backend or "lmdb")
        except StoreExistsError:  # by another process, which was faster
            try:
                opened = open(path, mode="a")
            except StoreNotFoundError:
                raise StoreNotFoundError(f"{nothing}; choose another path") from None
    if backend not in (None, opened.backend):
        raise ConfigError(
            f"the store {opened.path!r} exists with the backend {opened.backend!r}, not {backend!r}; "
            "leave the backend out, or choose another path"
        )
    return opened


def open(path: str | Path, mode: Mode = "r", check: bool = True) -> Store:
    """Open a store; cheap, and the result can be sent to other processes, forked or spawned.

    Args:
        path: folder or URL of a store.
        mode: ``r`` to read, ``a`` to read and write.
        check: compare every chunk of 4 MiB with its checksum when a process first reads from it.

    Raises:
        StoreNotFoundError: there is no store; names the stores next to it.
        FormatVersionError: a newer version wrote it.
        ConfigError: there is no such mode.
    """
    if mode not in get_args(Mode):
        raise ConfigError(
            f"mode is {mode!r}; expected 'r' to read or 'a' to read and write (store.create makes a new store)"
        )
    place = _place(path)
    bucket = _bucket(place)
    document, attributes = bucket.read(_DOCUMENTS)
    about = _about(document) if attributes is None else documents.attributes_of(attributes)
    form = about.get("format")
    if not isinstance(form, str) or (version := _VERSIONS.get(form)) is None:
        raise StoreNotFoundError(_nothing_at(place))
    if about.get("version") is not version:  # not !=, since True equals 1
        raise FormatVersionError(
            f"the store {str(place)!r} has format {about.get('version')!r:.20}, this keyclip reads format {version}; "
            "open it with the version that wrote it, or a newer one"
        )
    if form == documents.FORMAT:
        return zarr.ZarrStore(bucket, str(place), mode, check)
    return lmdb.LmdbStore(str(place), mode, check)


def _place(path: str | Path) -> Path | str:
    """An absolute path, or a URL as it is."""
    if not isinstance(path, str | Path):
        raise ConfigError(f"the path of a store is {path!r:.100}; expected a folder or a URL")
    if isinstance(path, str) and "://" in path and not path.startswith("file://"):
        return path.rstrip("/")
    if not str(path) or "\0" in str(path):
        raise ConfigError(f"the path of a store is {str(path)!r}; expected a folder or a URL")
    return Path(path.removeprefix("file://") if isinstance(path, str) else path).absolute()


def _bucket(place: Path | str) -> Bucket:
    if isinstance(place, Path):
        return LocalBucket(str(place))
    from store.zarr_backend.remote import RemoteBucket  # fsspec takes longer to import than all the rest

    return RemoteBucket(place)


def _about(document: Data | None) -> dict[str, Any]:
    """The content of a store.json; empty if it is none."""
    if document is None or len(document) > documents.MAX_DOCUMENT_BYTES:
        return {}
    try:
        return parse_json(document.tobytes(), dict[str, Any], "store.json")
    except InvalidDataError:
        return {}


def _nothing_at(place: Path | str) -> str:
    if isinstance(place, str):
        return f"there is no store at {place!r}; make one with store.create(..., backend='zarr')"
    found = [name for name in _DOCUMENTS if (place / name).exists()]
    if found and (place / "fields").is_dir():
        return (
            f"{str(place / found[0])!r} is not what keyclip wrote; restore it from a copy, as store/FORMAT.md describes"
        )
    if place.exists():
        return f"{str(place)!r} is not a store: it holds neither a store.json nor a zarr.json of keyclip"
    near = {file.parent.name for name in _DOCUMENTS for file in place.parent.glob(f"*/{name}")}
    there = f"the stores in {str(place.parent)!r} are {', '.join(map(repr, sorted(near)))}"
    return f"there is no store at {str(place)!r}; {there if near else '`keyclip embed` or store.create makes one'}"
