"""An LMDB store: a folder with ``store.json`` and one LMDB environment per field.

With an environment each, fields are written at the same time, and a dropped field gives its space back at once.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from store.batch import check_name
from store.contract import Backend, Damage, Progress, Store
from store.dtypes import has_scales, row_bytes
from store.errors import FieldNotFoundError
from store.files import remove_durably, write_flushed
from store.naming import folder_name
from store.on_lmdb import layout, upkeep
from store.on_lmdb.catalog import read_record
from store.on_lmdb.field import LmdbField
from store.on_lmdb.layout import FieldRecord
from store.on_lmdb.registry import environment
from store.on_lmdb.writer import LmdbWriter
from store.spec import FieldInfo, FieldSpec


class LmdbStore(Store):
    """Opens nothing but the fields that the current process needs, when it needs them."""

    backend: Backend = "lmdb"

    def __init__(self, path: str, mode: Literal["r", "a"], check: bool) -> None:
        self.path = path
        self.mode = mode
        self._check = check

    def _folder(self, name: str) -> Path:
        return Path(self.path, "fields", folder_name(name))

    def _folders(self) -> list[Path]:
        return sorted(file.parent for file in Path(self.path, "fields").glob("[!.]*/data.mdb"))

    def fields(self) -> dict[str, FieldInfo]:
        infos = {}
        for folder in self._folders():
            env = environment(folder)
            with env.read() as transaction:
                record = read_record(transaction, env)
            if not record.dropped:
                infos[record.name] = _info(record)
        return dict(sorted(infos.items()))

    def field(self, name: str) -> LmdbField:
        return LmdbField(self.path, self._existing(name), name, self._check)

    def writer(self, name: str, spec: FieldSpec) -> LmdbWriter:
        self.require_writable()
        return LmdbWriter(self.path, self._folder(check_name(name, "field")), name, spec)

    def _existing(self, name: str) -> Path:
        folder = self._folder(name)
        if not (folder / "data.mdb").exists():
            names = list(self.fields())
            there = f"there are {', '.join(map(repr, names))}" if names else "it has no fields yet"
            raise FieldNotFoundError(f"the store {self.path!r} has no field {name!r}; {there}")
        return folder

    def verify(self, progress: Progress | None = None) -> list[Damage]:
        return [damage for folder in self._folders() for damage in upkeep.verify(folder, progress)]

    def repair(self, progress: Progress | None = None) -> list[Damage]:
        self.require_writable()
        return [damage for folder in self._folders() for damage in upkeep.repair(folder, progress)]

    def drop_blocks(self, name: str, blocks: Sequence[str]) -> None:
        self.require_writable()
        upkeep.drop_blocks(self._existing(name), blocks)

    def drop_field(self, name: str) -> None:
        self.require_writable()
        folder = self._existing(name)
        upkeep.mark_dropped(folder)
        remove_durably(folder)


def _info(record: FieldRecord) -> FieldInfo:
    size = row_bytes(record.spec.dtype, record.spec.dim) + 4 * has_scales(record.spec.dtype)
    return FieldInfo(
        spec=record.spec,
        num_vectors=record.num_vectors,
        num_blocks=record.num_blocks,
        num_bytes=size * record.num_vectors,
    )


def fill(folder: Path) -> None:
    """Make the files of an empty store in an empty folder."""
    (folder / "fields").mkdir()
    document = {"format": layout.FORMAT, "version": layout.VERSION}
    write_flushed(folder / "store.json", json.dumps(document).encode())
