"""The indexes of a run's shards put together in one, which all processes of a machine share.

It is made once, by whichever process comes first while the others wait, and kept in the cache folder as arrays that are
mapped into memory: ranks and loader workers look at the same pages, and a process takes only those that it reads.
"""

import contextlib
import fcntl
import hashlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from tqdm import tqdm

from store.common.errors import ConfigError
from trainer.data.shard_index import ShardIndex, default_cache, index_shard, shard_identity


@dataclass(frozen=True, slots=True)
class SampleIndex:
    """The samples of several shards that hold an image, shard after shard; arrays may be read-only.

    Attributes:
        keys: (N,) bytes strings, UTF-8.
        image: (N, 2) int64, offset and number of bytes of the image member within its shard.
        json: (N, 2) int64, the same of the json member; (0, 0) where there is none.
        shards: (S, 2) int64, for each shard the place where its samples end, and how many of its samples hold no image.
    """

    keys: np.ndarray
    image: np.ndarray
    json: np.ndarray
    shards: np.ndarray


def index_samples(shards: Sequence[str], cache: Path | None = None, show_progress: bool = False) -> SampleIndex:
    """Index every shard, from the cache where it holds the shards as they are now.

    Raises:
        DamagedShardError: a shard is truncated, is not a tar, or holds a key twice.
        ConfigError: a shard is a URL or a pipe, or a key stands in two shards.
    """
    cache = cache or default_cache()
    identities = "\n\n".join(shard_identity(shard) for shard in shards)
    folder = cache / hashlib.sha256(identities.encode()).hexdigest()[:32]
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
        with contextlib.suppress(OSError):  # without a cache each process has its own copy
            _save(folder, index)
            return _open(folder) or index
        return index


def _put_together(indexes: Sequence[ShardIndex]) -> SampleIndex:
    ends = np.cumsum([len(index.keys) for index in indexes])
    return SampleIndex(
        np.concatenate([index.keys for index in indexes]),
        np.concatenate([index.image for index in indexes]),
        np.concatenate([index.json for index in indexes]),
        np.column_stack([ends, [index.num_without_image for index in indexes]]).astype(np.int64),
    )


def _require_unique(index: SampleIndex, shards: Sequence[str]) -> None:
    keys = np.sort(index.keys)
    repeated = keys[1:] == keys[:-1]
    if repeated.any():
        key = keys[:-1][repeated][0]
        places = np.flatnonzero(index.keys == key)
        where = [shards[at] for at in np.searchsorted(index.shards[:, 0], places, side="right")]
        raise ConfigError(
            f"sample key {key.decode()!r} stands in several shards ({', '.join(where[:3])}); keys must be unique: "
            "give datasets whose keys collide a store each, and name them by --datasets"
        )


def _save(folder: Path, index: SampleIndex) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, suffix=".tmp"))
    try:
        for field in fields(index):
            values = getattr(index, field.name)
            file = temporary / f"{field.name}.npy"
            mapped = np.lib.format.open_memmap(file, mode="w+", dtype=values.dtype, shape=values.shape)
            mapped[:] = values
            mapped.flush()
        shutil.rmtree(folder, ignore_errors=True)
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _open(folder: Path) -> SampleIndex | None:
    """The arrays of a folder; None where there is none, or what is there cannot be read."""
    try:
        mapped = [np.load(folder / f"{field.name}.npy", mmap_mode="r") for field in fields(SampleIndex)]
    except (OSError, EOFError, ValueError):
        return None
    index = SampleIndex(*map(np.asarray, mapped))  # as plain arrays, which give single items much faster
    is_whole = len({len(index.keys), len(index.image), len(index.json), int(index.shards[-1, 0])}) == 1
    return index if is_whole else None


@contextlib.contextmanager
def _lock(file: Path) -> Iterator[None]:
    """One process of this machine at a time; without a lock where none can be had."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            fcntl.flock(stack.enter_context(file.open("w")), fcntl.LOCK_EX)
        yield
