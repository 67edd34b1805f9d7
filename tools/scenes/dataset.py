"""Writes splits of captioned scenes as webdataset shards, laid out as img2dataset does with DreamLIP's caption fields.

``OUTPUT/SPLIT/SHARD.tar`` holds the members ``KEY.jpg``, ``KEY.json`` and ``KEY.txt`` of up to 1,000 samples, KEY being
the 5-digit shard number and a 4-digit index. ``SHARD_stats.json`` holds the number of samples and the tar's SHA-256.
``OUTPUT/settings.json`` holds the settings that decide the bytes.

The split ``texts`` has no images: ``OUTPUT/texts.jsonl`` holds a line of captions for every sample. ``classes.json``
holds the classes (the main things) and prompts for zero-shot classification. ``SPLIT-shown.txt`` and
``SPLIT-others.txt`` list the keys of dev and test whose things are of the topics of the finetune split, and the rest.
"""

import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import PIL

from store.common.errors import ConfigError
from store.common.files import write_whole
from tools.prepare.packing import tar_of
from tools.scenes import captions
from tools.scenes.draw import render
from tools.scenes.scene import THEMES, Scene
from tools.scenes.splits import MAX_SHARDS, SPLITS, iter_scenes
from tools.scenes.vocabulary import THINGS

GENERATOR = 4  # raise it with every change that alters bytes
SAMPLES_PER_SHARD = 1000
TEMPLATES = ("{}", "{} clipart", "picture of {}")
TEXTS = "texts"  # the split without images
CAPTIONS: dict[str, Callable[[Scene, Random], str]] = {
    "raw_caption": captions.raw,
    "shortSV_captions": lambda scene, random: captions.short(scene, random, "SV"),
    "longSV_captions": lambda scene, random: captions.long(scene, random, "SV"),
    "shortIB_captions": lambda scene, random: captions.short(scene, random, "IB"),
    "longIB_captions": lambda scene, random: captions.long(scene, random, "IB"),
}
"""Caption field -> its text of a scene. The order decides what each draws from the random generator."""


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


def write(
    output: Path,
    splits: Mapping[str, int],
    seed: int = 0,
    image_size: int = 64,
    finetune_theme: str = "any",
    progress: Callable[[int], object] = lambda samples: None,
) -> dict[str, list[Path]]:
    """Write ``splits`` (split -> number of samples) below ``output``; returns the shards of each split.

    Complete shards are kept. ``progress`` is called with the number of samples of each shard that is done.

    Raises:
        ConfigError: ``output`` holds data made with other settings, or more samples of a split than asked for.
    """
    settings = {"generator": GENERATOR, "pillow": PIL.__version__, "seed": seed, "image_size": image_size}
    _claim(output, settings | {"finetune_theme": finetune_theme})
    shards = {}
    for split, num_samples in splits.items():
        theme = THEMES[finetune_theme if split == "finetune" else "any"]
        scenes = list(islice(iter_scenes(split, seed, theme), num_samples))
        keys = [
            f"{SPLITS[split][0] + n // SAMPLES_PER_SHARD:05d}{n % SAMPLES_PER_SHARD:04d}" for n in range(len(scenes))
        ]
        keyed = list(zip(keys, scenes, strict=True))
        if split == TEXTS:
            texts = [{"key": key, **_captions(scene, _random(key, seed))} for key, scene in keyed]
            shards[split] = [output / "texts.jsonl"]
            write_whole(shards[split][0], "".join(json.dumps(text) + "\n" for text in texts).encode())
            progress(num_samples)
            continue
        shards[split] = _write_split(output / split, keyed, seed, image_size, progress)
        if split in ("dev", "test"):
            for part, is_shown in (("shown", True), ("others", False)):
                listed = "".join(f"{key}\n" for key, scene in keyed if scene.main.is_shown == is_shown)
                write_whole(output / f"{split}-{part}.txt", listed.encode())
    write_whole(output / "classes.json", json.dumps(classes(), indent=1).encode())
    return shards


def classes() -> dict[str, Any]:
    """Zero-shot classes, the main things: json path of the label, prompts of each class, prompt templates."""
    return {"label": "label", "classes": {name: [name] for name in THINGS}, "templates": list(TEMPLATES)}


def sample(scene: Scene, key: str, seed: int, image_size: int) -> dict[str, bytes]:
    """The members of one sample by extension: jpg, json and txt."""
    random = _random(key, seed)
    jpeg = io.BytesIO()
    render(scene, image_size, random).save(jpeg, "JPEG", quality=92, subsampling=0)
    texts = _captions(scene, random)
    sides = ("width", "height", "original_width", "original_height")
    fields = {
        "caption": texts["raw_caption"],
        **texts,
        "label": scene.main.name,
        "key": key,
        "url": f"https://example.org/scenes/{key}.jpg",
        "status": "success",
        "error_message": None,
        **dict.fromkeys(sides, image_size),
    }
    return {"jpg": jpeg.getvalue(), "json": json.dumps(fields).encode(), "txt": texts["raw_caption"].encode()}


def _random(key: str, seed: int) -> Random:
    return Random(f"sample {key} {seed}")


def _captions(scene: Scene, random: Random) -> dict[str, str]:
    return {field: caption(scene, random) for field, caption in CAPTIONS.items()}


def _write_split(
    folder: Path,
    keyed: Sequence[tuple[str, Scene]],
    seed: int,
    image_size: int,
    progress: Callable[[int], object],
) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    if (held := sum(_stats(shard).get("count", 0) for shard in folder.glob("*.tar"))) > len(keyed):
        raise ConfigError(
            f"{str(folder)!r} holds {held} samples, more than the {len(keyed)} asked for; ask for at least {held}, "
            "or choose another --output"
        )
    shards = []
    for first in range(0, len(keyed), SAMPLES_PER_SHARD):
        part = keyed[first : first + SAMPLES_PER_SHARD]
        shards.append(folder / f"{part[0][0][:5]}.tar")
        stats = _stats(shards[-1])
        if stats.get("count") != len(part) or not _has_digest(shards[-1], stats.get("sha256")):
            payload = tar_of((key, sample(scene, key, seed, image_size)) for key, scene in part)
            write_whole(shards[-1], payload)
            stats = {"count": len(part), "sha256": hashlib.sha256(payload).hexdigest()}
            write_whole(_stats_path(shards[-1]), json.dumps(stats).encode())
        progress(len(part))
    return shards


def _has_digest(shard: Path, expected: object) -> bool:
    return shard.exists() and hashlib.sha256(shard.read_bytes()).hexdigest() == expected


def _stats(shard: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(_stats_path(shard).read_bytes()))
    except (OSError, ValueError):
        return {}


def _stats_path(shard: Path) -> Path:
    return shard.with_name(f"{shard.stem}_stats.json")


def _claim(output: Path, settings: dict[str, Any]) -> None:
    """Raises: ConfigError: the folder holds data of other settings, or other files."""
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
