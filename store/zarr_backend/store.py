"""A Zarr store: a hierarchy of groups and arrays in a folder or behind a URL."""

from store.core.contract import Backend, Mode, Store
from store.core.naming import check_name, folder_name
from store.core.spec import FieldSpec
from store.zarr_backend import documents
from store.zarr_backend.bucket import Bucket
from store.zarr_backend.documents import DOCUMENT
from store.zarr_backend.field import ZarrField
from store.zarr_backend.upkeep import ZarrUpkeep
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

    def _upkeep(self, folder: str) -> ZarrUpkeep:
        return ZarrUpkeep(self._bucket, folder)


def root_document() -> bytes:
    """The document of a new store."""
    return documents.group({"format": documents.FORMAT, "version": documents.VERSION})


def create(bucket: Bucket) -> bool:
    """Make an empty store; False if there is something already."""
    if bucket.read([DOCUMENT])[0] is not None or not bucket.write_new(DOCUMENT, root_document()):
        return False
    bucket.write("fields", {DOCUMENT: documents.group()})
    return True
