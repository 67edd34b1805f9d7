"""Stage 2's samples: images of indexed shards with caption vectors of a store, by sample key.

Legend: B batch, C/H/W image, D embedder width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from store.errors import CaptionFieldError, ConfigError
from trainer.config import RunConfig, require
from trainer.images import BrokenImageError
from trainer.join import Join, Missing
from trainer.order import generator
from trainer.samples import ShardSamples
from trainer.towers import Tower


@dataclass(frozen=True, kw_only=True, slots=True)
class PairConfig(RunConfig):
    """Which images and which caption vectors make the pairs."""

    shards: tuple[str, ...]
    """Image shards: paths, globs, brace ranges or @FILE lists."""
    store: Path
    """The store that holds the caption vectors."""
    fields: tuple[str, ...]
    """Fields of caption vectors; one is drawn at random for each sample and step."""
    field_weights: tuple[float, ...] | None = None
    """Relative probability of each field; equal by default."""
    keys: Path | None = None
    """Key list, one sample key a line: train on these samples only."""
    missing: Missing = "error"
    """What to do with a sample that lacks a vector in some field: refuse to start, or leave it out and count it."""
    broken: Missing = "error"
    """What to do with an image that cannot be decoded: stop and name it, or leave it out of its batch and count it."""
    check_captions: bool = True
    """Compare each loaded sample's caption, where the shard carries it, with the hash stored beside its vector."""
    min_crop: float = 0.9
    """Least area share of a training crop, in (0, 1]."""

    def __post_init__(self) -> None:
        RunConfig.__post_init__(self)
        require(0 < self.min_crop <= 1, "min_crop", self.min_crop, "above 0 and at most 1")
        if self.field_weights is not None and (
            len(self.field_weights) != len(self.fields) or min(self.field_weights) < 0 or sum(self.field_weights) <= 0
        ):
            raise ConfigError(f"field_weights {self.field_weights}; expected one number >= 0 per field, not all 0")


class PairData:
    """Images of indexed shards with caption vectors of a store."""

    def __init__(self, config: PairConfig, tower: Tower) -> None:
        self.config, self.transform = config, replace(tower.transform, min_scale=config.min_crop)
        self.join = Join(config.store, config.fields)
        self.samples = ShardSamples(config.shards, config.keys)
        covered = self.join.covered([key.decode() for key in self.samples.keys], config.missing)
        self.samples.keep(covered, "without a vector")
        weights = np.array(config.field_weights or [1.0] * len(config.fields))
        self.probability = weights / weights.sum()

    @property
    def shard_sizes(self) -> Sequence[int]:
        return self.samples.shard_sizes

    def load(self, samples: np.ndarray, epoch: int, places: np.ndarray) -> dict[str, Any]:
        """``image`` (B, C, H, W) and ``caption`` (B, D), float32; ``num_skipped`` broken images are not among them."""
        images, draws, kept = [], [], []
        for sample, place in zip(samples.tolist(), places.tolist(), strict=True):
            random = generator(self.config.seed, 1, epoch, place)
            draw = random.choice(len(self.probability), p=self.probability)
            image = self._image(sample, random)
            if image is not None:
                images.append(image)
                draws.append(draw)
                kept.append(sample)
        if not kept:
            raise BrokenImageError(
                f"all {len(samples)} images of a batch are broken, first {self.samples.where(samples[0])}"
            )
        keys = [self.samples.key(sample) for sample in kept]
        if self.config.check_captions:
            self._check(np.array(kept), keys, np.array(draws))
        return {
            "image": torch.from_numpy(np.stack(images)),
            "caption": torch.from_numpy(self.join.drawn(keys, np.array(draws))),
            "num_skipped": len(samples) - len(kept),
        }

    def _image(self, sample: int, random: np.random.Generator) -> np.ndarray | None:
        """The augmented image; None where it is broken and broken ones are skipped."""
        try:
            return self.transform.train(self.samples.image(sample), random)
        except BrokenImageError as error:
            if self.config.broken == "skip":
                return None
            raise BrokenImageError(f"{self.samples.broken(sample, error)}, or with --broken skip") from error

    def _check(self, samples: np.ndarray, keys: list[str], draws: np.ndarray) -> None:
        for which in np.unique(draws):
            rows = np.flatnonzero(draws == which)
            captions = [self._caption(samples[row], self.join.caption_field(which)) for row in rows]
            self.join.check_captions([keys[row] for row in rows], captions, int(which))

    def _caption(self, sample: int, caption_field: str) -> str | None:
        """The caption that the shard carries; None where it carries none, since captions may come from elsewhere."""
        if not self.samples.has_json(sample):
            return None
        try:
            return self.samples.caption(sample, caption_field)
        except CaptionFieldError:
            return None
