"""Plain-text columns."""

from collections.abc import Sequence


def widths_of(lines: Sequence[Sequence[str]]) -> list[int]:
    """The widest cell of every column."""
    return [max(len(line[index]) for line in lines) for index in range(len(lines[0]))]


def aligned(lines: Sequence[Sequence[str]], widths: Sequence[int] | None = None) -> list[str]:
    """Columns as wide as their widest cell; the first cell of each line to the left, the others to the right."""
    widths = widths or widths_of(lines)
    rows = []
    for first, *cells in lines:
        padded = [f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True)]
        rows.append("  ".join([f"{first:<{widths[0]}}", *padded]).rstrip())
    return rows
