"""An LMDB store: a folder with ``store.json`` and one LMDB environment per field.

With an environment each, fields are written at the same time, and a dropped field gives its space back at once.
"""

import json
from pathlib import Path

from store.common.files import write_flushed
from store.core.contract import Backend, Store
from store.core.naming import check_name, folder_name
from store.core.spec import FieldSpec
from store.lmdb_backend import layout
from store.lmdb_backend.field import LmdbField
from store.lmdb_backend.upkeep import LmdbUpkeep
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

    def _upkeep(self, folder: str) -> LmdbUpkeep:
        return LmdbUpkeep(self._place(folder))


def fill(folder: Path) -> None:
    """Make the files of an empty store in an empty folder."""
    (folder / "fields").mkdir()
    document = {"format": layout.FORMAT, "version": layout.VERSION}
    write_flushed(folder / "store.json", json.dumps(document).encode())
