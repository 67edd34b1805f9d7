"""Small seeded data for the tests of the trainer: images, shards and stores."""

import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import store
from trainer.images.transform import ImageTransform

CAPTION_DIM, JOINT_DIM = 12, 16


def picture(seed: int = 0, size: tuple[int, int] = (24, 20), mode: str = "RGB") -> Image.Image:
    """A picture of random blocks, so that crops differ and JPEG keeps its looks."""
    blocks = np.random.default_rng(seed).integers(0, 256, (5, 6, 3)).astype(np.uint8)
    return Image.fromarray(blocks).resize(size, Image.Resampling.BICUBIC).convert(mode)


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def seen(transform: ImageTransform, payload: bytes) -> torch.Tensor:
    """What a tower sees of one image in evaluation: (1, C, H, W) float32."""
    return transform.normalize(torch.from_numpy(transform.evaluate(payload))[None])


def write_tar(path: Path, members: Iterable[tuple[str, bytes]]) -> str:
    """A tar of these members, in this order."""
    with tarfile.open(path, "w") as tar:
        for name, payload in members:
            info = tarfile.TarInfo(name)
            info.size = len(payload)
            tar.addfile(info, io.BytesIO(payload))
    return str(path)


def captions_of(key: str) -> dict[str, str]:
    return {"short": f"short caption of {key}", "long": f"a much longer caption of {key}"}


def sample_members(key: str, json_values: Mapping[str, object] | None = None) -> list[tuple[str, bytes]]:
    """The members of a sample as img2dataset writes them; the picture depends on the key alone."""
    values = captions_of(key) if json_values is None else json_values
    image = encoded(picture(store.caption_hash(key) % 1000))
    return [(f"{key}.jpg", image), (f"{key}.json", json.dumps(values).encode()), (f"{key}.txt", b"raw")]


def write_shard(path: Path, keys: Iterable[str], json_values: Mapping[str, object] | None = None) -> str:
    return write_tar(path, [member for key in keys for member in sample_members(key, json_values)])


def vectors(name: str, count: int, dim: int) -> np.ndarray:
    return np.random.default_rng(store.caption_hash(name)).standard_normal((count, dim)).astype(np.float32)


def add_field(path: Path, name: str, keys: list[str], dim: int, **changes: object) -> None:
    """Field ``name`` = ``MODEL/CAPTION_FIELD`` for these keys, made from :func:`captions_of` them."""
    model, caption_field = name.split("/")
    values = {
        "model": model,
        "revision": "main",
        "kind": "llm",
        "template": "",
        "pooling": "mean",
        "max_length": 77,
        "normalize": False,
        "caption_field": caption_field,
        "dim": dim,
        "dtype": "float32",
    }
    writer = store.open(path, mode="a").writer(name, store.FieldSpec(**{**values, **changes}))
    hashes = store.caption_hashes(captions_of(key)[caption_field] for key in keys)
    writer.commit("block", keys, vectors(name, len(keys), dim), hashes)


def make_store(path: Path, keys: list[str]) -> Path:
    """A store with two caption fields of an embedder and the teacher fields of the same captions."""
    store.create(path)
    for caption_field in ("short", "long"):
        add_field(path, f"llm/{caption_field}", keys, CAPTION_DIM)
        add_field(path, f"clip/{caption_field}", keys, JOINT_DIM, kind="clip-text")
    return path
