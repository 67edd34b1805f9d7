"""Samples of image shards by sample key: captions and pictures for the hits of a search."""

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from store.common.errors import CaptionFieldError
from store.sources.shards import caption_at
from trainer.data.samples import ShardSamples


class Gallery:
    """The samples with an image in some local shards. Safe to use from threads."""

    def __init__(self, shards: Sequence[str], show_progress: bool = False) -> None:
        """Raises: ShardNotFoundError, DamagedShardError, ConfigError: from ``ShardSamples``."""
        self.samples = ShardSamples(shards, show_progress=show_progress)
        self._reading = threading.Lock()  # files are closed to make room for others
        self._order = np.argsort(self.samples.keys)
        self._sorted = self.samples.keys[self._order]

    def __len__(self) -> int:
        return len(self.samples)

    def keys(self) -> list[str]:
        """The keys of all samples, shard by shard."""
        return [key.decode() for key in self.samples.keys]

    def position(self, key: str) -> int | None:
        """The number of a key's sample, or None if there is none."""
        sought = key.encode("utf-8", "surrogatepass")
        place = int(np.searchsorted(self._sorted, np.bytes_(sought)))
        if place < len(self._sorted) and self._sorted[place] == sought:
            return int(self._order[place])
        return None

    def about(self, key: str) -> dict[str, Any]:
        """The sample's json; empty if there is no sample, or no json."""
        position = self.position(key)
        if position is None or not self.samples.has_json(position):
            return {}
        with self._reading:
            return self.samples.json(position)

    def caption(self, key: str, caption_field: str) -> str | None:
        """Today's text of a caption field; None if it is empty or absent."""
        try:
            return caption_at(self.about(key), caption_field)
        except CaptionFieldError:
            return None

    def image(self, key: str) -> bytes | None:
        """The image's bytes as in the shard."""
        position = self.position(key)
        if position is None:
            return None
        with self._reading:
            return self.samples.image(position)


def captions_in(sample: Any, path: str = "") -> list[tuple[str, str]]:
    """Every text in a sample's json, with the caption field that leads to it."""
    if isinstance(sample, str):
        return [(path, sample)] if sample.strip() else []
    if isinstance(sample, dict):
        parts = [(str(name), value) for name, value in sample.items()]
    elif isinstance(sample, list):
        parts = [(str(place), value) for place, value in enumerate(sample)]
    else:
        return []
    return [found for name, value in parts for found in captions_in(value, f"{path}.{name}" if path else name)]
