"""Ways to load batches of images with caption vectors: keyclip's, packed tars, and decoding alone as the limit."""

import io
import itertools
import math
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from store.sources.shards import iter_samples, shard_name
from tools.bench.vector_layouts import add_member
from trainer.data.join import Join
from trainer.data.loader import batches, make_plan
from trainer.data.order import Source, generator
from trainer.data.pairs import PairData
from trainer.data.shared_batches import empty_batch
from trainer.images.transform import ImageTransform

Batches = Iterator[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Loading:
    """What all contenders share."""

    pairs: PairData
    packed: Sequence[str]
    """Copies of the shards with the vectors among the samples' members."""
    sidecars: Sequence[tuple[str, str]]
    """Shards and the tars with their vectors, in the same order."""
    batch_size: int
    workers: int


def keyclip(loading: Loading) -> Batches:
    """Shards joined with the store by sample key, shuffled, captions compared with their hashes."""
    return _ordered(loading.pairs, loading)


class DecodeOnly:
    """The same images in the same order, without vectors and captions."""

    def __init__(self, pairs: PairData) -> None:
        self.pairs = pairs

    @property
    def sources(self) -> Sequence[Source]:
        return self.pairs.sources

    def load(self, samples: np.ndarray, epoch: int, places: np.ndarray) -> dict[str, Any]:
        (dataset,) = self.pairs.parts
        size, filled = self.pairs.transform.size, 0
        image_BCHW = empty_batch(len(samples), 3, size, size, dtype=torch.uint8)
        pixels = image_BCHW.numpy()
        for sample, place in zip(samples.tolist(), places.tolist(), strict=True):
            random = generator(self.pairs.seed, 1, epoch, place)
            random.random()  # the draw of a field, so that the crops are the same
            image = dataset.image(sample, random)
            if image is not None:
                pixels[filled] = image
                filled += 1
        return {"image": image_BCHW[:filled]}


def decode_only(loading: Loading) -> Batches:
    """The limit: what remains of keyclip's loader without the join."""
    return _ordered(DecodeOnly(loading.pairs), loading)


def _ordered(data: Any, loading: Loading) -> Batches:
    plan = make_plan(sum(source.epoch_size for source in data.sources), loading.batch_size)
    return batches(
        data, plan, range(10**9), seed=0, window=16, rank=0, ranks=1, accumulation=1,
        workers=loading.workers, pin_memory=False,
    )  # fmt: skip


class PackedTars(IterableDataset[dict[str, Any]]):
    """LLM2CLIP's layouts, read from start to end by webdataset's reader, without shuffling; whole batches.

    Each unit is one tar, or a tar and its sidecar, which are read in lock-step and must agree in their keys.
    """

    def __init__(self, units: Sequence[Sequence[str]], loading: Loading, published: bool = False) -> None:
        self.units, self.batch_size = units, loading.batch_size
        self.transform: ImageTransform = loading.pairs.transform
        self.num_fields = len(loading.pairs.join.fields)
        self.published = published

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = get_worker_info()
        units = self.units if worker is None else self.units[worker.id :: worker.num_workers]
        samples = itertools.chain.from_iterable(map(_lock_step, itertools.cycle(units)))
        random = generator(0, worker.id if worker else 0)
        while batch := list(itertools.islice(samples, self.batch_size)):
            drawn = [sample[f"vectors{random.integers(self.num_fields)}"] for sample in batch]
            size, dtype = self.transform.size, torch.float32 if self.published else torch.uint8
            image_BCHW = empty_batch(len(batch), 3, size, size, dtype=dtype)
            caption_BD = empty_batch(len(batch), len(drawn[0]) // 4, dtype=torch.float32)
            pixels, vectors = image_BCHW.numpy(), caption_BD.numpy()
            for row, (sample, vector) in enumerate(zip(batch, drawn, strict=True)):
                pixels[row] = self._image(sample["jpg"], random)
                vectors[row] = np.frombuffer(vector, np.float32)
            yield {"image": image_BCHW, "caption": caption_BD}

    def _image(self, payload: bytes, random: np.random.Generator) -> np.ndarray:
        return _published(self.transform, payload, random) if self.published else self.transform.train(payload, random)


def _lock_step(unit: Sequence[str]) -> Iterator[dict[str, bytes]]:
    for parts in zip(*map(_samples, unit), strict=True):
        sample = parts[0]
        for part in parts[1:]:
            if part["__key__"] != sample["__key__"]:
                raise ValueError(f"{unit} differ: {part['__key__']!r} next to {sample['__key__']!r}")
            sample = part | sample
        yield sample


def _samples(tar: str) -> Iterator[dict[str, Any]]:
    from webdataset.tariterators import group_by_keys, tar_file_expander

    with Path(tar).open("rb") as stream:
        yield from group_by_keys(tar_file_expander([{"url": tar, "stream": stream}]))


def _published(transform: ImageTransform, payload: bytes, random: np.random.Generator) -> np.ndarray:
    """The same crop as others make it: Pillow decodes and resizes, the worker normalises to float32."""
    image = Image.open(io.BytesIO(payload)).convert("RGB")
    area = random.uniform(transform.min_scale, 1.0)
    width, height = (max(1, math.floor(side * math.sqrt(area))) for side in image.size)
    left, top = (
        int(random.integers(whole - part + 1)) for whole, part in zip(image.size, (width, height), strict=True)
    )
    cropped = image.crop((left, top, left + width, top + height))
    resized = cropped.resize((transform.size, transform.size), Image.Resampling.BICUBIC)
    pixels = np.asarray(resized, dtype=np.float32) / 255.0
    normalised = (pixels - np.array(transform.mean, np.float32)) / np.array(transform.std, np.float32)
    return np.ascontiguousarray(normalised.transpose(2, 0, 1))


def packed(loading: Loading) -> Batches:
    """Vectors among the members of the image tars."""
    return _unordered(PackedTars([[tar] for tar in loading.packed], loading), loading)


def sidecar(loading: Loading) -> Batches:
    """Vectors in a tar next to each image tar."""
    return _unordered(PackedTars(loading.sidecars, loading), loading)


def published(loading: Loading) -> Batches:
    """As ``sidecar``, with images decoded by Pillow and normalised in the worker."""
    return _unordered(PackedTars(loading.sidecars, loading, published=True), loading)


def _unordered(data: PackedTars, loading: Loading) -> Batches:
    prefetch = 4 if loading.workers else None
    yield from DataLoader(data, batch_size=None, num_workers=loading.workers, prefetch_factor=prefetch)


CONTENDERS = {
    "keyclip": keyclip,
    "packed tars": packed,
    "tar sidecar": sidecar,
    "sidecar, Pillow": published,
    "decode only": decode_only,
}


def pack(folder: Path, shards: Sequence[str], join: Join, num_samples: int) -> tuple[list[str], list[tuple[str, str]]]:
    """Write both of LLM2CLIP's layouts: merged tars, and sidecars next to copies of the shards without other members.

    Samples without an image or a vector are left out, since a reader in lock-step could not; whole shards are packed
    until there are ``num_samples``.
    """
    merged: list[str] = []
    sidecars: list[tuple[str, str]] = []
    packed = 0
    for number, shard in enumerate(shards):
        if packed >= num_samples:
            break
        name = f"{number:05d}-{shard_name(shard)}"
        paths = [str(folder / f"{name}{ending}.tar") for ending in ("-merged", "", "_text_embeddings")]
        samples = {key: m for key, m in iter_samples(shard, ["jpg", "json", "txt"]) if "jpg" in m}
        all_keys = np.array([key.encode() for key in samples], dtype=np.bytes_)
        keys = [key.decode() for key in all_keys[join.covered(all_keys, "skip")]]
        vectors = [join.vectors(keys, which) for which in range(len(join.fields))]
        both, images, alone = (tarfile.open(path, "w") for path in paths)  # noqa: SIM115 - closed together
        with both, images, alone:
            for row, key in enumerate(keys):
                own = {f"{key}.{extension}": payload for extension, payload in samples[key].items()}
                added = {f"{key}.vectors{which}": matrix[row].tobytes() for which, matrix in enumerate(vectors)}
                for tar, members in ((both, own | added), (images, own), (alone, added)):
                    for member, payload in members.items():
                        add_member(tar, member, payload)
        packed += len(keys)
        merged.append(paths[0])
        sidecars.append((paths[1], paths[2]))
    return merged, sidecars
