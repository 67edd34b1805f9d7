"""An LMDB store: a folder with ``data.mdb`` and ``lock.mdb``."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Literal

from store.batch import check_name
from store.contract import Store
from store.dtypes import has_scales, row_bytes
from store.errors import ReadOnlyError, StoreExistsError
from store.on_lmdb import layout
from store.on_lmdb.environment import Environment, environment
from store.on_lmdb.field import LmdbField, field_names
from store.on_lmdb.layout import FieldRecord
from store.on_lmdb.writer import LmdbWriter
from store.spec import FieldInfo, FieldSpec


class LmdbStore(Store):
    """Opens nothing but what the current process needs, when it needs it."""

    backend = "lmdb"

    def __init__(self, path: str, mode: Literal["r", "a"], check: bool) -> None:
        self.path = path
        self.mode = mode
        self._check = check
        self._process = -1
        self._env: Environment | None = None
        self._environment()

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "mode": self.mode, "_check": self._check, "_process": -1, "_env": None}

    def _environment(self) -> Environment:
        if self._process != os.getpid() or self._env is None:
            self._env = environment(self.path)
            self._process = os.getpid()
        return self._env

    def fields(self) -> dict[str, FieldInfo]:
        env = self._environment()
        infos = {}
        with env.read() as transaction:
            for name in field_names(env, transaction):
                packed = transaction.get(name.encode(), db=env.database(layout.FIELDS))
                infos[name] = _info(FieldRecord.unpack(bytes(packed)))
        return infos

    def field(self, name: str) -> LmdbField:
        self._environment()
        return LmdbField(self.path, name, self._check)

    def writer(self, name: str, spec: FieldSpec) -> LmdbWriter:
        if self.mode != "a":
            raise ReadOnlyError(f"the store {self.path!r} was opened for reading; open it with mode='a' to write")
        return LmdbWriter(self.path, check_name(name, "field"), spec)


def _info(record: FieldRecord) -> FieldInfo:
    size = row_bytes(record.spec.dtype, record.spec.dim) + 4 * has_scales(record.spec.dtype)
    return FieldInfo(
        spec=record.spec,
        num_vectors=record.num_vectors,
        num_blocks=record.num_blocks,
        num_bytes=size * record.num_vectors,
    )


def create(path: str) -> None:
    """Make an empty store at ``path``: built beside it and moved there, so that no crash leaves half a store.

    Raises:
        StoreExistsError: something is at ``path`` already.
    """
    parent = Path(path).parent
    parent.mkdir(parents=True, exist_ok=True)
    unfinished = tempfile.mkdtemp(prefix=f".{Path(path).name}.", dir=parent)
    try:
        Path(unfinished).chmod(0o755)
        env = Environment(unfinished, create=True)
        version = str(layout.VERSION).encode()
        env.write(lambda transaction: transaction.put(b"version", version, db=env.database(layout.META)))
        env.close()
        Path(unfinished).rename(path)
    except OSError as error:
        if Path(path).exists():
            raise StoreExistsError(f"{path!r} exists already; a store is never overwritten") from error
        raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
