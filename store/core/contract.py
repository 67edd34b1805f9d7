"""The contract that every backend obeys: ``Store``, ``Field`` and ``Writer``, and the code that backends share.

A backend gives a :class:`~store.core.snapshot.Snapshot` per read. Everything that a caller sees of reading (missing
keys, output types, errors) is here, once.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from store.common.errors import (
    BlockNotFoundError,
    DamagedFieldError,
    FieldNotFoundError,
    InvalidKeysError,
    InvalidVectorsError,
    KeyclipError,
    MissingKeysError,
    ReadOnlyError,
)
from store.core.batch import Batch, hash_keys, make_batch
from store.core.dtypes import OUTPUTS, STORAGE, decode, default_output, has_scales
from store.core.info import FieldInfo, html_table
from store.core.naming import check_name, folder_name, shown_name
from store.core.snapshot import Snapshot
from store.core.spec import FieldSpec
from store.index.keytable import ABSENT, Places

DECODED_NUMBERS = 2**18
"""Numbers converted at a time when the stored type is not the one asked for: they stay in the processor's cache."""

Backend = Literal["lmdb", "zarr"]
Mode = Literal["r", "a"]
Missing = Literal["error", "mask"]
Found = NDArray[np.bool_]
Vectors = NDArray[Any]
Dtype = DTypeLike | None
Progress = Callable[[str, int, int], None]


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


class Writer(ABC):
    """Adds blocks to one field. Several writers, in several processes, may work at once."""

    name: str
    spec: FieldSpec

    def commit(self, block: str, keys: Sequence[str], vectors: Vectors, caption_hashes: ArrayLike) -> bool:
        """Store a block, atomically and durably: after the return it survives a crash; before, nothing of it is seen.

        Args:
            block: the block's name, such as the shard's.
            keys: n sample keys, unique in the field; no keys at all mark a shard without captions as done.
            vectors: (n, dim) float16, float32 or float64; of torch's bfloat16 give ``.float().numpy()``.
            caption_hashes: (n,) uint64 of :func:`store.caption_hashes`; UNKNOWN_CAPTION where the caption is not known.

        Returns:
            True if the block was written; False if the very same block (keys and caption hashes) was there already.

        Raises:
            DuplicateKeyError: a key comes twice or is in another block of the field; names it.
            BlockExistsError: the block is there with other keys or captions.
            InvalidKeysError, InvalidVectorsError: the arguments cannot be stored.
            StoreFullError: the disk is full; nothing of the block was stored.
            FieldNotFoundError: the field was dropped meanwhile.
        """
        return self.commit_batch(make_batch(self.spec, block, keys, vectors, caption_hashes))

    @abstractmethod
    def commit_batch(self, batch: Batch) -> bool:
        """Store a block that :func:`store.core.batch.make_batch` made for this spec; as :meth:`commit`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Damage:
    """Something in a store that differs from what was written."""

    field: str
    block: str | None
    """The block that cannot be trusted; None if it is the field's index or the store's own records."""
    what: str
    """One clause."""


class Store(ABC):
    """A place that holds fields. Safe to pickle, to fork and to use from threads.

    Attributes:
        path: folder or URL.
    """

    backend: Backend

    def __init__(self, path: str, mode: Mode, check: bool) -> None:
        self.path = path
        self.mode = mode
        self._check = check

    def survey(self) -> dict[str, FieldInfo | DamagedFieldError]:
        """Every field, by name, sorted; for a damaged one the error that reading it raises."""
        found: dict[str, FieldInfo | DamagedFieldError] = {}
        for folder in self._folders():
            try:
                found |= self._upkeep(folder).look()
            except DamagedFieldError as error:
                found[shown_name(folder)] = error
        return dict(sorted(found.items()))

    def fields(self) -> dict[str, FieldInfo]:
        """Every field that can be read, by name, sorted."""
        return {name: about for name, about in self.survey().items() if isinstance(about, FieldInfo)}

    def damaged_fields(self) -> dict[str, DamagedFieldError]:
        """Every field that cannot be read, by name, sorted, and why.

        ``repair`` mends it where its records are left; ``drop_field`` removes any.
        """
        return {name: about for name, about in self.survey().items() if isinstance(about, DamagedFieldError)}

    def __repr__(self) -> str:
        about = f"{self.path!r} ({self.backend}, mode {self.mode!r})"
        try:
            fields = [f"\n  {name!r}: {info}" for name, info in self.survey().items()]
        except KeyclipError as error:
            return f"<Store {about}: {error}>"
        return f"<Store {about}: {len(fields)} field{'s' * (len(fields) != 1)}>{''.join(fields)}"

    def _repr_html_(self) -> str:
        rows: list[tuple[object, ...]] = [("field", "vectors", "dim", "dtype", "size", "captions", "embedded by")]
        for name, about in self.survey().items():
            if isinstance(about, FieldInfo):
                spec = about.spec
                rows.append((name, about.num_vectors, spec.dim, spec.dtype, about.size, spec.caption_field, spec.model))
            else:
                rows.append((name, about))
        return html_table(f"Store {self.path!r} ({self.backend}, mode {self.mode!r})", rows)

    @abstractmethod
    def field(self, name: str) -> Field:
        """The field of this name, for reading.

        Raises:
            FieldNotFoundError: there is none; names the fields there are.
            DamagedFieldError: its records are damaged.
        """

    @abstractmethod
    def writer(self, name: str, spec: FieldSpec) -> Writer:
        """Make the field, or reopen it, for writing.

        Raises:
            SpecMismatchError: the field exists with another spec; names every difference.
            ReadOnlyError: the store was opened with mode ``r``.
            InvalidKeysError: the name is empty or too long.
        """

    def verify(self, progress: Progress | None = None) -> list[Damage]:
        """Read everything and compare it with its checksums; also that every key leads to its vector.

        Args:
            progress: called after each block with (field, blocks done, blocks in all).
        """
        return self._of_all_fields(lambda field: field.verify(progress))

    def repair(self, progress: Progress | None = None) -> list[Damage]:
        """Drop the damaged blocks, so that the embedder's next run fills exactly them, and mend what can be.

        Returns:
            What was damaged before. Raises ReadOnlyError if the store was opened for reading.
        """
        self.require_writable()
        return self._of_all_fields(lambda field: field.repair(progress))

    def drop_blocks(self, name: str, blocks: Sequence[str]) -> None:
        """Remove blocks from a field: all or, if one is absent, none (BlockNotFoundError)."""
        self.require_writable()
        self._upkeep(self._existing(name)).drop_blocks(name, blocks)

    def drop_field(self, name: str) -> None:
        """Remove a field and give its space back at once. Raises FieldNotFoundError, ReadOnlyError."""
        self.require_writable()
        shown = [folder for folder in self._folders() if shown_name(folder) == name]  # also if it is damaged
        self._upkeep(shown[0] if shown else self._existing(name)).drop()

    def require_writable(self) -> None:
        """Raises ReadOnlyError if the store was opened for reading."""
        if self.mode != "a":
            raise ReadOnlyError(f"the store {self.path!r} was opened for reading; open it with mode='a' to write")

    def _existing(self, name: str) -> str:
        """The folder of a field. Raises FieldNotFoundError."""
        try:
            folder = folder_name(check_name(name, "field"))
        except InvalidKeysError:
            folder = ""
        if not folder or not self._upkeep(folder).exists():
            there = named(map(shown_name, self._folders()))
            raise FieldNotFoundError(f"the store {self.path!r} has no field {name!r:.200}; {there}")
        return folder

    def _of_all_fields(self, work: Callable[["Upkeep"], list[Damage]]) -> list[Damage]:
        damages: list[Damage] = []
        for folder in self._folders():
            try:
                damages += work(self._upkeep(folder))
            except DamagedFieldError as error:
                damages.append(Damage(field=shown_name(folder), block=None, what=str(error)))
        return damages

    @abstractmethod
    def _folders(self) -> list[str]:
        """Folders of all fields, sorted, of damaged ones too."""

    @abstractmethod
    def _upkeep(self, folder: str) -> "Upkeep":
        """The field in this folder, if there is one."""


class Upkeep(ABC):
    """One field by its folder: looked at, verified, mended and dropped, whatever its state.

    Every method raises DamagedFieldError if nothing of the field can be read.
    """

    @abstractmethod
    def exists(self) -> bool:
        """Whether there is a field."""

    @abstractmethod
    def look(self) -> dict[str, FieldInfo]:
        """The field by its name; nothing if it is being dropped."""

    @abstractmethod
    def verify(self, progress: Progress | None = None) -> list[Damage]:
        """Everything that differs from what was written."""

    @abstractmethod
    def repair(self, progress: Progress | None = None) -> list[Damage]:
        """Drop what is damaged and mend the rest; returns the damage."""

    @abstractmethod
    def drop_blocks(self, name: str, blocks: Sequence[str]) -> None:
        """Remove blocks by name: all or none. Raises BlockNotFoundError."""

    @abstractmethod
    def drop(self) -> None:
        """Remove the field, damaged or not."""


def named(fields: Iterable[str]) -> str:
    """A clause that names the fields of a store."""
    names = ", ".join(map(repr, fields))
    return f"there are {names}" if names else "it has no fields yet"


def no_block(field: str, block: str, count: int) -> BlockNotFoundError:
    """The error for a block that a field of ``count`` blocks does not have."""
    return BlockNotFoundError(f"field {field!r} has no block {block!r} among its {count}")


def dropped(field: str, path: str) -> FieldNotFoundError:
    """The error for a field that was dropped while it was in use."""
    return FieldNotFoundError(f"field {field!r} was dropped from the store {path!r}")
