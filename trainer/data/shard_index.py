"""Tars made addressable by sample: where in its shard each sample's image and json stand.

An index is made by reading the member headers of a shard once, and kept in a cache folder under the shard's path,
size and modification time. Only shards on a local file system can be addressed.
"""

import hashlib
import os
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from store.common.errors import ConfigError, DamagedShardError, KeyclipError
from store.sources.shards import CheckedTarInfo, is_remote, require_utf8, require_whole, split_member

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp")
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class ShardIndex:
    """The samples of one shard that hold an image, in the shard's order.

    Attributes:
        keys: (n,) bytes strings, UTF-8.
        image: (n, 2) int64, offset and number of bytes of the image member.
        json: (n, 2) int64, the same of the json member; (0, 0) where there is none.
        num_without_image: samples left out because they hold no image.
    """

    keys: np.ndarray
    image: np.ndarray
    json: np.ndarray
    num_without_image: int


def default_cache() -> Path:
    """``$XDG_CACHE_HOME/keyclip/shard-index``, by default below ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "keyclip" / "shard-index"


def shard_identity(shard: str) -> str:
    """Tells whether a shard is the one that was indexed. Raises: ConfigError: it is a URL or a pipe."""
    if is_remote(shard):
        raise ConfigError(f"shard {shard!r} cannot be addressed by sample; download it, or mount its bucket")
    status = Path(shard).stat()
    return f"{_FORMAT}\n{Path(shard).resolve()}\n{status.st_size}\n{status.st_mtime_ns}"


def index_shard(shard: str, cache: Path) -> ShardIndex:
    """Index one shard, from the cache where it holds the shard as it is now.

    Raises:
        DamagedShardError: it is truncated, is not a tar, or holds a key twice.
        ConfigError: it is a URL or a pipe.
    """
    file = cache / f"{hashlib.sha256(shard_identity(shard).encode()).hexdigest()[:32]}.npz"
    if file.exists():
        try:
            with file.open("rb") as stream, np.load(stream, allow_pickle=False) as saved:
                return ShardIndex(saved["keys"], saved["image"], saved["json"], int(saved["num_without_image"]))
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
            file.unlink(missing_ok=True)  # a cache can always be made again
    index = _read_index(shard)
    _save(file, index)
    return index


def _save(file: Path, index: ShardIndex) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".tmp", delete=False) as temporary:
            np.savez(
                temporary,
                keys=index.keys,
                image=index.image,
                json=index.json,
                num_without_image=np.int64(index.num_without_image),
            )
        Path(temporary.name).replace(file)
    except OSError:
        pass  # without a cache the next start reads the headers again; nothing else depends on it


def _read_index(shard: str) -> ShardIndex:
    keys, images, jsons = [], [], []
    without_image = 0
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
    return ShardIndex(
        np.array(keys, dtype=np.bytes_) if keys else np.zeros(0, "S1"),
        np.array(images, dtype=np.int64).reshape(-1, 2),
        np.array(jsons, dtype=np.int64).reshape(-1, 2),
        without_image,
    )


def _samples(shard: str) -> Iterator[tuple[str, dict[str, tuple[int, int]]]]:
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
