"""Files of an export: each appears whole or not at all, is written once, and never replaces what others wrote.

Beside the files, ``.keyclip-export/`` has a small record of each: from what it was made, its size and time. So the same
command again knows its own finished files.
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
"""Age from which an unfinished file is taken for one whose writer was killed."""


@dataclass(frozen=True, slots=True)
class Output:
    """A file (or folder) to write, and all that its content depends on, as json values."""

    path: Path
    made_from: Any

    @property
    def record(self) -> Path:
        """Where its record stands."""
        return self.path.parent / RECORDS / f"{self.path.name}.json"


def unwritten(outputs: Sequence[Output], overwrite: bool, inputs: Iterable[Path | str | None] = ()) -> list[Output]:
    """Those that must be written: not the ones that are there, unchanged since the same export wrote them.

    Raises:
        OutputExistsError: something else is in an output's place, and ``overwrite`` is not asked for; or one of the
            ``inputs`` of the export, or something of another kind, which is never replaced.
    """
    read = [str(place) for place in inputs if place is not None]
    todo = []
    for output in outputs:
        there = output.path.exists() or output.path.is_symlink()
        if there and _read_record(output.record) == _record(output, output.path):
            continue
        if there and (source := next((place for place in read if is_in(output.path, place)), None)):
            raise OutputExistsError(
                f"{str(output.path)!r} is an input of this export ({source!r}), which is never changed; choose another "
                "--output"
            )
        if there and not overwrite:
            raise OutputExistsError(
                f"{str(output.path)!r} is there, and not as this export wrote it; choose another --output, or replace "
                "it by --overwrite True"
            )
        if there and not _is_of_this_kind(output):
            raise OutputExistsError(
                f"{str(output.path)!r} is there and no file of this format; --overwrite replaces none but such: choose "
                "another --output"
            )
        todo.append(output)
    return todo


def _is_of_this_kind(output: Output) -> bool:
    """Whether an export has written what is there, or it is of the format that the export writes."""
    path = output.path
    if path.is_dir():
        return (path / "_versions").is_dir() or output.record.is_file()
    if not path.is_file():
        return False
    if (kind := _KINDS.get(path.suffix)) is not None:
        return kind.fits(path)
    return output.record.is_file()


@contextlib.contextmanager
def writing(output: Output) -> Iterator[Path]:
    """A path beside the output to write a file or folder to; moved into place, durably, if nothing was raised.

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
            _flush_all(unfinished)
            _move_record(output, unfinished)
            if output.path.is_dir() and not output.path.is_symlink():
                remove_durably(output.path)
            unfinished.replace(output.path)
            flush(output.path.parent)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def write_bytes(output: Output, data: bytes) -> None:
    """A small file at once."""
    with writing(output) as path:
        path.write_bytes(data)


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


def _flush_all(path: Path) -> None:
    for file in _files(path):
        flush(file)


def _record(output: Output, path: Path) -> dict[str, Any]:
    """What is recorded of an output whose bytes are at ``path``: moving it there changes none of this."""
    status = [file.stat() for file in _files(path)] if path.exists() else []
    return {
        "made_from": digest(output.made_from),
        "num_bytes": sum(each.st_size for each in status),
        "modified_ns": max((each.st_mtime_ns for each in status), default=0),
    }


def _read_record(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None


def _move_record(output: Output, unfinished: Path) -> None:
    """The record is in place before the output: an output without one would be taken for somebody else's."""
    write_whole(output.record, json.dumps(_record(output, unfinished)).encode())
