"""What every format is read as: files of columns; a column holds the keyed vectors of one caption field.

Opening a file checks its structure (names, order, sizes, types); reading gives rows of a column. So an import knows
that a file is sound before it stores anything of it.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import store
from store.common.errors import ConfigError
from store.core.spec import StoredDtype

Rows = NDArray[np.int64]
Vectors = NDArray[Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """The vectors of one caption field in one file; row ``i`` belongs to key ``i``."""

    caption_field: str
    keys: Sequence[str]
    """(n,)"""
    dim: int
    dtype: StoredDtype
    """The smallest stored dtype that keeps the file's numbers as they are; float32 for float64."""
    read: Callable[[Rows], Vectors]
    """Ascending row numbers (m,) to vectors (m, dim), float16, float32 or float64."""
    caption_hashes: NDArray[np.uint64]
    """(n,); UNKNOWN_CAPTION where the file does not say."""
    made_by: store.FieldSpec | None = None
    """How the vectors were made, where the file says so."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A file, or the files that belong together, still closed."""

    path: str
    name: str
    """First part of the names of its blocks."""
    open: Callable[[], AbstractContextManager[Sequence[Column]]]
    """Its columns, found sound, to be read while it is open."""

    @property
    def num_bytes(self) -> int:
        """Bytes of the file, or of the files in the folder."""
        path = Path(self.path)
        return sum(file.stat().st_size for file in (path, *path.rglob("*")) if file.is_file())


def unknown_captions(count: int) -> NDArray[np.uint64]:
    """Hashes of ``count`` captions that are not known."""
    return np.full(count, store.UNKNOWN_CAPTION, np.uint64)


def stored_as(dtype: np.dtype[Any]) -> StoredDtype:
    """The stored dtype for numbers of a numpy type."""
    return "float16" if dtype == np.float16 else "float32"


def column_names(arguments: Sequence[str]) -> dict[str, str]:
    """``caption field -> name in the file`` of arguments CAPTION_FIELD or CAPTION_FIELD=NAME.

    Raises:
        ConfigError: an argument is malformed, or a caption field is named twice.
    """
    names: dict[str, str] = {}
    for argument in arguments:
        caption_field, equals, name = argument.partition("=")
        if not caption_field or (equals and not name):
            raise ConfigError(f"caption field {argument!r}; expected CAPTION_FIELD or CAPTION_FIELD=NAME_IN_THE_FILE")
        if caption_field in names:
            raise ConfigError(f"caption field {caption_field!r} is named twice; name each once")
        names[caption_field] = name or caption_field
    return names
