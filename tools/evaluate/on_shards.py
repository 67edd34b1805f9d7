"""Evaluates a model on caption sets in the json of shards, all of the same images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from store.common.errors import ConfigError
from store.sources.keylist import read_key_list
from store.sources.shards import caption_at
from tools.evaluate.examples import retrieval_examples, spread
from tools.evaluate.result import Result
from tools.evaluate.subject import Subject, TextSide
from trainer.data.pairs import carried_caption
from trainer.data.samples import ShardSamples
from trainer.evaluation.sets.annotations import Caption
from trainer.evaluation.sets.class_names import find_classes, label_positions
from trainer.evaluation.texts import Texts, caption_features, class_vectors

TextSides = Callable[[Sequence[str]], tuple[TextSide, TextSide]]
"""Text sides of the model and of the original CLIP over the vectors of some caption fields."""


def evaluate_shards(
    samples: ShardSamples,
    captions: Mapping[str, list[str]],
    classes_file: Path | None,
    subject: Subject,
    text_sides: TextSides,
    result: Result,
    num_examples: int,
) -> list[dict[str, Any]]:
    """Measure caption sets, and zero-shot classification of the same images, into ``result``.

    ``captions`` are the fields of each caption set, which are pooled. Returns retrieval examples of the first field.

    Raises:
        StaleCaptionError: a vector is of another caption than the shards carry.
    """
    keys = [key.decode() for key in samples.keys]
    sides = {name: text_sides(fields) for name, fields in captions.items()}
    texts = {name: [[_pooled(side, samples, keys)] for side in pair] for name, pair in sides.items()}
    image_IE = subject.encoder.features("shards", samples)
    original_IE = subject.original.features("shards", samples) if subject.original else None
    for name, (own, originals) in texts.items():
        result.add_retrieval(name, image_IE, keys, own, originals)
        if original_IE is not None:
            result.add_cka(name, image_IE, original_IE)
    if classes_file:
        classes, (join, adapter) = find_classes(classes_file), text_sides(["prompt"])[0]
        prompts = classes.texts("")
        join.check_captions(list(prompts), list(prompts.values()), 0)
        vectors = class_vectors(classes, join, adapter)
        labels = ((caption_at(samples.json(i), classes.label), samples.where(i)) for i in range(len(samples)))
        classes = replace(classes, table="zeroshot")  # the shards are no set of the robustness table
        result.add_zeroshot(classes_file.stem, image_IE, keys, classes, vectors, label_positions(classes, labels))
    positions = spread(num_examples, len(samples))
    (join, adapter), field = next(iter(sides.values()))[0], next(iter(captions.values()))[0]
    asked = [Caption(keys[i], _carried(samples, i, field) or "", (i,)) for i in positions]
    text_QE = caption_features(join, [caption.key for caption in asked], adapter)[0]
    return retrieval_examples(samples, image_IE, asked, text_QE)


def _pooled(side: TextSide, samples: ShardSamples, keys: list[str]) -> Texts:
    join, adapter = side
    fields = [join.caption_field(which) for which in range(len(join.fields))]
    for which, field in enumerate(fields):
        join.check_captions(keys, [_carried(samples, i, field) for i in range(len(samples))], which)
    features = caption_features(join, keys, adapter).flatten(0, 1)
    images = [(i,) for _ in fields for i in range(len(keys))]
    return Texts(features, images, [f"{key}/{field}" for field in fields for key in keys])


def _carried(samples: ShardSamples, position: int, field: str) -> str | None:
    return carried_caption(samples.json(position) if samples.has_json(position) else None, field)


def parts_of(arguments: Sequence[str], samples: ShardSamples) -> dict[str, torch.Tensor]:
    """Name of a part -> ascending positions of its samples, from ``NAME=KEY_LIST``."""
    parts: dict[str, torch.Tensor] = {}
    for argument in arguments:
        name, equals, file = argument.partition("=")
        if not (name and equals and file):
            raise ConfigError(f"part {argument!r}; expected NAME=KEY_LIST")
        if name in parts:
            raise ConfigError(f"two parts have the name {name!r}; give each its own: --parts NAME=KEY_LIST")
        parts[name] = torch.from_numpy(np.flatnonzero(np.isin(samples.keys, read_key_list(Path(file)))))
        if not len(parts[name]):
            raise ConfigError(f"none of the {len(samples)} samples is in the key list {file!r} of part {name!r}")
    return parts
