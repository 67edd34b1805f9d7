"""Samples of indexed shards addressed by position: their keys, images and captions."""

import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from store.common.errors import ConfigError
from store.sources.keylist import read_key_list
from store.sources.shards import caption_at, expand_shards, load_json
from trainer.data.order import Source
from trainer.data.shard_index import index_samples
from trainer.images.transform import BrokenImageError

NO_IMAGE, NOT_LISTED, NO_VECTOR, BROKEN = LEFT_OUT = (
    "without image", "not in the key list", "without a vector", "broken image",
)  # fmt: skip
"""Why samples are left out: before the first step, or as they are loaded."""
MAX_OPEN_SHARDS = 64


def broken_message(where: str, error: BrokenImageError) -> str:
    """The message for an image that cannot be decoded; ``where`` names its sample."""
    return f"{where}: {error}; download it again, or leave it out with --keys"


class ShardSamples:
    """The samples of some shards, addressed by position; reads are ``pread`` calls on shards kept open.

    Safe in DataLoader workers: ``pread`` shares no file position, and a spawned worker opens its own files. The files
    are closed when the samples are no longer referred to.

    Attributes:
        shards: their paths.
        counts: the number of samples that are left out, by reason.
    """

    def __init__(
        self,
        shards: Sequence[str],
        key_list: Path | None = None,
        cache: Path | None = None,
        show_progress: bool = False,
    ) -> None:
        self.shards = expand_shards(shards)
        self._index = index_samples(self.shards, cache, show_progress)
        self._kept: np.ndarray | None = None  # positions in the index, where some samples are left out
        self.counts = {NO_IMAGE: int(self._index.shards[:, 1].sum())}
        self._files = OpenFiles(self.shards)
        if key_list is not None:
            wanted = read_key_list(key_list)
            listed = np.isin(self.keys, wanted)
            if int(listed.sum()) < len(wanted):
                absent = wanted[~np.isin(wanted, self.keys)]
                raise ConfigError(
                    f"{len(absent)} of {len(wanted)} keys of the list {str(key_list)!r} are in none of the shards, "
                    f"first {absent[0].decode()!r}; name the shards that the list was made from"
                )
            self.keep(listed, NOT_LISTED)
        if not len(self):
            raise ConfigError(f"the {len(self.shards)} shards hold no sample with an image")

    def __len__(self) -> int:
        return len(self._index.keys) if self._kept is None else len(self._kept)

    @property
    def keys(self) -> np.ndarray:
        """(N,) sample keys as UTF-8 byte strings, shard by shard."""
        return self._index.keys if self._kept is None else self._index.keys[self._kept]

    @property
    def shard_sizes(self) -> list[int]:
        """Samples of each shard."""
        ends = self._index.shards[:, 0]
        return np.diff(ends if self._kept is None else np.searchsorted(self._kept, ends), prepend=0).tolist()

    def source(self, name: str, weight: float = 1.0) -> Source:
        """These samples as a dataset of an epoch."""
        return Source(name, self.shard_sizes, weight, self.counts, keys=self.keys)

    def keep(self, kept: np.ndarray, reason: str) -> None:
        """Leave out the samples where ``kept`` (N,) bool is False, and count them under ``reason``."""
        self.counts[reason] = self.counts.get(reason, 0) + int((~kept).sum())
        if not kept.all():
            places = np.flatnonzero(kept) if self._kept is None else self._kept[kept]
            self._kept = places.astype(np.min_scalar_type(len(self._index.keys)))

    def _place(self, position: int) -> int:
        """The position of a sample in the index."""
        return position if self._kept is None else int(self._kept[position])

    def _shard(self, position: int) -> int:
        return int(np.searchsorted(self._index.shards[:, 0], self._place(position), side="right"))

    def key(self, position: int) -> str:
        return bytes(self._index.keys[self._place(position)]).decode()

    def where(self, position: int) -> str:
        """The sample's key and shard, for messages."""
        return f"sample {self.key(position)!r} of shard {self.shards[self._shard(position)]!r}"

    def broken(self, position: int, error: BrokenImageError) -> BrokenImageError:
        """The error of decoding a sample's image, with the sample's name."""
        return BrokenImageError(broken_message(self.where(position), error))

    def image(self, position: int) -> bytes:
        return self._read(position, self._index.image)

    def has_json(self, position: int) -> bool:
        return bool(self._index.json[self._place(position), 1])

    def json(self, position: int) -> dict[str, Any]:
        """Raises: ConfigError: the sample has no json; DamagedShardError: it cannot be read."""
        if not self.has_json(position):
            raise ConfigError(f"{self.where(position)} has no json member")
        payload = self._read(position, self._index.json)
        return load_json(payload, self.key(position), self.shards[self._shard(position)])

    def caption(self, position: int, caption_field: str) -> str | None:
        return caption_at(self.json(position), caption_field)

    def _read(self, position: int, members: np.ndarray) -> bytes:
        offset, size = members[self._place(position)].tolist()
        return os.pread(self._files.descriptor(self._shard(position)), size, offset)


class OpenFiles:
    """Files kept open for reading, the most recently used ones; closed with this object, in this process only."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths
        self._open: OrderedDict[int, int] = OrderedDict()

    def descriptor(self, number: int) -> int:
        """The descriptor of the file with this number; valid until other files are asked for."""
        if number not in self._open:
            if len(self._open) >= MAX_OPEN_SHARDS:
                os.close(self._open.popitem(last=False)[1])
            self._open[number] = os.open(self._paths[number], os.O_RDONLY)
        self._open.move_to_end(number)
        return self._open[number]

    def __del__(self, close: Callable[[int], None] = os.close) -> None:  # at exit ``os`` may be gone already
        while self._open:
            close(self._open.popitem()[1])

    def __getstate__(self) -> dict[str, Any]:
        return {"_paths": self._paths, "_open": OrderedDict()}
