"""A Zarr store: a hierarchy of groups and arrays in a folder or behind a URL."""

from collections.abc import Sequence
from typing import Literal

from store.batch import check_name
from store.contract import Backend, Damage, Progress, Store
from store.dtypes import has_scales, row_bytes
from store.errors import FieldNotFoundError
from store.naming import folder_name
from store.on_zarr import documents, upkeep
from store.on_zarr.bucket import Bucket
from store.on_zarr.documents import DOCUMENT, BlockRecord, sealed_attributes
from store.on_zarr.field import ZarrField
from store.on_zarr.writer import ZarrWriter
from store.spec import FieldInfo, FieldSpec


class ZarrStore(Store):
    """Reads only what the current process needs, when it needs it."""

    backend: Backend = "zarr"

    def __init__(self, bucket: Bucket, path: str, mode: Literal["r", "a"], check: bool) -> None:
        self.path = path
        self.mode = mode
        self._bucket = bucket
        self._check = check

    def _documents(self) -> dict[str, bytes]:
        """Folder and document of every field, sorted."""
        folders = [f"fields/{child}" for child in sorted(self._bucket.children("fields", DOCUMENT).versions)]
        answers = self._bucket.read([f"{folder}/{DOCUMENT}" for folder in folders])
        return {f: answer.tobytes() for f, answer in zip(folders, answers, strict=True) if answer is not None}

    def fields(self) -> dict[str, FieldInfo]:
        infos = {}
        for folder, document in self._documents().items():
            attributes = sealed_attributes(document, f"the record of the field in {folder!r}")
            infos[attributes["name"]] = self._info(folder, FieldSpec.from_dict(attributes["spec"]))
        return dict(sorted(infos.items()))

    def _info(self, folder: str, spec: FieldSpec) -> FieldInfo:
        blocks = self._bucket.children(f"{folder}/blocks", DOCUMENT).versions
        answers = self._bucket.read([f"{folder}/blocks/{block}/{DOCUMENT}" for block in blocks])
        counts = [BlockRecord.unpack(answer.tobytes()).count for answer in answers if answer is not None]
        size = row_bytes(spec.dtype, spec.dim) + 4 * has_scales(spec.dtype)
        return FieldInfo(spec=spec, num_vectors=sum(counts), num_blocks=len(counts), num_bytes=size * sum(counts))

    def field(self, name: str) -> ZarrField:
        return ZarrField(self._bucket, self._existing(name), name, self.path, self._check)

    def writer(self, name: str, spec: FieldSpec) -> ZarrWriter:
        self.require_writable()
        folder = f"fields/{folder_name(check_name(name, 'field'))}"
        return ZarrWriter(self._bucket, folder, name, spec, self.path)

    def _existing(self, name: str) -> str:
        folder = f"fields/{folder_name(name)}"
        if self._bucket.read([f"{folder}/{DOCUMENT}"])[0] is None:
            names = list(self.fields())
            there = f"there are {', '.join(map(repr, names))}" if names else "it has no fields yet"
            raise FieldNotFoundError(f"the store {self.path!r} has no field {name!r}; {there}")
        return folder

    def verify(self, progress: Progress | None = None) -> list[Damage]:
        fields = self._documents().items()
        return [damage for f, document in fields for damage in upkeep.verify(self._bucket, f, document, progress)]

    def repair(self, progress: Progress | None = None) -> list[Damage]:
        self.require_writable()
        fields = self._documents().items()
        return [damage for f, document in fields for damage in upkeep.repair(self._bucket, f, document, progress)]

    def drop_blocks(self, name: str, blocks: Sequence[str]) -> None:
        self.require_writable()
        upkeep.drop_blocks(self._bucket, self._existing(name), name, blocks)

    def drop_field(self, name: str) -> None:
        self.require_writable()
        self._bucket.remove(self._existing(name), DOCUMENT)


def root_document() -> bytes:
    """The document of a new store."""
    return documents.group({"format": documents.FORMAT, "version": documents.VERSION})


def create(bucket: Bucket) -> bool:
    """Make an empty store; False if there is something already."""
    if bucket.read([DOCUMENT])[0] is not None or not bucket.write_new(DOCUMENT, root_document()):
        return False
    bucket.write("fields", {DOCUMENT: documents.group()})
    return True
