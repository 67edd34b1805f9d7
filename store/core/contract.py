"""The contract that every backend obeys: ``Store``, ``Writer`` and ``Upkeep``; ``Field`` is in ``field.py``."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from numpy.typing import ArrayLike

from store.common.errors import (
    BlockNotFoundError,
    DamagedFieldError,
    FieldNotFoundError,
    InvalidKeysError,
    KeyclipError,
    ReadOnlyError,
)
from store.core.batch import Batch, make_batch
from store.core.field import Backend as Backend
from store.core.field import Field as Field
from store.core.field import Vectors
from store.core.info import FieldInfo, html_table
from store.core.naming import check_name, folder_name, shown_name
from store.core.spec import FieldSpec

Mode = Literal["r", "a"]
Progress = Callable[[str, int, int], None]
"""Called with (field, blocks done, blocks in all)."""


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
