"""Files of an export: each appears whole or not at all, is written once, and never replaces a file of others.

``.keyclip-export/`` next to the files has a small record of each: from what it was made, its size and time. So the
same command again knows its own finished files.
"""

import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from store.common.errors import OutputExistsError
from store.common.files import UNFINISHED, flush, full_disk_is_told, remove_durably, write_whole
from store.common.outputs import KEY_LIST, PARQUET, Kind, is_in

RECORDS = ".keyclip-export"
_KINDS = {
    ".parquet": PARQUET,
    ".npy": Kind(name="a matrix", start=b"\x93NUMPY"),
    ".dpt": Kind(name="features", start=b"PK"),
    ".txt": KEY_LIST,
}
LEFT_SECONDS = 86_400
"""Age from which an unfinished file is taken for the remainder of a killed export."""


@dataclass(frozen=True, slots=True)
class Output:
    """A file (or folder) to write, and all that its content depends on, as json values."""

    path: Path
    made_from: Any

    @property
    def record(self) -> Path:
        """The place of its record."""
        return self.path.parent / RECORDS / f"{self.path.name}.json"

    def is_written(self) -> bool:
        """Whether it is there, unchanged since the same export wrote it."""
        try:
            return bool(json.loads(self.record.read_bytes()) == self.describe(self.path))
        except (OSError, ValueError):
            return False

    def describe(self, path: Path) -> dict[str, Any]:
        """The record of this output, whose bytes are at ``path``; moving them to their place changes none of this."""
        status = [file.stat() for file in _files(path)]
        return {
            "made_from": digest(self.made_from),
            "num_bytes": sum(each.st_size for each in status),
            "modified_ns": max((each.st_mtime_ns for each in status), default=0),
        }

    def is_of_this_kind(self) -> bool:
        """Whether an export has written what is there, or it is of the format that the export writes."""
        if self.path.is_dir():
            return (self.path / "_versions").is_dir() or self.record.is_file()
        if self.path.is_file() and self.path.suffix in _KINDS:
            return _KINDS[self.path.suffix].fits(self.path)
        return self.path.is_file() and self.record.is_file()


def unwritten(outputs: Sequence[Output], overwrite: bool, inputs: Iterable[Path | str | None] = ()) -> list[Output]:
    """The outputs that must be written: all but those that are there as the same export wrote them.

    Raises:
        OutputExistsError: something else is in an output's place, and ``overwrite`` is not asked for; or one of the
            ``inputs`` of the export, or something of another kind, which is never replaced.
    """
    read = [str(place) for place in inputs if place is not None]
    todo = [output for output in outputs if not output.is_written()]
    for output in todo:
        if not (output.path.exists() or output.path.is_symlink()):
            continue
        named = repr(str(output.path))
        if source := next((place for place in read if is_in(output.path, place)), None):
            raise OutputExistsError(
                f"{named} is an input of this export ({source!r}), which is never changed; choose another --output"
            )
        if not overwrite:
            raise OutputExistsError(
                f"{named} is there, and not as this export wrote it; choose another --output, or replace it by "
                "--overwrite True"
            )
        if not output.is_of_this_kind():
            raise OutputExistsError(
                f"{named} is there and is not of the format of this export; --overwrite replaces only files of that "
                "format: choose another --output"
            )
    return todo


@contextlib.contextmanager
def writing(output: Output) -> Iterator[Path]:
    """A path next to the output to write a file or folder to; moved into place, durably, if nothing was raised.

    The record is in place first: an output without a record would be taken for a file of others.

    Raises:
        StoreFullError: no space left.
    """
    output.record.parent.mkdir(parents=True, exist_ok=True)
    with full_disk_is_told(output.path):
        _remove_leftovers(output.path.parent)
        folder = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=output.path.parent))
        try:
            unfinished = folder / output.path.name
            yield unfinished
            for file in _files(unfinished):
                flush(file)
            write_whole(output.record, json.dumps(output.describe(unfinished)).encode())
            if output.path.is_dir() and not output.path.is_symlink():
                remove_durably(output.path)
            unfinished.replace(output.path)
            flush(output.path.parent)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def digest(values: Any) -> str:
    """A hexadecimal XXH3-128 of json values or bytes."""
    data = values if isinstance(values, bytes) else json.dumps(values, sort_keys=True).encode()
    return xxhash.xxh3_128_hexdigest(data)


def _remove_leftovers(folder: Path) -> None:
    for left in folder.glob(f"{UNFINISHED}*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > LEFT_SECONDS:
                shutil.rmtree(left, ignore_errors=True)


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
