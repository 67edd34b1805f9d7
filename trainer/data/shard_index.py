"""Tars made addressable by sample: the places of each sample's image and json within its shard.

An index is made by reading the member headers of a shard once, and cached under the shard's path, size and modification
time, as arrays that are mapped into memory: the ranks and loader workers of a machine share their pages. The indexes of
all shards of a run are put together in one. Only shards on a local file system can be addressed.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from tqdm import tqdm

from store.common.errors import ConfigError, DamagedShardError, KeyclipError
from store.sources.shards import CheckedTarInfo, is_remote, require_utf8, require_whole, split_member

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp")
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class SampleIndex:
    """The samples of one or several shards that hold an image, shard after shard; arrays may be read-only.

    Attributes:
        keys: (N,) bytes strings, UTF-8.
        image: (N, 2) int64, offset and number of bytes of the image member within its shard.
        json: (N, 2) int64, the same of the json member; (0, 0) where there is none.
        shards: (S, 2) int64, for each shard the position after its last sample, and how many samples hold no image.
    """

    keys: np.ndarray
    image: np.ndarray
    json: np.ndarray
    shards: np.ndarray


def index_samples(shards: Sequence[str], cache: Path | None = None, show_progress: bool = False) -> SampleIndex:
    """Index every shard, from the cache where it holds the shards as they are now.

    Of the processes of a machine that start together, one makes the index and the others wait.

    Raises:
        DamagedShardError: a shard is truncated, is not a tar, or holds a key twice.
        ConfigError: a shard is a URL or a pipe, or a key is in two shards.
    """
    cache = cache or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "keyclip" / "shard-index"
    folder = cache / _digest("\n\n".join(_identity(shard) for shard in shards))
    if (index := _open(folder)) is not None:
        return index
    with _lock(folder.with_suffix(".lock")):
        if (index := _open(folder)) is not None:  # another process made it meanwhile
            return index
        interval = 0.1 if sys.stderr.isatty() else 30.0  # a log file needs no animation
        with tqdm(
            shards, "index shards", unit="shard", disable=not show_progress, mininterval=interval, maxinterval=interval
        ) as bar:
            index = _put_together([index_shard(shard, cache) for shard in bar])
        _require_unique(index, shards)
        _save(folder, index)
        return _open(folder) or index


def index_shard(shard: str, cache: Path) -> SampleIndex:
    """Index one shard, from the cache where it holds the shard as it is now.

    Raises:
        DamagedShardError: it is truncated, is not a tar, or holds a key twice.
        ConfigError: it is a URL or a pipe.
    """
    folder = cache / _digest(_identity(shard))
    if (index := _open(folder, mapped=False)) is None:
        index = _read_index(shard)
        _save(folder, index)
    return index


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _identity(shard: str) -> str:
    """What changes when the shard does. Raises: ConfigError: it is a URL or a pipe."""
    if is_remote(shard):
        raise ConfigError(f"shard {shard!r} cannot be addressed by sample; download it, or mount its bucket")
    status = Path(shard).stat()
    return f"{_FORMAT}\n{Path(shard).resolve()}\n{status.st_size}\n{status.st_mtime_ns}"


def _read_index(shard: str) -> SampleIndex:
    keys, images, jsons, without_image = [], [], [], 0
    seen: set[str] = set()
    for key, members in _samples(shard):
        if key in seen:
            raise DamagedShardError(f"sample key {key!r} comes twice in shard {shard!r}; keys must be unique")
        require_utf8(key, shard)
        seen.add(key)
        image = next((members[e] for e in IMAGE_EXTENSIONS if e in members), None)
        if image is None:
            without_image += 1
            continue
        keys.append(key.encode())
        images.append(image)
        jsons.append(members.get("json", (0, 0)))
    return SampleIndex(
        np.array(keys, dtype=np.bytes_) if keys else np.zeros(0, "S1"),
        np.array(images, dtype=np.int64).reshape(-1, 2),
        np.array(jsons, dtype=np.int64).reshape(-1, 2),
        np.array([[len(keys), without_image]], dtype=np.int64),
    )


def _samples(shard: str) -> Iterator[tuple[str, dict[str, tuple[int, int]]]]:
    """The samples of a shard: key, and offset and size of each member by extension."""
    current: str | None = None
    members: dict[str, tuple[int, int]] = {}
    try:
        with tarfile.open(shard, mode="r:", tarinfo=CheckedTarInfo) as tar:
            for info in tar:
                parts = split_member(info.name) if info.isfile() else None
                if parts is None:
                    continue
                require_whole(tar, info)
                if parts[0] != current:
                    if current is not None:
                        yield current, members
                    current, members = parts[0], {}
                members[parts[1]] = (info.offset_data, info.size)
        if current is not None:
            yield current, members
    except KeyclipError:
        raise
    except (tarfile.TarError, EOFError) as error:
        raise DamagedShardError(f"shard {shard!r} cannot be read as a tar ({error}); download it again") from error


def _put_together(indexes: Sequence[SampleIndex]) -> SampleIndex:
    shards = np.concatenate([index.shards for index in indexes])
    shards[:, 0] = np.cumsum(shards[:, 0])
    whole = {name: np.concatenate([getattr(index, name) for index in indexes]) for name in ("keys", "image", "json")}
    return SampleIndex(**whole, shards=shards)


def _require_unique(index: SampleIndex, shards: Sequence[str]) -> None:
    keys = np.sort(index.keys)
    repeated = keys[1:] == keys[:-1]
    if repeated.any():
        key = keys[:-1][repeated][0]
        places = np.flatnonzero(index.keys == key)
        where = [shards[at] for at in np.searchsorted(index.shards[:, 0], places, side="right")]
        raise ConfigError(
            f"sample key {key.decode()!r} is in several shards ({', '.join(where[:3])}); keys must be unique: "
            "give datasets whose keys collide a store each, and name them by --datasets"
        )


def _save(folder: Path, index: SampleIndex) -> None:
    """Put an index into the cache. Where that fails, the next start reads the headers again."""
    with contextlib.suppress(OSError):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, suffix=".tmp") as temporary:
            filled = Path(temporary) / "index"
            filled.mkdir()
            for name, values in asdict(index).items():
                np.save(filled / f"{name}.npy", values)
            shutil.rmtree(folder, ignore_errors=True)
            filled.replace(folder)


def _open(folder: Path, mapped: bool = True) -> SampleIndex | None:
    """The arrays of a folder, mapped or copied into memory; None where there are none, or they cannot be read.

    A mapped array holds a file open, so that the indexes of thousands of shards are copied.
    """
    try:
        arrays = [np.lib.format.open_memmap(folder / f"{field.name}.npy", mode="r") for field in fields(SampleIndex)]
    except (OSError, EOFError, ValueError):
        return None
    # mapped as plain arrays, which give single items much faster
    index = SampleIndex(*(np.asarray(array) if mapped else np.array(array) for array in arrays))
    is_whole = len({len(index.keys), len(index.image), len(index.json), int(index.shards[-1, 0])}) == 1
    return index if is_whole else None


@contextlib.contextmanager
def _lock(file: Path) -> Iterator[None]:
    """One process of this machine at a time; without a lock where the file system has none."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            fcntl.flock(stack.enter_context(file.open("w")), fcntl.LOCK_EX)
        yield
