"""Stage 2's samples from shards that cannot be addressed: URLs and ``pipe:`` commands, read from begin to end.

Guaranteed: every sample is joined by key, each loader process passes over shards of its own, every sample once a pass,
and a shard that breaks off is an error. Not guaranteed, unlike for local shards: the order depends on the numbers of
ranks and workers, and is shuffled only within a buffer; a process begins its next pass when its own shards are read, so
an epoch is a number of samples and may hold one twice or not at all; a continued run begins at about the shard where it
stopped, so the samples of about one shard per process may repeat or be left out; a missing vector is noticed when the
sample comes, not before the first step.
"""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

import store
from store.common.errors import ConfigError
from store.sources.keylist import read_key_list
from store.sources.shards import expand_shards, is_remote, iter_samples, load_json
from trainer.data.datasets import Dataset, Several
from trainer.data.loader import Share
from trainer.data.order import Source, generator
from trainer.data.pairs import PairConfig, Pairing
from trainer.data.samples import BROKEN, NO_IMAGE, NO_VECTOR, NOT_LISTED
from trainer.data.shard_index import IMAGE_EXTENSIONS
from trainer.data.shared_batches import empty_batch
from trainer.images.transform import BrokenImageError, ImageTransform
from trainer.model.tower_base import Tower

LOOKED_UP_TOGETHER = 64
_DIVISION, _PASS, _DRAWS = 4, 5, 6  # random streams; trainer/data/order.py has the lower ones
_MOST_BROKEN = 1000  # in a row


def is_streamed(config: PairConfig) -> bool:
    """Whether some shard cannot be addressed, so that the run streams all of them."""
    return any(is_remote(shard) for dataset in config.data for shard in expand_shards(dataset.shards))


@dataclass(frozen=True, slots=True)
class _Sample:
    key: str
    image: bytes
    json: bytes | None
    shard: str

    def where(self) -> str:
        return f"sample {self.key!r} of shard {self.shard!r}"


class StreamedDataset(Pairing):
    """The pairs of one dataset whose shards are streamed."""

    def __init__(self, dataset: Dataset, config: PairConfig, transform: ImageTransform) -> None:
        super().__init__(dataset, config, transform)
        self.shards = expand_shards(dataset.shards)
        self.wanted = None if dataset.keys is None else read_key_list(dataset.keys)
        stored = len(store.open(dataset.store).field(dataset.fields[0]))
        self._size = stored if self.wanted is None else len(self.wanted)

    @property
    def source(self) -> Source:
        """The number of samples is an estimate."""
        return Source(self.name, [self._size], self.weight, streamed=True)

    def samples(self, share: Share, number: int, left_out: Counter[str]) -> Iterator[_Sample]:
        """The samples of this share, pass after pass without end, counting the samples that are left out.

        Raises: ConfigError: a whole pass gives no sample.
        """
        own = generator(share.seed, _DIVISION, number).permutation(len(self.shards))[share.number :: share.of]
        first, begun = divmod(share.epochs_done * self.weight, 1)
        for nth in itertools.count(int(first)):
            random = generator(share.seed, _PASS, number, share.number, nth)
            skipped = int(begun * len(own)) if nth == int(first) else 0
            shards = [self.shards[shard] for shard in random.permutation(own)[skipped:]]
            num_kept = 0
            for sample in self._shuffled(self._covered(self._listed(shards, left_out), left_out), random):
                num_kept += 1
                yield sample
            if not num_kept and not skipped:
                raise ConfigError(
                    f"{len(shards)} shards of dataset {self.name!r}, first {shards[0]!r}, hold no sample to train on; "
                    f"left out: {dict(left_out)}"
                )

    def _shuffled(self, samples: Iterator[_Sample], random: np.random.Generator) -> Iterator[_Sample]:
        held: list[_Sample] = []
        for sample in samples:
            held.append(sample)
            if len(held) > self.config.stream_buffer:
                at = int(random.integers(len(held)))
                held[at], held[-1] = held[-1], held[at]
                yield held.pop()
        yield from (held[at] for at in random.permutation(len(held)))

    def _listed(self, shards: Sequence[str], left_out: Counter[str]) -> Iterator[_Sample]:
        for shard in shards:
            for key, members in iter_samples(shard, [*IMAGE_EXTENSIONS, "json"]):
                image = next((members[e] for e in IMAGE_EXTENSIONS if e in members), None)
                if self.wanted is not None and not _is_in(self.wanted, key.encode()):
                    left_out[NOT_LISTED] += 1
                elif image is None:
                    left_out[NO_IMAGE] += 1
                else:
                    yield _Sample(key, image, members.get("json"), shard)

    def _covered(self, samples: Iterator[_Sample], left_out: Counter[str]) -> Iterator[_Sample]:
        while group := list(itertools.islice(samples, LOOKED_UP_TOGETHER)):
            covered = self.join.covered([sample.key for sample in group], self.config.missing)
            left_out[NO_VECTOR] += int((~covered).sum())
            yield from (sample for sample, kept in zip(group, covered.tolist(), strict=True) if kept)

    def pairs(
        self, samples: Iterator[_Sample], random: np.random.Generator, left_out: Counter[str]
    ) -> Iterator[tuple[_Sample, np.ndarray, int]]:
        """Samples with their augmented images and the fields drawn for them; broken images are left out."""
        in_a_row = 0
        for sample in samples:
            image = self.augmented(sample.image, random, sample.where)
            if image is not None:
                in_a_row = 0
                yield sample, image, self.draw(random)
                continue
            in_a_row += 1
            left_out[BROKEN] += 1
            if in_a_row == _MOST_BROKEN:
                raise BrokenImageError(f"{in_a_row} images in a row are broken, last {sample.where()}")

    def vectors(self, samples: Sequence[_Sample], draws: Sequence[int]) -> np.ndarray:
        """As :meth:`~trainer.data.pairs.Pairing.joined`."""

        def content(row: int) -> dict[str, Any] | None:
            sample = samples[row]
            return None if sample.json is None else load_json(sample.json, sample.key, sample.shard)

        return self.joined([sample.key for sample in samples], content, np.array(draws))


def _is_in(values: np.ndarray, value: bytes) -> bool:
    """Whether a sorted array (n,) holds a value; a set of keys would take six times the memory."""
    at = int(np.searchsorted(values, np.bytes_(value)))
    return at < len(values) and bool(values[at] == value)


class PairStream(Several[StreamedDataset]):
    """Images of streamed shards with caption vectors of stores."""

    def __init__(self, config: PairConfig, tower: Tower) -> None:
        self.transform = config.transform(tower)
        super().__init__([StreamedDataset(dataset, config, self.transform) for dataset in config.data])

    def check_shares(self, shares: int) -> None:
        """Raises: ConfigError: a dataset has too few shards to give each of ``shares`` loader processes one."""
        for part in self.parts:
            if len(part.shards) < shares:
                raise ConfigError(
                    f"dataset {part.name!r} has {len(part.shards)} shards to stream to {shares} loader processes "
                    "(ranks x workers), which each need their own; lower --workers, or make more and smaller shards"
                )

    def stream(self, share: Share) -> Iterator[dict[str, Any]]:
        """Batches without end: ``image`` (B, C, H, W) uint8, ``caption`` (B, D) as stored, ``left_out`` counts.

        Raises:
            DamagedShardError, ShardNotFoundError: a shard cannot be read to its end.
            MissingKeysError, StaleCaptionError, BrokenImageError: as for local shards.
        """
        left_out: Counter[str] = Counter()
        samples = [part.samples(share, number, left_out) for number, part in enumerate(self.parts)]
        sizes = np.array([source.epoch_size for source in self.sources], float)
        random, size = generator(share.seed, _DRAWS, share.number, share.first_step), self.transform.size
        while True:
            numbers = np.sort(random.choice(len(samples), share.batch_size, p=sizes / sizes.sum()))
            image_BCHW = empty_batch(share.batch_size, 3, size, size, dtype=torch.uint8)
            caption_BD = empty_batch(share.batch_size, self.join.dim, dtype=self.dtype)
            for number in np.unique(numbers).tolist():
                part, rows = self.parts[number], np.flatnonzero(numbers == number)
                taken = list(itertools.islice(part.pairs(samples[number], random, left_out), len(rows)))
                image_BCHW.numpy()[rows] = [image for _, image, _ in taken]
                caption_BD.numpy()[rows] = part.vectors([sample for sample, *_ in taken], [draw for *_, draw in taken])
            yield {"image": image_BCHW, "caption": caption_BD, "left_out": dict(left_out)}
            left_out.clear()
