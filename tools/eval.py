"""``keyclip eval``: retrieval, zero-shot classification and drift, from embeddings that sit in the store."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from store.errors import ConfigError
from store.shards import caption_at
from tools.reporting.table import text_table
from trainer.decoding import decode
from trainer.evaluate import Model, caption_features, image_features, load_model
from trainer.join import Join
from trainer.metrics import retrieval
from trainer.run_folder import write_json
from trainer.samples import ShardSamples, read_key_list
from trainer.zeroshot import read_classes, zero_shot

FORMAT = "keyclip-eval/1"
SHOWN = 5  # images for an example
THUMBNAIL = 160  # pixels


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Evaluate CLIP itself, or a checkpoint of stage 1 or stage 2, on image shards.

    Captions are not encoded here: their vectors come from the store, as `keyclip embed` wrote them under
    EMBEDDER/CAPTION_FIELD and TEACHER/CAPTION_FIELD. Without --checkpoint, CLIP's own text features (the teacher
    fields) are used. The drift probe compares the tuned image tower with the original CLIP's text features.

    Example:
        keyclip eval --clip openai/clip-vit-large-patch14 --checkpoint runs/stage2 --shards 'coco-test/*.tar'
            --store coco.store --embedder llama --teacher clip --captions all=captions.0,captions.1,captions.2
            --output results/proclip.json
    """

    clip: str
    """The CLIP that was tuned: a folder or hub id."""
    checkpoint: Path | None = None
    """Run or checkpoint to evaluate; without it, CLIP itself."""
    shards: tuple[str, ...]
    """Image shards to evaluate on: paths, globs, brace ranges or @FILE lists."""
    store: Path
    """The store with the vectors of their captions."""
    captions: tuple[str, ...]
    """Caption sets, NAME=CAPTION_FIELD[,CAPTION_FIELD...]; the captions of a set are pooled, as in COCO's five."""
    embedder: str
    """Name of the embedder: its fields are EMBEDDER/CAPTION_FIELD."""
    teacher: str
    """Name of the teacher: CLIP's own text features are TEACHER/CAPTION_FIELD."""
    zeroshot: Path | None = None
    """Classes file for zero-shot classification; its prompts are EMBEDDER/prompt and TEACHER/prompt."""
    keys: Path | None = None
    """Key list, one sample key a line: evaluate on these samples only."""
    parts: tuple[str, ...] = ()
    """Parts of the samples to evaluate on their own too, NAME=KEY_LIST; they appear as caption sets `SET, NAME`."""
    name: str | None = None
    """What to call the model in tables; by default the checkpoint's or CLIP's path."""
    examples: int = 6
    """Captions for which the retrieved images are kept, for the report."""
    output: Path | None = None
    """Result file (json) for `keyclip report`."""
    device: str = "auto"
    """auto, cpu or cuda."""


def run(config: Config) -> None:
    """Evaluate, write the result, print the table."""
    result = evaluate(config)
    if config.output:
        config.output.parent.mkdir(parents=True, exist_ok=True)
        write_json(config.output, result)
    print(text_table([result]))


def evaluate(config: Config) -> dict[str, Any]:
    """The result as ``keyclip report`` reads it."""
    sets = _caption_sets(config.captions)
    model = load_model(config.clip, config.checkpoint)
    samples = ShardSamples(config.shards, config.keys)
    parts = {"": torch.ones(len(samples), dtype=torch.bool), **dict(_part(part, samples) for part in config.parts)}
    keys = [key.decode() for key in samples.keys]
    features = {
        name: caption_features(_join(config, model, fields), keys, model.adapter) for name, fields in sets.items()
    }
    auto = "cuda" if torch.cuda.is_available() else "cpu"
    image_IE = image_features(model.tower, samples, torch.device(auto if config.device == "auto" else config.device))
    first = next(iter(sets))
    original = model.original()
    return {
        "format": FORMAT,
        "name": config.name or str(config.checkpoint or config.clip),
        "checkpoint": str(model.checkpoint) if model.checkpoint else None,
        "clip": config.clip,
        "shards": list(samples.shards),
        "num_images": len(samples),
        "retrieval": {
            (f"{name}, {part}" if part else name): _retrieval(image_IE[kept], text[:, kept])
            for name, text in features.items()
            for part, kept in parts.items()
        },
        "drift": _retrieval(image_IE, caption_features(_join(config, original, sets[first]), keys, None)),
        "zeroshot": _zero_shot(config, model, samples, image_IE),
        "examples": _examples(config.examples, samples, sets[first][0], image_IE, features[first][0]),
    }


def _caption_sets(arguments: Sequence[str]) -> dict[str, list[str]]:
    sets = {}
    for argument in arguments:
        name, equals, fields = argument.partition("=")
        if not (name and equals and fields):
            raise ConfigError(f"caption set {argument!r}; expected NAME=CAPTION_FIELD[,CAPTION_FIELD...]")
        sets[name] = fields.split(",")
    if not sets:
        raise ConfigError("no caption set given; name at least one, --captions NAME=CAPTION_FIELD")
    return sets


def _part(argument: str, samples: ShardSamples) -> tuple[str, torch.Tensor]:
    """The name of a part and which samples belong to it: (I,) bool."""
    name, equals, file = argument.partition("=")
    if not (name and equals and file):
        raise ConfigError(f"part {argument!r}; expected NAME=KEY_LIST")
    kept = torch.from_numpy(np.isin(samples.keys, read_key_list(Path(file))))
    if not kept.any():
        raise ConfigError(f"none of the {len(samples)} samples is in the key list {file!r} of part {name!r}")
    return name, kept


def _join(config: Config, model: Model, caption_fields: Sequence[str]) -> Join:
    """The vectors of captions that the model's text side takes: the embedder's for an adapter, else CLIP's own."""
    prefix = config.embedder if model.adapter else config.teacher
    join = Join(config.store, [f"{prefix}/{field}" for field in caption_fields])
    model.require_fit(join)
    return join


def _retrieval(image_IE: torch.Tensor, text_VIE: torch.Tensor) -> dict[str, dict[str, float]]:
    owner = torch.arange(len(image_IE)).repeat(len(text_VIE))
    return retrieval(image_IE, text_VIE.flatten(0, 1), owner)


def _zero_shot(config: Config, model: Model, samples: ShardSamples, image_IE: torch.Tensor) -> dict[str, float] | None:
    if config.zeroshot is None:
        return None
    return zero_shot(read_classes(config.zeroshot), _join(config, model, ["prompt"]), model.adapter, samples, image_IE)


def _examples(
    num_examples: int, samples: ShardSamples, caption_field: str, image_IE: torch.Tensor, text_IE: torch.Tensor
) -> list[dict[str, Any]]:
    """For captions evenly spread over the samples, the images that rank first; the same captions for every model."""
    chosen = torch.linspace(0, len(samples) - 1, min(num_examples, len(samples))).long().tolist()
    return [_example(query, samples, caption_field, image_IE @ text_IE[query]) for query in chosen]


def _example(query: int, samples: ShardSamples, caption_field: str, scores: torch.Tensor) -> dict[str, Any]:
    order = scores.argsort(descending=True).tolist()
    retrieved = [
        {
            "key": samples.key(i),
            "score": scores[i].item(),
            "correct": i == query,
            "image": _thumbnail(samples.image(i)),
        }
        for i in order[:SHOWN]
    ]
    caption = caption_at(samples.json(query), caption_field)
    return {"query": caption, "key": samples.key(query), "rank": order.index(query) + 1, "retrieved": retrieved}


def _thumbnail(payload: bytes) -> str:
    image = decode(payload)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
