"""Outputs of a command: claimed before its work begins, moved into place together when it has succeeded."""

import contextlib
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from store.common.errors import ConfigError, OutputExistsError, StoreFullError
from store.common.files import flush, full_disk_is_told, is_full, reserve, store_full, unfinished_file

ROOM = 2**16
"""Bytes of the disk that a claim reserves."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """What a command writes, so that it is recognised in a file that would be replaced."""

    name: str
    """With its article, for messages."""
    start: bytes = b""
    """The first bytes of such a file; without them any UTF-8 text is taken for one."""
    replaced: bytes = b""
    """The first bytes of files that are replaced without --overwrite, since they can be made again at any time."""

    def fits(self, file: Path) -> bool:
        """Whether a file that is there is empty or of this kind."""
        head = _head(file)
        if self.start:
            return not head or head.startswith(self.start)
        return b"\0" not in head and len(head.decode("utf-8", errors="ignore").encode()) > len(head) - 4


KEY_LIST = Kind(name="a list of keys")
PARQUET = Kind(name="a parquet file", start=b"PAR1")


class Outputs:
    """Files that are written next to their places and moved there together at the end; none appears on an error.

    Use as a context manager around all the work of a command, and claim every output first.

    Raises:
        StoreFullError: no space left on the disk.
        OutputExistsError: a file has appeared at an output's place meanwhile.
    """

    def __init__(self, inputs: Iterable[Path | str | None] = (), overwrite: bool = False) -> None:
        """``inputs``: files and folders that the command reads (or URLs, which are ignored); no output may replace one.
        ``overwrite``: whether files that are there may be replaced.
        """
        self._inputs = [str(place) for place in inputs if place is not None]
        self._overwrite = overwrite
        self._parts: dict[Path, Path] = {}
        self._there: set[Path] = set()
        self._folders: list[Path] = []
        self._stack = contextlib.ExitStack()

    def claim(self, place: Path, kind: Kind, room: int = ROOM) -> Path:
        """The file to write instead of the one at ``place``; folders on the way are made.

        ``room``: bytes to reserve on the disk.

        Raises:
            OutputExistsError: there is an input of the command, a file of another kind, or any file that is not to be
                overwritten.
            ConfigError: the place is a folder or a device, cannot be written, or two outputs have the same one.
            StoreFullError: no space left on the disk.
        """
        try:
            target = Path(os.path.realpath(place))
            if target in self._parts:
                raise ConfigError(f"two outputs would be written to {str(place)!r}; give each its own file")
            if os.path.lexists(target):
                self._require_free(place, target, kind)
                self._there.add(target)
            self._make_folder(target.parent)
            part = self._parts[target] = unfinished_file(target.parent)
            reserve(part, room)
        except (ConfigError, OutputExistsError):
            raise
        except (OSError, ValueError) as error:  # ValueError: a NUL or half a surrogate pair in the path
            if is_full(error):
                raise store_full(place) from error
            reason = error.strerror if isinstance(error, OSError) else error
            raise ConfigError(f"{str(place)!r} cannot be written: {reason}") from error
        return part

    def write(self, part: Path, text: str) -> None:
        """Fill a claimed file with a text, as UTF-8; half surrogate pairs become question marks."""
        part.write_text(text, encoding="utf-8", errors="replace", newline="\n")

    def lines(self, part: Path) -> "Lines":
        """A claimed file as text that is written line by line."""
        return self._stack.enter_context(Lines(part))

    def table(self, part: Path, schema: Any) -> Any:
        """A claimed file as a ``pyarrow.parquet.ParquetWriter`` for this schema."""
        import pyarrow.parquet as pq

        return self._stack.enter_context(pq.ParquetWriter(part, schema, compression="zstd"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        first = next(iter(self._parts), "the outputs")
        try:
            if error is None:
                with full_disk_is_told(first):
                    self._stack.close()
                    self._finish()
                return
            with contextlib.suppress(OSError):  # the error that is being raised says more
                self._stack.close()
            if not isinstance(error, StoreFullError) and is_full(error):
                raise store_full(first) from error
        finally:
            for part in self._parts.values():
                with contextlib.suppress(OSError):
                    part.unlink(missing_ok=True)
            for folder in reversed(self._folders):  # unless it holds a file
                with contextlib.suppress(OSError):
                    folder.rmdir()

    def _require_free(self, place: Path, target: Path, kind: Kind) -> None:
        mode = target.stat().st_mode
        if not stat.S_ISREG(mode):
            what = "folder" if stat.S_ISDIR(mode) else "device, pipe or socket"
            raise ConfigError(f"{str(place)!r} is a {what}; give the path of a file")
        recognised = kind.fits(target)
        for source in self._inputs:
            if is_in(target, source, alone=recognised and bool(kind.start)):
                raise OutputExistsError(
                    f"{str(place)!r} is an input of the same command ({source!r}); give another path"
                )
        if not self._overwrite and not (kind.replaced and _head(target).startswith(kind.replaced)):
            raise OutputExistsError(f"{str(place)!r} exists; give another path, or replace it by --overwrite True")
        if not recognised:
            raise OutputExistsError(
                f"{str(place)!r} exists and is not {kind.name}; --overwrite replaces none but such a file: give "
                "another path"
            )

    def _make_folder(self, folder: Path) -> None:
        missing = [each for each in (folder, *folder.parents) if not each.exists()]
        for each in reversed(missing):
            each.mkdir(exist_ok=True)
            self._folders.append(each)
        if not folder.is_dir():
            raise ConfigError(f"{str(folder)!r} is not a folder; give another path for what would be written into it")

    def _finish(self) -> None:
        for part in self._parts.values():
            flush(part)
        for target, part in self._parts.items():
            if target not in self._there and os.path.lexists(target):
                raise OutputExistsError(f"{str(target)!r} has appeared while it was being made; give another path")
            part.replace(target)
            flush(target.parent)


class Lines(contextlib.AbstractContextManager["Lines"]):
    """A UTF-8 text file."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", errors="surrogatepass", newline="\n")

    def write(self, lines: Iterable[str]) -> None:
        """Add lines, given without line ends."""
        self._file.writelines(f"{line}\n" for line in lines)

    def __exit__(self, *error: object) -> None:
        self._file.close()


def _head(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(4096)


def is_in(target: Path, source: str, alone: bool = False) -> bool:
    """Whether a file or folder is ``source`` or, unless ``alone``, is in the folder ``source`` or holds it."""
    try:
        if target.samefile(source):
            return True
        place = Path(os.path.realpath(source, strict=True))
    except (OSError, ValueError):  # no file: a URL, a hub id
        return False
    target = Path(os.path.realpath(target))
    return not alone and (place in target.parents or target in place.parents)
