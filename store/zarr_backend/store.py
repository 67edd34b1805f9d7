"""A Zarr store: a hierarchy of groups and arrays in a folder or behind a URL."""

from collections.abc import Sequence
from typing import Literal

from store.common.checked import InvalidDataError
from store.common.errors import DamagedFieldError
from store.core.batch import check_name, is_name
from store.core.contract import Backend, Damage, Progress, Store
from store.core.dtypes import has_scales, row_bytes
from store.core.naming import folder_name, shown_name
from store.core.spec import FieldInfo, FieldSpec
from store.zarr_backend import documents, upkeep
from store.zarr_backend.bucket import Bucket
from store.zarr_backend.catalog import Catalog
from store.zarr_backend.documents import DOCUMENT, FieldRecord
from store.zarr_backend.field import ZarrField
from store.zarr_backend.writer import ZarrWriter


class ZarrStore(Store):
    """Reads only what the current process needs, when it needs it."""

    backend: Backend = "zarr"

    def __init__(self, bucket: Bucket, path: str, mode: Literal["r", "a"], check: bool) -> None:
        self.path = path
        self.mode = mode
        self._bucket = bucket
        self._check = check

    def _folders(self) -> list[str]:
        return [f"fields/{child}" for child in self._bucket.folders("fields")]

    def survey(self) -> dict[str, FieldInfo | DamagedFieldError]:
        found: dict[str, FieldInfo | DamagedFieldError] = {}
        for folder in self._folders():
            try:
                record = FieldRecord.unpack(self._bucket.read([f"{folder}/{DOCUMENT}"])[0], folder)
                found[record.name] = self._info(folder, record)
            except DamagedFieldError as error:
                found[_shown(folder)] = error
            except InvalidDataError as error:
                found[_shown(folder)] = DamagedFieldError(str(error))
        return dict(sorted(found.items()))

    def _info(self, folder: str, record: FieldRecord) -> FieldInfo:
        blocks = Catalog(self._bucket, folder, record.name, check=False).look()
        spec, counts = record.spec, [block.count for block in blocks]
        size = row_bytes(spec.dtype, spec.dim) + 4 * has_scales(spec.dtype)
        return FieldInfo(spec=spec, num_vectors=sum(counts), num_blocks=len(counts), num_bytes=size * sum(counts))

    def field(self, name: str) -> ZarrField:
        return ZarrField(self._bucket, self._existing(name), name, self.path, self._check)

    def writer(self, name: str, spec: FieldSpec) -> ZarrWriter:
        self.require_writable()
        folder = f"fields/{folder_name(check_name(name, 'field'))}"
        return ZarrWriter(self._bucket, folder, name, spec, self.path)

    def _existing(self, name: str) -> str:
        folder = f"fields/{folder_name(name)}" if is_name(name) else None
        if folder is None or self._bucket.read([f"{folder}/{DOCUMENT}"])[0] is None:
            raise self.not_found(name, map(_shown, self._folders()))
        return folder

    def verify(self, progress: Progress | None = None) -> list[Damage]:
        return [damage for folder in self._folders() for damage in upkeep.verify(self._bucket, folder, progress)]

    def repair(self, progress: Progress | None = None) -> list[Damage]:
        self.require_writable()
        return [damage for folder in self._folders() for damage in upkeep.repair(self._bucket, folder, progress)]

    def drop_blocks(self, name: str, blocks: Sequence[str]) -> None:
        self.require_writable()
        upkeep.drop_blocks(self._bucket, self._existing(name), name, blocks)

    def drop_field(self, name: str) -> None:
        self.require_writable()
        damaged = [folder for folder in self._folders() if _shown(folder) == name]
        self._bucket.remove(damaged[0] if damaged else self._existing(name), DOCUMENT)


def _shown(folder: str) -> str:
    return shown_name(folder.removeprefix("fields/"))


def root_document() -> bytes:
    """The document of a new store."""
    return documents.group({"format": documents.FORMAT, "version": documents.VERSION})


def create(bucket: Bucket) -> bool:
    """Make an empty store; False if there is something already."""
    if bucket.read([DOCUMENT])[0] is not None or not bucket.write_new(DOCUMENT, root_document()):
        return False
    bucket.write("fields", {DOCUMENT: documents.group()})
    return True
