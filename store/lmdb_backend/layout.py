"""On-disk layout of an LMDB store: the code side of ``FORMAT.md``, section LMDB."""

import json
import struct
from dataclasses import asdict, dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from store.common.checked import InvalidDataError, parse_json
from store.common.errors import DamagedFieldError
from store.core.dtypes import has_scales, row_bytes
from store.core.spec import FieldSpec
from store.index.hashing import checksum

FORMAT = "keyclip-lmdb"
VERSION = 1

META, BLOCKS, VALUES, INDEX = b"meta", b"blocks", b"values", b"index"
DATABASES = (META, BLOCKS, VALUES, INDEX)
FIELD = b"field"
"""Key of the field's record in META."""

PAGE_HEADER_BYTES = 16
"""LMDB's header before a value that has pages of its own; its first eight bytes are the page's number."""
HEADER = struct.Struct("<8s4I2Q")
MAGIC = b"keyclip\x01"
CHUNK_BYTES = 4 * 2**20
"""A chunk holds as many rows as fit: large enough to waste 0.1 % in its first page, small enough to check at once."""
HEAD = 0
"""Part number of a block's head; its chunks are 1, 2, ..."""


def number_key(number: int) -> bytes:
    """Key of a block's record and of an index segment; big-endian, so that records come in order."""
    return struct.pack(">I", number)


def value_key(block: int, part: int) -> bytes:
    """Key of a head (part 0) or a chunk."""
    return struct.pack(">II", block, part)


@dataclass(frozen=True, slots=True)
class ValueHeader:
    """The first bytes of every large value: what it is, and the checksum of header and payload.

    The payload begins on the next page, so that rows whose length divides the page span as few pages as they can.
    """

    number: int
    """Block number, or segment number in the index."""
    part: int
    count: int
    """Rows, keys or index entries in it."""
    payload_bytes: int

    def prefix(self) -> bytes:
        """The 32 bytes before the checksum."""
        return HEADER.pack(MAGIC, self.number, self.part, self.count, 0, self.payload_bytes, 0)[:-8]

    def value(self, page_bytes: int, *parts: NDArray[np.uint8] | bytes) -> NDArray[np.uint8]:
        """Header, zeros up to the next page, and the payload: ``parts`` one after the other."""
        at = start = page_bytes - PAGE_HEADER_BYTES
        value = np.zeros(start + self.payload_bytes, np.uint8)
        for part in parts:
            value[at : at + len(part)] = np.frombuffer(part, np.uint8)
            at += len(part)
        head = self.prefix() + struct.pack("<Q", checksum(self.prefix(), value[start:]))
        value[: len(head)] = np.frombuffer(head, np.uint8)
        return value

    def begins(self, value: NDArray[np.uint8]) -> bool:
        """Whether ``value`` begins with this header; the payload is not compared."""
        return value[: HEADER.size - 8].tobytes() == self.prefix()

    def matches(self, value: NDArray[np.uint8], payload: NDArray[np.uint8]) -> bool:
        """Whether ``value`` begins with this header and ``payload`` has its checksum."""
        expected = int.from_bytes(value[HEADER.size - 8 : HEADER.size].tobytes(), "little")
        return self.begins(value) and checksum(self.prefix(), payload) == expected


def sealed(body: bytes) -> bytes:
    """``body`` with its checksum as the last eight bytes."""
    return body + struct.pack("<Q", checksum(body))


def unsealed(data: bytes, what: str) -> bytes:
    """Inverse of :func:`sealed`.

    Raises:
        DamagedFieldError: the checksum does not match; ``what`` opens the message.
    """
    if len(data) < 8 or checksum(data[:-8]) != struct.unpack("<Q", data[-8:])[0]:
        raise DamagedFieldError(f"{what} does not match its checksum")
    return data[:-8]


@dataclass(frozen=True, slots=True)
class BlockRecord:
    """A committed block: enough to find and check its values."""

    name: str
    count: int
    joined_keys_bytes: int
    content_digest: bytes
    """16 bytes; see :attr:`store.core.batch.Batch.content_digest`."""
    pages: tuple[int, ...]
    """LMDB page numbers of the head and the chunks. Hints: a reader compares the header that it finds there."""

    def pack(self) -> bytes:
        """Fixed part, name, pages, checksum."""
        name = self.name.encode()
        fixed = _BLOCK.pack(self.count, self.joined_keys_bytes, self.content_digest, len(name), len(self.pages))
        return sealed(fixed + name + struct.pack(f"<{len(self.pages)}Q", *self.pages))

    @classmethod
    def unpack(cls, data: bytes, field: "FieldRecord", number: int) -> Self | None:
        """Inverse of :meth:`pack`; None if it is not the record that was written for block ``number`` of a field."""
        try:
            body = unsealed(data, "a block's record")
            count, key_bytes, digest, name_bytes, num_pages = _BLOCK.unpack_from(body)
            name = body[_BLOCK.size : _BLOCK.size + name_bytes].decode()
            pages = struct.unpack_from(f"<{num_pages}Q", body, _BLOCK.size + name_bytes)
        except (DamagedFieldError, struct.error, UnicodeDecodeError):
            return None
        fits = 0 <= number < field.next_block and num_pages == 1 - (-count // field.rows_per_chunk)
        return cls(name, count, key_bytes, digest, pages) if fits else None

    def head(self, number: int) -> ValueHeader:
        """Header of the head: caption hashes (8 bytes each), then the keys."""
        return ValueHeader(number, HEAD, self.count, 8 * self.count + self.joined_keys_bytes)


_BLOCK = struct.Struct("<IQ16sHI")


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a field's index: a :class:`store.index.keytable.KeyTable` of ``count`` rows."""

    number: int
    count: int
    page: int
    """LMDB page number; a hint, as in a block record."""


@dataclass(frozen=True, slots=True)
class FieldRecord:
    """What changes with a commit; json, so that a person can read it."""

    name: str
    spec: FieldSpec
    rows_per_chunk: int
    epoch: int = 0
    """Grows whenever blocks are dropped, so that readers forget what they know of the field."""
    dropped: bool = False
    """The field is being deleted: no writer may add to it."""
    num_vectors: int = 0
    num_blocks: int = 0
    next_block: int = 0
    next_segment: int = 0
    segments: tuple[Segment, ...] = ()

    def __post_init__(self) -> None:
        size = self.rows_per_chunk
        if size < 1 or size & (size - 1) or min(self.num_vectors, self.num_blocks, self.next_block) < 0:
            raise ValueError("the numbers of a field's record contradict each other")

    def pack(self) -> bytes:
        """Json, checksum."""
        return sealed(json.dumps(asdict(self), sort_keys=True).encode())

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Inverse of :meth:`pack`. Raises DamagedFieldError if it is not what was written."""
        try:
            return parse_json(unsealed(data, "the field's record"), cls, "the field's record")
        except InvalidDataError as error:
            raise DamagedFieldError(str(error)) from error


def rows_per_chunk(spec: FieldSpec) -> int:
    """Rows in a full chunk: the largest power of two within CHUNK_BYTES, from 1 to 65,536."""
    return 1 << min(16, max(0, (CHUNK_BYTES // row_bytes(spec.dtype, spec.dim)).bit_length() - 1))


def scales_at(spec: FieldSpec, count: int) -> int:
    """Offset of the scales in a chunk's payload: after the rows, on a multiple of four."""
    return -(-count * row_bytes(spec.dtype, spec.dim) // 4) * 4


def chunk_header(spec: FieldSpec, block: int, part: int, count: int) -> ValueHeader:
    """Header of a chunk of ``count`` rows: rows, padding to a multiple of four and scales if the dtype has any."""
    size = count * row_bytes(spec.dtype, spec.dim)
    if has_scales(spec.dtype):
        size = scales_at(spec, count) + 4 * count
    return ValueHeader(block, part, count, size)
