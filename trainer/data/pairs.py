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
from trainer.data.datasets import DataConfig, Dataset, require_one_model
from trainer.data.join import Join, Missing
from trainer.data.loader import BROKEN, NO_VECTOR
from trainer.data.order import Source, generator
from trainer.data.samples import ShardSamples, broken_message
from trainer.data.shared_batches import batch_dtype, empty_batch
from trainer.images.transform import BrokenImageError, ImageTransform
from trainer.model.tower_base import Tower
from trainer.settings.config import require


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
    """Compare each loaded sample's caption, where the shard carries it, with the hash stored beside its vector."""
    stream_buffer: int = 1024
    """Samples that a loader process holds to shuffle shards that can only be streamed (URLs, ``pipe:`` commands)."""
    min_crop: float = 0.9
    """Least area share of a training crop, in (0, 1]."""

    def __post_init__(self) -> None:
        DataConfig.__post_init__(self)
        require(0 < self.min_crop <= 1, "min_crop", self.min_crop, "above 0 and at most 1")
        require(self.stream_buffer >= 1, "stream_buffer", self.stream_buffer, "at least 1")
        for dataset in self.data:
            if not dataset.shards:
                raise ConfigError(f"dataset {dataset.name!r} names no shards; give --shards, or shards in --datasets")


class PairData:
    """Images of indexed shards with caption vectors of stores; one or several datasets.

    Attributes:
        join: the first dataset's; the vectors of all are of one model.
    """

    def __init__(self, config: PairConfig, tower: Tower) -> None:
        self.seed, self.transform = config.seed, replace(tower.transform, min_scale=config.min_crop)
        self.datasets = [PairDataset(dataset, config, self.transform) for dataset in config.data]
        require_one_model({part.name: part.join for part in self.datasets})
        self.join = self.datasets[0].join
        self.dtype = batch_dtype(*(part.join.dtype for part in self.datasets))
        self.starts = np.cumsum([0, *(len(part.samples) for part in self.datasets)])

    @property
    def sources(self) -> Sequence[Source]:
        return [part.source for part in self.datasets]

    def load(self, samples: np.ndarray, epoch: int, places: np.ndarray) -> dict[str, Any]:
        """``image`` (B, C, H, W) uint8, ``caption`` (B, D) as stored; broken ones are not among them, but counted."""
        numbers = np.searchsorted(self.starts, samples, side="right") - 1
        rows = samples - self.starts[numbers]
        size = self.transform.size
        image_BCHW = empty_batch(len(samples), 3, size, size, dtype=torch.uint8)
        pixels = image_BCHW.numpy()
        draws: list[int] = []
        kept: list[int] = []
        for at, (number, row, place) in enumerate(zip(numbers.tolist(), rows.tolist(), places.tolist(), strict=True)):
            random = generator(self.seed, 1, epoch, place)
            draw = self.datasets[number].draw(random)
            image = self.datasets[number].image(row, random)
            if image is not None:
                pixels[len(kept)] = image
                draws.append(draw)
                kept.append(at)
        if not kept:
            where = self.datasets[numbers[0]].samples.where(rows[0])
            raise BrokenImageError(f"all {len(samples)} images of a batch are broken, first {where}")
        caption_BD = empty_batch(len(kept), self.join.dim, dtype=self.dtype)
        vectors = caption_BD.numpy()
        for number in np.unique(numbers[kept]):
            of_it = numbers[kept] == number
            vectors[of_it] = self.datasets[number].vectors(rows[kept][of_it], np.array(draws)[of_it])
        return {
            "image": image_BCHW[: len(kept)],
            "caption": caption_BD,
            "left_out": {BROKEN: len(samples) - len(kept)},
        }


class PairDataset:
    """The pairs of one dataset, by position among its samples."""

    def __init__(self, dataset: Dataset, config: PairConfig, transform: ImageTransform) -> None:
        self.name, self.weight = dataset.name, dataset.weight
        self.pairing = Pairing(dataset, config, transform)
        self.join, self.draw = self.pairing.join, self.pairing.draw
        self.samples = ShardSamples(dataset.shards, dataset.keys, show_progress=True)
        self.samples.keep(self.join.covered(self.samples.keys, config.missing), NO_VECTOR)

    @property
    def source(self) -> Source:
        return Source(self.name, self.samples.shard_sizes, self.weight, self.samples.counts, keys=self.samples.keys)

    def image(self, sample: int, random: np.random.Generator) -> np.ndarray | None:
        """As :meth:`Pairing.image`."""
        return self.pairing.image(self.samples.image(sample), random, lambda: self.samples.where(sample))

    def vectors(self, samples: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """As :meth:`Pairing.vectors`, for ``samples`` (n,)."""

        def content(row: int) -> dict[str, Any] | None:
            sample = int(samples[row])
            return self.samples.json(sample) if self.samples.has_json(sample) else None

        return self.pairing.vectors([self.samples.key(sample) for sample in samples], content, draws)


class Pairing:
    """What makes a pair of a sample of one dataset, however it is read: an image augmented, a vector joined."""

    def __init__(self, dataset: Dataset, config: PairConfig, transform: ImageTransform) -> None:
        self.transform, self.broken, self.check_captions = transform, config.broken, config.check_captions
        self.join = Join(dataset.store, dataset.fields)
        weights = np.array(dataset.field_weights or [1.0] * len(dataset.fields))
        self.bounds = np.cumsum(weights)[:-1] / weights.sum()

    def draw(self, random: np.random.Generator) -> int:
        """Which field a sample's caption vector comes from."""
        return int(np.searchsorted(self.bounds, random.random(), side="right"))  # random.choice takes 10 times as long

    def image(self, payload: bytes, random: np.random.Generator, where: Callable[[], str]) -> np.ndarray | None:
        """The augmented image; None where it is broken and broken ones are skipped. ``where`` names the sample."""
        try:
            return self.transform.train(payload, random)
        except BrokenImageError as error:
            if self.broken == "skip":
                return None
            raise BrokenImageError(f"{broken_message(where(), error)}, or with --broken skip") from error

    def vectors(
        self, keys: list[str], content: Callable[[int], dict[str, Any] | None], draws: np.ndarray
    ) -> np.ndarray:
        """Caption vectors (n, D) of ``keys``, each of the field that ``draws`` (n,) names.

        Args:
            keys: n sample keys.
            content: the json of the sample at a row; None where the shard carries none.
            draws: (n,) numbers of fields.

        Raises:
            StaleCaptionError: the shard's caption is not the one that was embedded.
        """
        for which in np.unique(draws).tolist() if self.check_captions else ():
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
