"""Image-caption samples with vectors for the benchmarks of the trainer: shards and a store, made in seconds."""

import io
import itertools
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

import store
from store.core.contract import Writer
from tools.bench.vector_layouts import add_member, bench_spec
from tools.scenes.dataset import sample
from tools.scenes.scene import THEMES
from tools.scenes.splits import iter_scenes

SHARD_SIZE = 1000
DISTINCT = 50
GRAIN = 6.0  # of 255, as a photograph has; it makes the files about as large as photographs
FIELDS = ("llm/shortSV_captions", "llm/longSV_captions")
TEACHER_FIELDS = ("clip/shortSV_captions", "clip/longSV_captions")


@dataclass(frozen=True, slots=True)
class MadeSamples:
    """Shards laid out as img2dataset does, and a store with the vectors of their captions."""

    shards: tuple[str, ...]
    store: Path


def make_samples(
    folder: Path, num_samples: int, dim: int, image_size: int = 256, teacher_dim: int | None = None
) -> MadeSamples:
    """Scenes with grain, whose captions are distinct and whose pictures repeat every ``DISTINCT`` samples.

    The store holds random float16 vectors of width ``dim`` for two captions a sample, and of ``teacher_dim`` for the
    teacher's fields where that is given.
    """
    scenes = itertools.islice(iter_scenes("test", 0, THEMES["any"]), DISTINCT)
    drawn = [sample(scene, f"{number:09d}", 0, image_size) for number, scene in enumerate(scenes)]
    pictures = [(_with_grain(members["jpg"]), json.loads(members["json"])) for members in drawn]
    made = store.create(folder / "vectors.store")
    widths = dict.fromkeys(FIELDS, dim) | (dict.fromkeys(TEACHER_FIELDS, teacher_dim) if teacher_dim else {})
    writers = {
        name: made.writer(name, replace(bench_spec(width, "float16"), caption_field=name.split("/")[1]))
        for name, width in widths.items()
    }
    shards = []
    for number, first in enumerate(range(0, num_samples, SHARD_SIZE)):
        shards.append(str(folder / f"{number:05d}.tar"))
        _write_shard(shards[-1], range(first, min(first + SHARD_SIZE, num_samples)), pictures, writers)
    return MadeSamples(tuple(shards), folder / "vectors.store")


def _with_grain(jpeg: bytes) -> bytes:
    pixels = np.asarray(Image.open(io.BytesIO(jpeg)), np.float32)
    grain = np.random.default_rng(len(jpeg)).normal(0, GRAIN, (*pixels.shape[:2], 1))
    out = io.BytesIO()
    Image.fromarray((pixels + grain).clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=90)
    return out.getvalue()


def _write_shard(
    shard: str, numbers: range, pictures: Sequence[tuple[bytes, dict[str, object]]], writers: dict[str, Writer]
) -> None:
    keys = [f"{number // SHARD_SIZE:05d}{number % SHARD_SIZE:04d}" for number in numbers]
    captions: dict[str, list[str]] = {name: [] for name in writers}
    with tarfile.open(shard, "w") as tar:
        for key, number in zip(keys, numbers, strict=True):
            picture, content = pictures[number % len(pictures)]
            texts = {name: f"{value} {key}" for name, value in content.items() if name.endswith("_captions")}
            for name in writers:
                captions[name].append(texts[name.split("/")[1]])
            add_member(tar, f"{key}.jpg", picture)
            add_member(tar, f"{key}.json", json.dumps({**content, **texts, "key": key}).encode())
            add_member(tar, f"{key}.txt", str(content["raw_caption"]).encode())
    for name, writer in writers.items():
        random = np.random.default_rng(store.caption_hash(f"{name} {shard}"))
        vectors = random.standard_normal((len(keys), writer.spec.dim), np.float32)
        writer.commit(Path(shard).stem, keys, vectors.astype(np.float16), store.caption_hashes(captions[name]))
