"""The ``zarr.json`` documents of a Zarr store: the code side of ``FORMAT.md``, section Zarr."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Self, TypeVar

from store.common.checked import InvalidDataError, parse_json
from store.common.errors import DamagedFieldError
from store.core.naming import folder_name, shown_name
from store.core.spec import FieldSpec
from store.index.hashing import checksum
from store.zarr_backend.bucket import Data

R = TypeVar("R")

FORMAT = "keyclip-zarr"
VERSION = 1
DOCUMENT = "zarr.json"
CHUNK_BYTES = 4 * 2**20
"""Largest chunk: few objects, yet little to fetch for one row."""

MAX_DOCUMENT_BYTES = 2**26
_ARRAYS = {"vectors", "caption_hashes", "keys"}

NUMBERS = {"float32": "float32", "float16": "float16", "bfloat16": "uint16", "int8": "int8"}
"""Zarr data types of stored numbers; Zarr has no bfloat16, so a uint16 holds its bits."""


def to_bytes(document: dict[str, Any]) -> bytes:
    """A document as json, always the same bytes for the same content."""
    return json.dumps(document, sort_keys=True, indent=1).encode()


def group(attributes: dict[str, Any] | None = None) -> bytes:
    """The document of a group with keyclip's ``attributes``."""
    ours = {"keyclip": attributes} if attributes else {}
    return to_bytes({"zarr_format": 3, "node_type": "group", "attributes": ours})


def attributes_of(data: Data | bytes) -> dict[str, Any]:
    """keyclip's attributes in a document; empty if it is no document of keyclip."""
    if len(data) > MAX_DOCUMENT_BYTES:
        return {}
    try:
        ours = parse_json(bytes(data), dict[str, Any], "a document")["attributes"]["keyclip"]
    except (InvalidDataError, KeyError, TypeError):
        return {}
    return ours if isinstance(ours, dict) else {}


def sealed_group(record: Any) -> bytes:
    """The document of a group whose attributes are a record and its checksum."""
    attributes = asdict(record)
    return group({**attributes, "checksum": _checksum_of(to_bytes(attributes))})


def unsealed(data: Data | bytes, expected: type[R], what: str) -> R:
    """The record in a document that :func:`sealed_group` made.

    Raises:
        DamagedFieldError: it is not what was written; ``what`` opens the message.
    """
    values = attributes_of(data)
    seal, body = values.pop("checksum", None), to_bytes(values)
    if seal != _checksum_of(body):
        raise DamagedFieldError(f"{what} does not match its checksum")
    try:
        return parse_json(body, expected, what)
    except InvalidDataError as error:
        raise DamagedFieldError(str(error)) from error


def _checksum_of(body: bytes) -> str:
    return f"{checksum(body):016x}"


def array(data_type: str, shape: tuple[int, ...], chunk: tuple[int, ...]) -> bytes:
    """The document of an uncompressed little-endian array."""
    endian = {} if data_type in ("uint8", "int8") else {"configuration": {"endian": "little"}}
    return to_bytes(
        {
            "zarr_format": 3,
            "node_type": "array",
            "shape": shape,
            "data_type": data_type,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "fill_value": 0,
            "codecs": [{"name": "bytes", **endian}],
            "attributes": {},
        }
    )


def rows_per_chunk(count: int, row_bytes: int) -> int:
    """Rows in each chunk of a block of ``count`` rows: few chunks, filled evenly, since Zarr pads the last one."""
    chunks = -(-count // max(1, CHUNK_BYTES // row_bytes))
    return -(-count // max(1, chunks))


@dataclass(frozen=True, slots=True)
class FieldRecord:
    """The attributes of a field's group."""

    name: str
    spec: FieldSpec

    def pack(self) -> bytes:
        """The group's document."""
        return sealed_group(self)

    @classmethod
    def unpack(cls, data: Data | bytes | None, folder: str) -> Self:
        """Inverse of :meth:`pack`, for the document in ``fields/`` and ``folder``.

        Raises:
            DamagedFieldError: it is not there, or not what was written for this folder.
        """
        try:
            if data is None:
                raise DamagedFieldError("it is not there")
            record = unsealed(data, cls, "it")
            if folder_name(record.name) != folder:
                raise DamagedFieldError(f"it is the record of field {record.name!r}")
        except DamagedFieldError as error:
            raise DamagedFieldError(
                f"the record fields/{folder}/{DOCUMENT} of field {shown_name(folder)!r} is damaged: {error}; "
                "drop the field, or restore the record from a copy"
            ) from error
        return record


@dataclass(frozen=True, slots=True)
class BlockRecord:
    """A committed block: the attributes of its group under ``blocks``."""

    name: str
    count: int
    joined_keys_bytes: int
    rows_per_chunk: int
    data: str
    """Name of the group under ``data`` that holds its arrays."""
    content_digest: str
    """Hexadecimal; see :attr:`store.core.batch.Batch.content_digest`."""
    committed: float
    """Seconds since 1970 by the writer's clock; orders the blocks."""
    checksums: dict[str, list[str]]
    """XXH3-64 in hexadecimal of every chunk of every array."""

    def __post_init__(self) -> None:
        if min(self.count, self.joined_keys_bytes) < 0 or self.rows_per_chunk < bool(self.count):
            raise ValueError("its numbers contradict each other")
        if "/" in self.data or self.data.startswith(".") or len(self.digest) != 16:
            raise ValueError("its names are no names")
        num_chunks = -(-self.count // max(1, self.rows_per_chunk))
        chunks = {"vectors": num_chunks, **dict.fromkeys(self.checksums.keys() - {"vectors"}, bool(self.count))}
        if {name: len(sums) for name, sums in self.checksums.items()} != chunks or not set(self.checksums) >= _ARRAYS:
            raise ValueError("it does not have one checksum per chunk")

    @property
    def digest(self) -> bytes:
        """The content digest as bytes."""
        return bytes.fromhex(self.content_digest)

    def pack(self) -> bytes:
        """The group's document."""
        return sealed_group(self)

    @classmethod
    def unpack(cls, data: Data | bytes, folder: str) -> Self:
        """Inverse of :meth:`pack`, for the folder name of a block. Raises DamagedFieldError if it is not that."""
        record = unsealed(data, cls, f"the record of block {shown_name(folder)!r}")
        if folder_name(record.name) != folder:
            raise DamagedFieldError(f"the record of block {shown_name(folder)!r} belongs to block {record.name!r}")
        return record

    def arrays(self, spec: FieldSpec) -> dict[str, bytes]:
        """Documents of its arrays, by the arrays' names."""
        rows, count = max(1, self.rows_per_chunk), max(1, self.count)
        documents = {
            "vectors": array(NUMBERS[spec.dtype], (self.count, spec.dim), (rows, spec.dim)),
            "caption_hashes": array("uint64", (self.count,), (count,)),
            "keys": array("uint8", (self.joined_keys_bytes,), (max(1, self.joined_keys_bytes),)),
        }
        if spec.dtype == "int8":
            documents["scales"] = array("float32", (self.count,), (count,))
        return documents


def chunk_key(array_name: str, chunk: int) -> str:
    """Key of a chunk within its block's data group."""
    return f"vectors/c/{chunk}/0" if array_name == "vectors" else f"{array_name}/c/{chunk}"
