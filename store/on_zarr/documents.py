"""The ``zarr.json`` documents of a Zarr store: the code side of ``FORMAT.md``, section Zarr."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Self

from store.errors import DamagedBlockError
from store.hashing import checksum
from store.spec import FieldSpec

FORMAT = "keyclip-zarr"
VERSION = 1
DOCUMENT = "zarr.json"
CHUNK_BYTES = 4 * 2**20
"""Chunks have at most so many bytes: few objects, yet little to fetch for one row."""

NUMBERS = {"float32": "float32", "float16": "float16", "bfloat16": "uint16", "int8": "int8"}
"""Zarr data types of stored numbers; Zarr has no bfloat16, so its bits stand in a uint16."""


def to_bytes(document: dict[str, Any]) -> bytes:
    """A document as json, always the same bytes for the same content."""
    return json.dumps(document, sort_keys=True, indent=1).encode()


def group(attributes: dict[str, Any] | None = None) -> bytes:
    """The document of a group; ``attributes`` are ours."""
    ours = {"keyclip": attributes} if attributes else {}
    return to_bytes({"zarr_format": 3, "node_type": "group", "attributes": ours})


def attributes_of(data: bytes) -> dict[str, Any]:
    """Our attributes in a document; empty if it is no document of ours."""
    try:
        found = json.loads(data)["attributes"]["keyclip"]
    except (ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def sealed_group(attributes: dict[str, Any]) -> bytes:
    """The document of a group whose attributes carry their own checksum."""
    return group({**attributes, "checksum": _checksum_of(attributes)})


def sealed_attributes(data: bytes, what: str) -> dict[str, Any]:
    """Inverse of :func:`sealed_group`.

    Raises:
        DamagedBlockError: the checksum does not match; ``what`` opens the message.
    """
    values = attributes_of(data)
    if values.pop("checksum", None) != _checksum_of(values):
        raise DamagedBlockError(f"{what} does not match its checksum; run `keyclip store verify`")
    return values


def _checksum_of(values: dict[str, Any]) -> str:
    return f"{checksum(to_bytes(values)):016x}"


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
class BlockRecord:
    """A committed block: the attributes of its group under ``blocks``."""

    name: str
    count: int
    joined_keys_bytes: int
    rows_per_chunk: int
    data: str
    """Name of the group under ``data`` that holds its arrays."""
    content_digest: str
    """Hexadecimal; see :attr:`store.batch.Batch.content_digest`."""
    committed: float
    """Seconds since 1970 by the writer's clock; orders the blocks."""
    checksums: dict[str, list[str]]
    """XXH3-64 in hexadecimal of every chunk of every array."""

    def pack(self) -> bytes:
        """The group's document."""
        return sealed_group(asdict(self))

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Inverse of :meth:`pack`. Raises DamagedBlockError if it does not match its checksum."""
        return cls(**sealed_attributes(data, "a block's record"))

    @property
    def num_chunks(self) -> int:
        """Chunks of its vectors."""
        return -(-self.count // max(1, self.rows_per_chunk))

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
