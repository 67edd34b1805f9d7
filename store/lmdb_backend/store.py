"""An LMDB store: a folder with ``store.json`` and one LMDB environment per field.

With an environment each, fields are written at the same time, and a dropped field gives its space back at once.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from store.common.files import remove_durably, write_flushed
from store.core.contract import Backend, Damage, Progress, Store
from store.core.info import FieldInfo
from store.core.naming import check_name, folder_name
from store.core.spec import FieldSpec
from store.lmdb_backend import layout, upkeep
from store.lmdb_backend.catalog import lost_record, read_record
from store.lmdb_backend.field import LmdbField
from store.lmdb_backend.registry import environment
from store.lmdb_backend.writer import LmdbWriter


class LmdbStore(Store):
    """Opens a field's environment when the current process first needs it."""

    backend: Backend = "lmdb"

    def field(self, name: str) -> LmdbField:
        return LmdbField(self.path, self._place(self._existing(name)), name, self._check)

    def writer(self, name: str, spec: FieldSpec) -> LmdbWriter:
        self.require_writable()
        return LmdbWriter(self.path, self._place(folder_name(check_name(name, "field"))), name, spec)

    def _place(self, folder: str) -> Path:
        return Path(self.path, "fields", folder)

    def _folders(self) -> list[str]:
        return sorted(folder.name for folder in Path(self.path, "fields").glob("[!.]*") if folder.is_dir())

    def _holds(self, folder: str) -> bool:
        place = self._place(folder)
        if place.exists() and not (place / "data.mdb").exists():
            raise lost_record(place, "its data.mdb is not there")
        return place.exists()

    def _look(self, folder: str) -> dict[str, FieldInfo]:
        place = self._place(folder)
        try:
            env = environment(place)
        except FileNotFoundError:
            if place.exists():
                raise lost_record(place, "its data.mdb is not there") from None
            return {}  # dropped meanwhile
        with env.read() as transaction:
            record = read_record(transaction, env)
        if record.dropped:
            return {}
        return {record.name: FieldInfo(spec=record.spec, num_vectors=record.num_vectors, num_blocks=record.num_blocks)}

    def _verify(self, folder: str, progress: Progress | None) -> list[Damage]:
        return upkeep.verify(self._place(folder), progress)

    def _repair(self, folder: str, progress: Progress | None) -> list[Damage]:
        return upkeep.repair(self._place(folder), progress)

    def _drop_blocks(self, folder: str, name: str, blocks: Sequence[str]) -> None:
        upkeep.drop_blocks(self._place(folder), blocks)

    def _drop_field(self, folder: str) -> None:
        upkeep.mark_dropped(self._place(folder))
        remove_durably(self._place(folder))


def fill(folder: Path) -> None:
    """Make the files of an empty store in an empty folder."""
    (folder / "fields").mkdir()
    document = {"format": layout.FORMAT, "version": layout.VERSION}
    write_flushed(folder / "store.json", json.dumps(document).encode())
