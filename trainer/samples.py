"""Training samples addressed by position: images and captions of indexed shards, vectors of a store by sample key."""

import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from store.errors import ConfigError
from store.keylist import read_key_list
from store.shards import caption_at, expand_shards, load_json
from trainer.images import BrokenImageError
from trainer.loader import NO_IMAGE, NOT_LISTED
from trainer.shard_index import index_shards

MAX_OPEN_SHARDS = 64


def broken_message(where: str, error: BrokenImageError) -> str:
    """What is said of an image that cannot be decoded; ``where`` names its sample."""
    return f"{where}: {error}; download it again, or leave it out with --keys"


class ShardSamples:
    """The samples of some shards, addressed by position; reads are ``pread`` calls on shards kept open.

    Safe in DataLoader workers: ``pread`` shares no file position, and a spawned worker opens its own files.

    Attributes:
        keys: (N,) sample keys as UTF-8 byte strings, shard by shard.
        shard_sizes: samples of each shard.
        counts: what was left out, by reason.
    """

    def __init__(
        self,
        shards: Sequence[str],
        key_list: Path | None = None,
        cache: Path | None = None,
        show_progress: bool = False,
    ) -> None:
        self.shards = expand_shards(shards)
        indexes = index_shards(self.shards, cache, show_progress)
        self.keys = np.concatenate([index.keys for index in indexes])
        self._image = np.concatenate([index.image for index in indexes])
        self._json = np.concatenate([index.json for index in indexes])
        self._shard = np.repeat(np.arange(len(indexes), dtype=np.int32), [len(index.keys) for index in indexes])
        self.counts = {NO_IMAGE: sum(index.num_without_image for index in indexes)}
        self._files: OrderedDict[int, int] = OrderedDict()
        if key_list is not None:
            wanted = read_key_list(key_list)
            absent = wanted[~np.isin(wanted, self.keys)]
            if len(absent):
                raise ConfigError(
                    f"{len(absent)} of {len(wanted)} keys of the list {str(key_list)!r} are in none of the shards, "
                    f"first {absent[0].decode()!r}; name the shards that the list was made from"
                )
            self.keep(np.isin(self.keys, wanted), NOT_LISTED)
        if not len(self.keys):
            raise ConfigError(f"the {len(self.shards)} shards hold no sample with an image")

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def shard_sizes(self) -> list[int]:
        return np.bincount(self._shard, minlength=len(self.shards)).tolist()

    def keep(self, kept: np.ndarray, reason: str) -> None:
        """Leave out the samples where ``kept`` (N,) bool is False, and count them under ``reason``."""
        self.counts[reason] = self.counts.get(reason, 0) + int((~kept).sum())
        self.keys, self._shard = self.keys[kept], self._shard[kept]
        self._image, self._json = self._image[kept], self._json[kept]

    def key(self, position: int) -> str:
        return self.keys[position].decode()

    def where(self, position: int) -> str:
        """For messages: which sample of which shard."""
        return f"sample {self.key(position)!r} of shard {self.shards[self._shard[position]]!r}"

    def broken(self, position: int, error: BrokenImageError) -> BrokenImageError:
        """The error of decoding a sample's image, with the sample's name."""
        return BrokenImageError(broken_message(self.where(position), error))

    def image(self, position: int) -> bytes:
        return self._read(position, self._image[position])

    def has_json(self, position: int) -> bool:
        return bool(self._json[position, 1])

    def json(self, position: int) -> dict[str, Any]:
        """Raises: ConfigError: the sample has no json; DamagedShardError: it cannot be read."""
        if not self.has_json(position):
            raise ConfigError(f"{self.where(position)} has no json member")
        payload = self._read(position, self._json[position])
        return load_json(payload, self.key(position), self.shards[self._shard[position]])

    def caption(self, position: int, caption_field: str) -> str | None:
        return caption_at(self.json(position), caption_field)

    def _read(self, position: int, member: np.ndarray) -> bytes:
        offset, size = map(int, member)
        return os.pread(self._file(int(self._shard[position])), size, offset)

    def _file(self, shard: int) -> int:
        if shard not in self._files:
            if len(self._files) >= MAX_OPEN_SHARDS:
                os.close(self._files.popitem(last=False)[1])
            self._files[shard] = os.open(self.shards[shard], os.O_RDONLY)
        self._files.move_to_end(shard)
        return self._files[shard]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": OrderedDict()}
