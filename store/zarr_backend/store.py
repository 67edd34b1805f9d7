"""A Zarr store: a hierarchy of groups and arrays in a folder or behind a URL."""

from collections.abc import Sequence

from store.core.contract import Backend, Damage, Mode, Progress, Store
from store.core.info import FieldInfo
from store.core.naming import check_name, folder_name
from store.core.spec import FieldSpec
from store.zarr_backend import documents
from store.zarr_backend.bucket import Bucket
from store.zarr_backend.catalog import Catalog
from store.zarr_backend.documents import DOCUMENT, FieldRecord
from store.zarr_backend.field import ZarrField
from store.zarr_backend.upkeep import Upkeep
from store.zarr_backend.writer import ZarrWriter


class ZarrStore(Store):
    """Reads a field's documents when the current process first needs them."""

    backend: Backend = "zarr"

    def __init__(self, bucket: Bucket, path: str, mode: Mode, check: bool) -> None:
        super().__init__(path, mode, check)
        self._bucket = bucket

    def field(self, name: str) -> ZarrField:
        return ZarrField(self._bucket, self._existing(name), name, self.path, self._check)

    def writer(self, name: str, spec: FieldSpec) -> ZarrWriter:
        self.require_writable()
        return ZarrWriter(self._bucket, folder_name(check_name(name, "field")), name, spec, self.path)

    def _folders(self) -> list[str]:
        return self._bucket.folders("fields")

    def _holds(self, folder: str) -> bool:
        return self._bucket.read([f"fields/{folder}/{DOCUMENT}"])[0] is not None

    def _look(self, folder: str) -> dict[str, FieldInfo]:
        record = FieldRecord.unpack(self._bucket.read([f"fields/{folder}/{DOCUMENT}"])[0], folder)
        counts = [block.count for block in Catalog(self._bucket, folder, record.name, check=False).look()]
        return {record.name: FieldInfo(spec=record.spec, num_vectors=sum(counts), num_blocks=len(counts))}

    def _verify(self, folder: str, progress: Progress | None) -> list[Damage]:
        return Upkeep(self._bucket, folder).verify(progress)

    def _repair(self, folder: str, progress: Progress | None) -> list[Damage]:
        return Upkeep(self._bucket, folder).repair(progress)

    def _drop_blocks(self, folder: str, name: str, blocks: Sequence[str]) -> None:
        Upkeep(self._bucket, folder).drop_blocks(name, blocks)

    def _drop_field(self, folder: str) -> None:
        self._bucket.remove(f"fields/{folder}", DOCUMENT)


def root_document() -> bytes:
    """The document of a new store."""
    return documents.group({"format": documents.FORMAT, "version": documents.VERSION})


def create(bucket: Bucket) -> bool:
    """Make an empty store; False if there is something already."""
    if bucket.read([DOCUMENT])[0] is not None or not bucket.write_new(DOCUMENT, root_document()):
        return False
    bucket.write("fields", {DOCUMENT: documents.group()})
    return True
