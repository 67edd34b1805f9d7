"""Files of a command's outcome: all of them appear when it has succeeded, none when it has not."""

import contextlib
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from store.errors import ConfigError
from store.files import flush, full_disk_is_told


class Outputs:
    """Files that are written beside their places and moved there together at the end.

    Raises:
        StoreFullError: no space left on the disk.
    """

    def __init__(self) -> None:
        self._parts: dict[Path, Path] = {}
        self._stack = contextlib.ExitStack()

    def part(self, place: Path) -> Path:
        """Where to write the file that will stand at ``place``.

        Raises:
            ConfigError: the place is a folder, or two outputs have the same one.
        """
        if place in self._parts:
            raise ConfigError(f"two outputs would be written to {str(place)!r}; give each its own file")
        if place.is_dir():
            raise ConfigError(f"{str(place)!r} is a folder; give the path of a file")
        place.parent.mkdir(parents=True, exist_ok=True)
        self._parts[place] = place.with_name(f".{place.name}.part")
        return self._parts[place]

    def lines(self, place: Path) -> "Lines":
        """A text file, line by line."""
        return self._stack.enter_context(Lines(self.part(place)))

    def table(self, place: Path, schema: pa.Schema) -> pq.ParquetWriter:
        """A parquet file of this schema."""
        return self._stack.enter_context(pq.ParquetWriter(self.part(place), schema, compression="zstd"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._close(quietly=kind is not None)
            if kind is None:
                for place, part in self._parts.items():
                    with full_disk_is_told(place):
                        flush(part)
                    part.replace(place)
        finally:
            for part in self._parts.values():
                part.unlink(missing_ok=True)

    def _close(self, quietly: bool) -> None:
        """Close what is open; ``quietly`` where an error is on its way already."""
        try:
            with full_disk_is_told(next(iter(self._parts), "the outputs")):
                self._stack.close()
        except OSError:
            if not quietly:
                raise


class Lines(contextlib.AbstractContextManager["Lines"]):
    """A UTF-8 text file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("w", encoding="utf-8", errors="surrogatepass", newline="\n")

    def write(self, lines: Iterable[str]) -> None:
        """Add lines, given without line ends."""
        with full_disk_is_told(self._path):
            self._file.writelines(f"{line}\n" for line in lines)

    def __exit__(self, *error: object) -> None:
        with full_disk_is_told(self._path):
            self._file.close()
