"""Writes splits of captioned scenes as webdataset shards, laid out as img2dataset does with DreamLIP's caption fields.

``OUTPUT/SPLIT/SHARD.tar`` holds the members ``KEY.jpg``, ``KEY.json`` and ``KEY.txt`` of up to 1,000 samples, KEY being
the 5-digit shard number and a 4-digit index. ``SHARD_stats.json`` beside it tells the number of samples and the tar's
SHA-256. ``OUTPUT/settings.json`` holds the settings that decide the bytes.

The split ``texts`` has no images: ``OUTPUT/texts.jsonl`` holds a line of captions for every sample. ``classes.json``
holds the classes (the main things) and prompts for zero-shot classification. ``SPLIT-shown.txt`` and
``SPLIT-others.txt`` list the keys of dev and test whose things are of the topics of the finetune split, and the rest.
"""

import hashlib
import io
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import PIL

from store.common.errors import ConfigError
from store.common.files import write_whole
from tools.prepare.packing import tar_of
from tools.scenes import captions
from tools.scenes.draw import render
from tools.scenes.scene import Scene
from tools.scenes.splits import MAX_SHARDS, SPLITS, THEMES, iter_scenes
from tools.scenes.vocabulary import THINGS

GENERATOR = 4  # raise it with every change that alters bytes
SAMPLES_PER_SHARD = 1000
TEMPLATES = ("{}", "{} clipart", "picture of {}")
TEXTS = "texts"  # the split without images
PARTED = ("dev", "test")


def write(
    output: Path,
    splits: Mapping[str, int],
    seed: int = 0,
    image_size: int = 64,
    finetune_theme: str = "any",
    progress: Callable[[int], object] = lambda samples: None,
) -> dict[str, list[Path]]:
    """Write ``splits`` (split -> number of samples) below ``output``; returns the shards of each split.

    Shards that are complete already are kept. ``progress`` is told the number of samples of each shard that is done.

    Raises:
        ConfigError: ``output`` holds data made with other settings, or more samples of a split than asked for.
    """
    settings = {
        "generator": GENERATOR,
        "pillow": PIL.__version__,
        "seed": seed,
        "image_size": image_size,
        "finetune_theme": finetune_theme,
    }
    _claim(output, settings)
    shards = {}
    for split, num_samples in splits.items():
        theme = THEMES[finetune_theme if split == "finetune" else "any"]
        scenes = iter_scenes(split, seed, theme)
        if split == TEXTS:
            shards[split] = [_write_texts(output / "texts.jsonl", itertools.islice(scenes, num_samples), seed)]
            progress(num_samples)
            continue
        shards[split] = _write_split(output / split, split, num_samples, scenes, seed, image_size, progress)
        if split in PARTED:
            _write_parts(output, split, itertools.islice(iter_scenes(split, seed, theme), num_samples))
    write_whole(output / "classes.json", json.dumps(classes(), indent=1).encode())
    return shards


def classes() -> dict[str, Any]:
    """Zero-shot classes, the main things: json path of the label, prompts of each class, prompt templates."""
    return {"label": "label", "classes": {name: [name] for name in THINGS}, "templates": list(TEMPLATES)}


def sample(scene: Scene, key: str, seed: int, image_size: int) -> dict[str, bytes]:
    """The members of one sample by extension: jpg, json and txt."""
    random = Random(f"sample {key} {seed}")
    jpeg = io.BytesIO()
    render(scene, image_size, random).save(jpeg, "JPEG", quality=92, subsampling=0)
    said = _captions(scene, random)
    fields = {
        "caption": said["raw_caption"],
        **said,
        "label": scene.label,
        "key": key,
        "url": f"https://example.org/scenes/{key}.jpg",
        "status": "success",
        "error_message": None,
        "width": image_size,
        "height": image_size,
        "original_width": image_size,
        "original_height": image_size,
    }
    return {"jpg": jpeg.getvalue(), "json": json.dumps(fields).encode(), "txt": said["raw_caption"].encode()}


def _captions(scene: Scene, random: Random) -> dict[str, str]:
    """The caption fields by name."""
    return {
        "raw_caption": captions.raw(scene, random),
        "shortSV_captions": captions.short(scene, random, "SV"),
        "longSV_captions": captions.long(scene, random, "SV"),
        "shortIB_captions": captions.short(scene, random, "IB"),
        "longIB_captions": captions.long(scene, random, "IB"),
    }


def sample_key(split: str, number: int) -> str:
    """The key of a split's n-th sample."""
    shard, index = divmod(number, SAMPLES_PER_SHARD)
    return f"{SPLITS[split][0] + shard:05d}{index:04d}"


def _write_texts(file: Path, scenes: Iterable[Scene], seed: int) -> Path:
    keyed = ((sample_key(TEXTS, number), scene) for number, scene in enumerate(scenes))
    lines = [
        json.dumps({"key": key, **_captions(scene, Random(f"sample {key} {seed}"))}) + "\n" for key, scene in keyed
    ]
    write_whole(file, "".join(lines).encode())
    return file


def _write_parts(output: Path, split: str, scenes: Iterable[Scene]) -> None:
    """The key lists of the scenes whose things stage 2 shows, and of the others."""
    parts: dict[str, list[str]] = {"shown": [], "others": []}
    for number, scene in enumerate(scenes):
        parts["shown" if scene.main.is_shown else "others"].append(sample_key(split, number) + "\n")
    for name, keys in parts.items():
        write_whole(output / f"{split}-{name}.txt", "".join(keys).encode())


def _write_split(
    folder: Path,
    split: str,
    num_samples: int,
    scenes: Iterator[Scene],
    seed: int,
    image_size: int,
    progress: Callable[[int], object],
) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    first, num_shards = SPLITS[split][0], -(-num_samples // SAMPLES_PER_SHARD)
    shards = [folder / f"{first + number:05d}.tar" for number in range(num_shards)]
    if (held := sum(_stats(shard).get("count", 0) for shard in folder.glob("*.tar"))) > num_samples:
        raise ConfigError(
            f"{str(folder)!r} holds {held} samples, more than the {num_samples} asked for; ask for at least {held}, "
            "or choose another --output"
        )
    for number, shard in enumerate(shards):
        count = min(SAMPLES_PER_SHARD, num_samples - number * SAMPLES_PER_SHARD)
        chosen = list(itertools.islice(scenes, count))
        if not _is_complete(shard, count):
            keys = [f"{shard.stem}{index:04d}" for index in range(count)]
            payload = tar_of(
                (key, sample(scene, key, seed, image_size)) for key, scene in zip(keys, chosen, strict=True)
            )
            write_whole(shard, payload)
            stats = {"count": count, "sha256": hashlib.sha256(payload).hexdigest()}
            write_whole(_stats_path(shard), json.dumps(stats).encode())
        progress(count)
    return shards


def _is_complete(shard: Path, count: int) -> bool:
    stats = _stats(shard)
    if stats.get("count") != count or not shard.exists():
        return False
    return bool(stats.get("sha256") == hashlib.sha256(shard.read_bytes()).hexdigest())


def _stats(shard: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(_stats_path(shard).read_bytes()))
    except (OSError, ValueError):
        return {}


def _stats_path(shard: Path) -> Path:
    return shard.with_name(f"{shard.stem}_stats.json")


def _claim(output: Path, settings: dict[str, Any]) -> None:
    path = output / "settings.json"
    if path.exists():
        try:
            found = json.loads(path.read_bytes())
        except ValueError:
            found = None
        if found != settings:
            raise ConfigError(
                f"{str(output)!r} holds data made with other settings ({found}, now {settings}); "
                "choose another --output or remove that folder"
            )
        return
    output.mkdir(parents=True, exist_ok=True)
    if other := next(output.iterdir(), None):
        raise ConfigError(
            f"{str(output)!r} holds other files, such as {other.name!r}, and no data set of this command; "
            "choose another --output"
        )
    write_whole(path, json.dumps(settings, indent=1).encode())


def check(splits: Mapping[str, int], image_size: int, finetune_theme: str) -> None:
    """Refuse settings that cannot be met.

    Raises:
        ConfigError: an unknown split or theme, or a number out of range.
    """
    for split, count in splits.items():
        if split not in SPLITS:
            raise ConfigError(f"no split {split!r}; there are {', '.join(SPLITS)}")
        if not 1 <= count <= MAX_SHARDS * SAMPLES_PER_SHARD:
            raise ConfigError(
                f"split {split!r} cannot have {count} samples; give 1 to {MAX_SHARDS * SAMPLES_PER_SHARD}"
            )
    if not 32 <= image_size <= 1024:
        raise ConfigError(f"--image-size {image_size} is out of range; give 32 to 1024 pixels")
    if finetune_theme not in THEMES:
        raise ConfigError(f"no theme {finetune_theme!r}; there are {', '.join(THEMES)}")
