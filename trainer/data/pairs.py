"""Stage 2's samples: images of indexed shards with caption vectors of a store, by sample key.

Legend: B batch, C/H/W image, D embedder width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from store.common.errors import CaptionFieldError, ConfigError
from store.sources.shards import caption_at
from trainer.data.datasets import DataConfig, Dataset, Part, Several, joined_samples
from trainer.data.join import Missing
from trainer.data.order import Source, generator
from trainer.data.samples import BROKEN, broken_message
from trainer.data.shared_batches import empty_batch
from trainer.images.transform import BrokenImageError, ImageTransform
from trainer.model.tower_base import Tower
from trainer.settings.config import require, require_least


@dataclass(frozen=True, kw_only=True, slots=True)
class PairConfig(DataConfig):
    """Which images and which caption vectors make the pairs."""

    shards: tuple[str, ...] = ()
    """Image shards: paths, globs, brace ranges or @FILE lists."""
    field_weights: tuple[float, ...] | None = None
    """Relative probability of each field, one of which is drawn for each sample and step; equal by default."""
    broken: Missing = "error"
    """What to do with an image that cannot be decoded: stop and name it, or leave it out of its batch and count it."""
    check_captions: bool = True
    """Compare each loaded sample's caption, where the shard carries it, with the hash stored with its vector."""
    stream_buffer: int = 1024
    """Samples that a loader process holds to shuffle shards that can only be streamed (URLs, ``pipe:`` commands)."""
    min_crop: float = 0.9
    """Least area share of a training crop, in (0, 1]."""

    def check(self) -> None:
        require(0 < self.min_crop <= 1, "min_crop", self.min_crop, "above 0 and at most 1")
        require_least(self, 1, "stream_buffer")
        for dataset in self.data:
            if not dataset.shards:
                raise ConfigError(f"dataset {dataset.name!r} names no shards; give --shards, or shards in --datasets")

    def transform(self, tower: Tower) -> ImageTransform:
        """What prepares the images for the tower."""
        return replace(tower.transform, min_scale=self.min_crop)


class Pairing(Part):
    """What makes pairs of one dataset's samples, however they are read: images augmented, vectors joined by key."""

    def __init__(self, dataset: Dataset, config: PairConfig, transform: ImageTransform) -> None:
        super().__init__(dataset)
        self.config, self.transform = config, transform
        weights = np.array(dataset.field_weights or [1.0] * len(dataset.fields))
        self.bounds = np.cumsum(weights)[:-1] / weights.sum()

    def draw(self, random: np.random.Generator) -> int:
        """Which field a sample's caption vector comes from."""
        return int(np.searchsorted(self.bounds, random.random(), side="right"))  # random.choice takes 10 times as long

    def augmented(self, payload: bytes, random: np.random.Generator, where: Callable[[], str]) -> np.ndarray | None:
        """The augmented image; None where it is broken and broken ones are skipped. ``where`` names the sample."""
        try:
            return self.transform.train(payload, random)
        except BrokenImageError as error:
            if self.config.broken == "skip":
                return None
            raise BrokenImageError(f"{broken_message(where(), error)}, or with --broken skip") from error

    def joined(
        self, keys: Sequence[str], content: Callable[[int], dict[str, Any] | None], draws: np.ndarray
    ) -> np.ndarray:
        """Caption vectors (n, D) of ``keys``, each of the field that ``draws`` (n,) names.

        ``content`` returns the json of the sample at a row; None where the shard carries none.

        Raises: StaleCaptionError: the shard's caption is not the one that was embedded.
        """
        for which in np.unique(draws).tolist() if self.config.check_captions else ():
            rows = np.flatnonzero(draws == which).tolist()
            captions = [carried_caption(content(row), self.join.caption_field(which)) for row in rows]
            self.join.check_captions([keys[row] for row in rows], captions, which)
        return self.join.drawn(keys, draws)


def carried_caption(content: dict[str, Any] | None, caption_field: str) -> str | None:
    """The caption that the shard carries; None where it carries none, since captions may come from elsewhere."""
    try:
        return None if content is None else caption_at(content, caption_field)
    except CaptionFieldError:
        return None


class PairDataset(Pairing):
    """The pairs of one dataset whose shards are indexed, by position among its samples."""

    def __init__(self, dataset: Dataset, config: PairConfig, transform: ImageTransform) -> None:
        super().__init__(dataset, config, transform)
        self.samples = joined_samples(dataset, self.join, config.missing)

    @property
    def source(self) -> Source:
        return self.samples.source(self.name, self.weight)

    def image(self, sample: int, random: np.random.Generator) -> np.ndarray | None:
        """As :meth:`augmented`."""
        return self.augmented(self.samples.image(sample), random, lambda: self.samples.where(sample))

    def vectors(self, samples: Sequence[int], draws: np.ndarray) -> np.ndarray:
        """As :meth:`joined`."""

        def content(row: int) -> dict[str, Any] | None:
            return self.samples.json(samples[row]) if self.samples.has_json(samples[row]) else None

        return self.joined([self.samples.key(sample) for sample in samples], content, draws)


class PairData(Several[PairDataset]):
    """Images of indexed shards with caption vectors of stores."""

    def __init__(self, config: PairConfig, tower: Tower, seed: int) -> None:
        self.seed, self.transform = seed, config.transform(tower)
        super().__init__([PairDataset(dataset, config, self.transform) for dataset in config.data])

    def load(self, samples: np.ndarray, epoch: int, places: np.ndarray) -> dict[str, Any]:
        """``image`` (B, C, H, W) uint8, ``caption`` (B, D) as stored; broken images are left out and counted."""
        size = self.transform.size
        image_BCHW = empty_batch(len(samples), 3, size, size, dtype=torch.uint8)
        pixels, draws, kept = image_BCHW.numpy(), np.zeros(len(samples), int), np.zeros(len(samples), bool)
        for part, at, rows in self.divided(samples):
            for row, position in zip(at.tolist(), rows.tolist(), strict=True):
                random = generator(self.seed, 1, epoch, int(places[row]))
                draws[row] = part.draw(random)
                image = part.image(position, random)
                if image is not None:
                    pixels[row], kept[row] = image, True
        if not kept.any():
            part, _, rows = next(self.divided(samples[:1]))
            where = part.samples.where(int(rows[0]))
            raise BrokenImageError(f"all {len(samples)} images of a batch are broken, first {where}")
        num_kept = int(kept.sum())
        if num_kept < len(samples):
            pixels[:num_kept] = pixels[kept]
        caption_BD = empty_batch(num_kept, self.join.dim, dtype=self.dtype)
        for part, at, rows in self.divided(samples[kept]):
            caption_BD.numpy()[at] = part.vectors(rows.tolist(), draws[kept][at])
        return {"image": image_BCHW[:num_kept], "caption": caption_BD, "left_out": {BROKEN: len(samples) - num_kept}}
