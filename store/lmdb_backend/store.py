"""An LMDB store: a folder with ``store.json`` and one LMDB environment per field.

With an environment each, fields are written at the same time, and a dropped field gives its space back at once.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from store.common.errors import DamagedFieldError
from store.common.files import remove_durably, write_flushed
from store.core.batch import check_name, is_name
from store.core.contract import Backend, Damage, Progress, Store
from store.core.dtypes import has_scales, row_bytes
from store.core.naming import folder_name, shown_name
from store.core.spec import FieldInfo, FieldSpec
from store.lmdb_backend import layout, upkeep
from store.lmdb_backend.catalog import lost_record, read_record
from store.lmdb_backend.field import LmdbField
from store.lmdb_backend.layout import FieldRecord
from store.lmdb_backend.registry import environment
from store.lmdb_backend.writer import LmdbWriter


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
        return sorted(folder for folder in Path(self.path, "fields").glob("[!.]*") if folder.is_dir())

    def survey(self) -> dict[str, FieldInfo | DamagedFieldError]:
        found: dict[str, FieldInfo | DamagedFieldError] = {}
        for folder in self._folders():
            try:
                env = environment(folder)
                with env.read() as transaction:
                    record = read_record(transaction, env)
            except DamagedFieldError as error:
                found[shown_name(folder.name)] = error
            except FileNotFoundError:
                if folder.exists():  # not dropped meanwhile
                    found[shown_name(folder.name)] = lost_record(folder, "its data.mdb is not there")
            else:
                if not record.dropped:
                    found[record.name] = _info(record)
        return dict(sorted(found.items()))

    def field(self, name: str) -> LmdbField:
        return LmdbField(self.path, self._existing(name), name, self._check)

    def writer(self, name: str, spec: FieldSpec) -> LmdbWriter:
        self.require_writable()
        return LmdbWriter(self.path, self._folder(check_name(name, "field")), name, spec)

    def _existing(self, name: str) -> Path:
        folder = self._folder(name) if is_name(name) else None
        if folder is None or not folder.exists():
            raise self.not_found(name, self.survey())
        if not (folder / "data.mdb").exists():
            raise lost_record(folder, "its data.mdb is not there")
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
        damaged = [folder for folder in self._folders() if shown_name(folder.name) == name]
        folder = damaged[0] if damaged else self._existing(name)
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
