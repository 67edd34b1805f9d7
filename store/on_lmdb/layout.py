"""What stands where in an LMDB store: the code side of ``FORMAT.md``, section LMDB."""

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from store.dtypes import has_scales, row_bytes
from store.errors import DamagedBlockError
from store.hashing import checksum
from store.spec import FieldSpec

FORMAT = "keyclip-lmdb"
VERSION = 1

META, FIELDS, BLOCKS, VALUES, INDEX = b"meta", b"fields", b"blocks", b"values", b"index"
DATABASES = (META, FIELDS, BLOCKS, VALUES, INDEX)

PAGE_HEADER_BYTES = 16
"""LMDB writes so much before a value that has pages of its own; the first eight bytes are the page's number."""
HEADER = struct.Struct("<8s4I3Q")
MAGIC = b"keyclip\x01"
PAYLOAD_AT = PAGE_HEADER_BYTES + HEADER.size
"""Bytes from the start of a page to the payload: 64, one cache line."""
CHUNK_BYTES = 4 * 2**20
"""A chunk holds as many rows as fit: large enough to waste 0.1 % in its last page, small enough to check at once."""
HEAD = 0
"""Part number of a block's head; its chunks are 1, 2, ..."""


def field_key(field_id: int) -> bytes:
    """Prefix of every record of a field; big-endian, so that records of a field stand together and in order."""
    return struct.pack(">I", field_id)


def block_key(field_id: int, block: int) -> bytes:
    """Key of a block record, and prefix of the block's values."""
    return struct.pack(">II", field_id, block)


def value_key(field_id: int, block: int, part: int) -> bytes:
    """Key of a head (part 0) or a chunk."""
    return struct.pack(">III", field_id, block, part)


@dataclass(frozen=True, slots=True)
class ValueHeader:
    """The first 48 bytes of every large value: what it is, and the checksum of header and payload."""

    field_id: int
    block: int
    """Block number, or segment number in the index."""
    part: int
    count: int
    """Rows, keys or index entries in it."""
    payload_bytes: int

    def prefix(self) -> bytes:
        """The 40 bytes before the checksum."""
        head = (self.field_id, self.block, self.part, self.count, self.payload_bytes, 0, 0)
        return HEADER.pack(MAGIC, *head)[:-8]

    @property
    def value_bytes(self) -> int:
        """Length of header and payload."""
        return HEADER.size + self.payload_bytes

    def value(self, page_bytes: int, *parts: NDArray[np.uint8] | bytes) -> NDArray[np.uint8]:
        """Header, payload (``parts`` one after the other) and zeros up to a page as one array.

        Shorter values would not get pages of their own: LMDB keeps small ones inside tree pages, where they move.
        """
        value = np.zeros(max(self.value_bytes, page_bytes - PAGE_HEADER_BYTES), np.uint8)
        at = HEADER.size
        for part in parts:
            data = np.frombuffer(part, np.uint8) if isinstance(part, bytes) else part
            value[at : at + len(data)] = data
            at += len(data)
        prefix = self.prefix()
        payload = value[HEADER.size : HEADER.size + self.payload_bytes]
        value[: HEADER.size] = np.frombuffer(prefix + struct.pack("<Q", checksum(prefix, payload)), np.uint8)
        return value

    def names(self, value: NDArray[np.uint8]) -> bool:
        """Whether ``value`` begins with this header; says nothing of the payload."""
        return len(value) >= self.value_bytes and bytes(value[: HEADER.size - 8]) == self.prefix()

    def matches(self, value: NDArray[np.uint8]) -> bool:
        """Whether ``value`` has this header and an intact payload."""
        if not self.names(value):
            return False
        expected = int(value[HEADER.size - 8 : HEADER.size].view("<u8")[0])
        return checksum(self.prefix(), value[HEADER.size : HEADER.size + self.payload_bytes]) == expected


@dataclass(frozen=True, slots=True)
class BlockRecord:
    """A committed block: small, and enough to find and check everything else of it."""

    name: str
    count: int
    joined_keys_bytes: int
    content_digest: bytes
    """16 bytes; see :attr:`store.batch.Batch.content_digest`."""
    pages: tuple[int, ...]
    """LMDB page numbers of the head and the chunks. Hints: a reader believes the header that it finds there."""

    _FIXED = struct.Struct("<IQ16sHI")

    def pack(self) -> bytes:
        """Fixed part, name, pages, and the checksum of them all."""
        name = self.name.encode()
        fixed = self._FIXED.pack(self.count, self.joined_keys_bytes, self.content_digest, len(name), len(self.pages))
        body = fixed + name + struct.pack(f"<{len(self.pages)}Q", *self.pages)
        return body + struct.pack("<Q", checksum(body))

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Inverse of :meth:`pack`.

        Raises:
            DamagedBlockError: the checksum does not match.
        """
        if len(data) < 8 or checksum(data[:-8]) != struct.unpack("<Q", data[-8:])[0]:
            raise DamagedBlockError("a block's record does not match its checksum; run `keyclip store repair`")
        count, key_bytes, digest, name_bytes, num_pages = cls._FIXED.unpack_from(data)
        pages_at = cls._FIXED.size + name_bytes
        name = data[cls._FIXED.size : pages_at].decode()
        return cls(name, count, key_bytes, digest, struct.unpack_from(f"<{num_pages}Q", data, pages_at))

    def head(self, field_id: int, block: int) -> ValueHeader:
        """Header of the head: caption hashes (8 bytes each), then the keys."""
        return ValueHeader(field_id, block, HEAD, self.count, 8 * self.count + self.joined_keys_bytes)


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a field's index: a :class:`store.keytable.KeyTable` of ``count`` rows."""

    number: int
    count: int
    page: int
    """LMDB page number; a hint, as in a block record."""


@dataclass(frozen=True, slots=True)
class FieldRecord:
    """Everything of a field that changes with a commit; json, since a person may want to read it."""

    field_id: int
    spec: FieldSpec
    rows_per_chunk: int
    epoch: int = 0
    """Grows whenever blocks are dropped, which tells readers to forget what they know of the field."""
    num_vectors: int = 0
    num_blocks: int = 0
    next_block: int = 0
    next_segment: int = 0
    segments: Sequence[Segment] = field(default_factory=tuple)

    def pack(self) -> bytes:
        """Json, with the checksum of everything before it as the last eight bytes."""
        values = {name: getattr(self, name) for name in self.__slots__ if name not in ("spec", "segments")}
        values["spec"] = self.spec.to_dict()
        values["segments"] = [[s.number, s.count, s.page] for s in self.segments]
        body = json.dumps(values, sort_keys=True).encode()
        return body + struct.pack("<Q", checksum(body))

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Inverse of :meth:`pack`.

        Raises:
            DamagedBlockError: the checksum does not match.
        """
        if len(data) < 8 or checksum(data[:-8]) != struct.unpack("<Q", data[-8:])[0]:
            raise DamagedBlockError("a field's record does not match its checksum; restore the store from a copy")
        values = json.loads(data[:-8])
        values["spec"] = FieldSpec.from_dict(values["spec"])
        values["segments"] = tuple(Segment(*s) for s in values["segments"])
        return cls(**values)


def rows_per_chunk(spec: FieldSpec) -> int:
    """Rows in a full chunk: the largest power of two within CHUNK_BYTES, from 1 to 65,536."""
    return int(2 ** min(16, max(0, (CHUNK_BYTES // row_bytes(spec.dtype, spec.dim)).bit_length() - 1)))


def scales_at(spec: FieldSpec, count: int) -> int:
    """Where in a chunk's payload the scales begin: after the rows, on a multiple of four."""
    return -(-count * row_bytes(spec.dtype, spec.dim) // 4) * 4


def chunk_header(field_id: int, spec: FieldSpec, block: int, part: int, count: int) -> ValueHeader:
    """Header of a chunk of ``count`` rows: rows, padding to a multiple of four and scales if the dtype has any."""
    size = count * row_bytes(spec.dtype, spec.dim)
    if has_scales(spec.dtype):
        size = scales_at(spec, count) + 4 * count
    return ValueHeader(field_id, block, part, count, size)
