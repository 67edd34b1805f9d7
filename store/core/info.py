"""Sizes and provenance of a field, as code, terminals and notebooks read them."""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from store.core.dtypes import has_scales, row_bytes
from store.core.spec import FieldSpec, StoredDtype


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldInfo:
    """What a store knows of a field without reading its vectors."""

    spec: FieldSpec
    num_vectors: int
    num_blocks: int

    @property
    def dim(self) -> int:
        """Numbers per vector."""
        return self.spec.dim

    @property
    def dtype(self) -> StoredDtype:
        """How a number is stored."""
        return self.spec.dtype

    @property
    def num_bytes(self) -> int:
        """Bytes of the vectors themselves, without keys, hashes and index."""
        return self.num_vectors * (row_bytes(self.dtype, self.dim) + 4 * has_scales(self.dtype))

    @property
    def size(self) -> str:
        """The bytes of the vectors for people: ``2.21 GB``."""
        unit, divisor = next((u for u in (("GB", 1e9), ("MB", 1e6)) if self.num_bytes >= u[1]), ("kB", 1e3))
        return f"{self.num_bytes / divisor:.2f} {unit}"

    def __str__(self) -> str:
        return (
            f"{self.num_vectors:,} vectors of {self.dim} {self.dtype} in {self.num_blocks:,} blocks, {self.size}; "
            f"{self.spec.caption_field!r} embedded by {self.spec.model!r}"
        )


def html_table(title: str, rows: Iterable[Sequence[object]]) -> str:
    """A title and a table in HTML, for notebooks; every text is escaped."""
    lines = (
        "".join(f"<td>{html.escape(f'{cell:,}' if type(cell) is int else str(cell))}</td>" for cell in row)
        for row in rows
    )
    return f"<p>{html.escape(title)}</p><table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"
