"""Reading a field: what every backend shares of looking up keys, output types and errors."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import DTypeLike, NDArray

from store.common.errors import InvalidVectorsError, KeyclipError, MissingKeysError
from store.core.batch import Batch, hash_keys
from store.core.dtypes import OUTPUTS, STORAGE, decode, default_output, has_scales
from store.core.info import FieldInfo, html_table
from store.core.snapshot import Snapshot
from store.core.spec import FieldSpec
from store.index.keytable import ABSENT, Places

DECODED_NUMBERS = 2**18
"""Numbers converted at a time when the stored type differs from the wanted one: they fit in the processor's cache."""

Backend = Literal["lmdb", "zarr"]
Missing = Literal["error", "mask"]
Found = NDArray[np.bool_]
Vectors = NDArray[Any]
Dtype = DTypeLike | None


class Field(ABC):
    """A named column of vectors: ``sample key -> vector``. Safe to pickle, to fork and to use from threads."""

    backend: Backend
    store_path: str
    name: str
    spec: FieldSpec

    @abstractmethod
    def snapshot(self) -> Snapshot:
        """The blocks committed by now."""

    @overload
    def get(
        self, keys: Sequence[str], *, missing: Literal["error"] = ..., out: Vectors | None = ..., dtype: Dtype = ...
    ) -> Vectors: ...

    @overload
    def get(
        self, keys: Sequence[str], *, missing: Literal["mask"], out: Vectors | None = ..., dtype: Dtype = ...
    ) -> tuple[Vectors, Found]: ...

    def get(
        self, keys: Sequence[str], *, missing: Missing = "error", out: Vectors | None = None, dtype: Dtype = None
    ) -> Vectors | tuple[Vectors, Found]:
        """Vectors of ``keys``, row ``i`` for key ``i``; a key may come more than once.

        Args:
            keys: n sample keys.
            missing: ``error`` raises for absent keys; ``mask`` leaves their rows zero and returns ``(vectors, found)``.
            out: (n, dim) float16 or float32 to fill and return; a contiguous one is filled without a copy.
            dtype: float16 or float32; by default that of ``out``, else float16 where float16 is stored, else float32.

        Returns:
            (n, dim) vectors, with ``mask`` also (n,) bool.

        Raises:
            MissingKeysError: naming the first keys that are absent.
            InvalidVectorsError: ``out`` or ``dtype`` does not fit.
            DamagedBlockError: a vector's stored bytes do not match their checksum.
        """
        out = self._output(len(keys), out, dtype)
        with self.snapshot() as snapshot:
            places = snapshot.locate(hash_keys(keys))
            found = places != ABSENT
            if found.all():
                self.fill(snapshot, places, out)
            elif missing == "error":
                raise self._missing(keys, found)
            else:
                out[~found] = 0
                if found.any():
                    rows = np.empty((int(found.sum()), self.spec.dim), out.dtype)
                    out[found] = self.fill(snapshot, places[found], rows)
        return (out, found) if missing == "mask" else out

    def contains(self, keys: Sequence[str]) -> Found:
        """Which of the keys have a vector: (n,) bool."""
        with self.snapshot() as snapshot:
            return np.not_equal(snapshot.locate(hash_keys(keys)), ABSENT)

    @overload
    def caption_hashes(self, keys: Sequence[str], *, missing: Literal["error"] = ...) -> NDArray[np.uint64]: ...

    @overload
    def caption_hashes(self, keys: Sequence[str], *, missing: Literal["mask"]) -> tuple[NDArray[np.uint64], Found]: ...

    def caption_hashes(
        self, keys: Sequence[str], *, missing: Missing = "error"
    ) -> NDArray[np.uint64] | tuple[NDArray[np.uint64], Found]:
        """Hashes of the captions from which the keys' vectors were made: (n,) uint64; zero for absent keys.

        To find stale vectors, compare them with :func:`store.caption_hashes` of today's captions by
        :func:`store.captions_differ`.

        Raises:
            MissingKeysError: naming the first keys that are absent, unless ``missing`` is ``mask``.
        """
        with self.snapshot() as snapshot:
            places = snapshot.locate(hash_keys(keys))
            found = places != ABSENT
            if missing == "error" and not found.all():
                raise self._missing(keys, found)
            hashes = np.zeros(len(keys), np.uint64)
            hashes[found] = snapshot.take_caption_hashes(places[found])
        return (hashes, found) if missing == "mask" else hashes

    def __contains__(self, key: str) -> bool:
        return bool(self.contains([key])[0])

    def __len__(self) -> int:
        with self.snapshot() as snapshot:
            return snapshot.count()

    def info(self) -> FieldInfo:
        """Provenance and sizes of the field by now."""
        with self.snapshot() as snapshot:
            return FieldInfo(spec=self.spec, num_vectors=snapshot.count(), num_blocks=len(snapshot.block_names()))

    def __repr__(self) -> str:
        try:
            about: object = self.info()
        except KeyclipError as error:
            about = error
        return f"<Field {self.name!r} of {self.store_path!r} ({self.backend}): {about}>"

    def _repr_html_(self) -> str:
        info = self.info()
        sizes = {"vectors": info.num_vectors, "blocks": info.num_blocks, "size": info.size}
        title = f"Field {self.name!r} of the store {self.store_path!r} ({self.backend})"
        return html_table(title, (sizes | self.spec.to_dict()).items())

    def blocks(self) -> list[str]:
        """Names of the committed blocks, in the order of their commits."""
        with self.snapshot() as snapshot:
            return snapshot.block_names()

    def keys(self) -> list[str]:
        """All keys, block after block in the order of commits; about 60 bytes of memory each."""
        with self.snapshot() as snapshot:
            return [key for block in snapshot.block_names() for key in snapshot.block_keys(block)]

    def read_block(self, block: str, *, dtype: Dtype = None) -> tuple[list[str], Vectors]:
        """Keys and vectors (n, dim) of a block, in its own order.

        Raises:
            BlockNotFoundError: there is no such block.
            DamagedBlockError: its bytes do not match their checksum.
        """
        with self.snapshot() as snapshot:
            keys, places = snapshot.block_keys(block), snapshot.block_places(block)
            return keys, self.fill(snapshot, places, self._output(len(keys), None, dtype))

    def read_batch(self, block: str) -> Batch:
        """A block just as it is stored, for copying it to a field of the same dtype; raises as :meth:`read_block`."""
        with self.snapshot() as snapshot:
            return snapshot.read_batch(block, self.spec)

    def block_digest(self, block: str) -> bytes:
        """16 bytes that are equal for two blocks with the same keys and captions. Raises BlockNotFoundError."""
        with self.snapshot() as snapshot:
            return snapshot.block_digest(block)

    def _output(self, count: int, out: Vectors | None, dtype: Dtype) -> Vectors:
        shape = (count, self.spec.dim)
        wanted = np.dtype(dtype) if dtype is not None else out.dtype if out is not None else None
        wanted = default_output(self.spec.dtype) if wanted is None else wanted
        if wanted not in OUTPUTS:
            raise InvalidVectorsError(f"vectors of {self.name!r} are read as float16 or float32, not {wanted}")
        if out is None:
            return np.empty(shape, wanted)
        if out.shape != shape or out.dtype != wanted:
            raise InvalidVectorsError(
                f"out has shape {out.shape} and type {out.dtype}; expected {shape} and {wanted} "
                f"for {count} keys of field {self.name!r}"
            )
        return out

    def fill(self, snapshot: Snapshot, places: Places, out: Vectors) -> Vectors:
        """Fill ``out`` (n, dim) with the vectors at places of a snapshot of this field, and return it."""
        dtype = self.spec.dtype
        stored = STORAGE[dtype]
        if out.dtype == stored and out.flags.c_contiguous:
            snapshot.take_rows(places, out)
            return out
        step = max(1, DECODED_NUMBERS // self.spec.dim)
        rows = np.empty((min(len(places), step), self.spec.dim), stored)
        for start in range(0, len(places), step):
            part = places[start : start + step]
            snapshot.take_rows(part, rows[: len(part)])
            scales = snapshot.take_scales(part) if has_scales(dtype) else None
            decode(rows[: len(part)], scales, dtype, out[start : start + len(part)])
        return out

    def _missing(self, keys: Sequence[str], found: Found) -> MissingKeysError:
        absent = np.flatnonzero(~found)
        first = ", ".join(repr(keys[i]) for i in absent[:5]) + (", ..." if len(absent) > 5 else "")
        return MissingKeysError(
            f"{len(absent)} of {len(keys)} keys have no vector in field {self.name!r}: {first}; "
            "embed their captions, or ask with missing='mask'"
        )
