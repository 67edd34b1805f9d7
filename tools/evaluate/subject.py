"""A model under evaluation, next to the original CLIP: on defined sets, or on caption sets in the json of shards."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from embedder.models.load import pick_device
from store.common.errors import ConfigError
from store.sources.keylist import read_key_list
from store.sources.shards import caption_at
from tools.evaluate.examples import retrieval_examples, spread
from tools.evaluate.result import Result
from trainer.checkpoint.model import load_model
from trainer.data.join import Join
from trainer.data.pairs import carried_caption
from trainer.data.samples import ShardSamples
from trainer.evaluation.features import Encoder
from trainer.evaluation.linear_probe import Labelled, Probe, fit_probe, held_out
from trainer.evaluation.sets.annotations import Caption
from trainer.evaluation.sets.class_names import Classes, find_classes, label_positions
from trainer.evaluation.sets.contrasts import Contrasts
from trainer.evaluation.sets.definition import Definition
from trainer.evaluation.sets.layouts import open_set
from trainer.evaluation.texts import (
    Adapter,
    Texts,
    caption_features,
    class_vectors,
    require_embedded,
    texts_by_language,
)

TextSide = tuple[Join, Adapter]
"""Fields of a store, and the adapter that maps their vectors to the joint space."""
TextSides = Callable[[Sequence[str]], tuple[TextSide, TextSide]]
"""Text sides of the model and of the original CLIP over the vectors of some caption fields."""


def evaluation_device(name: str) -> torch.device:
    """The device of a setting; ``auto`` is CUDA where there is one, else the CPU."""
    auto = "cuda" if torch.cuda.is_available() else "cpu"
    return pick_device(auto if name == "auto" else name)


class Subject:
    """A checkpoint, or CLIP itself.

    Attributes:
        encoder: encodes images with the model's tower.
        original: encodes images with the original CLIP's tower, for CKA; None measures none.
    """

    def __init__(
        self, clip: str, checkpoint: Path | None, device: str, kept: Path | None, cka: bool, check_clip: bool
    ) -> None:
        """``kept`` is the folder of image features; for ``check_clip`` see :func:`load_model`."""
        self.model = load_model(clip, checkpoint, check_clip)
        self.device = evaluation_device(device)
        self.encoder = Encoder(self.model.tower, self.device, kept)
        self.original: Encoder | None = None
        if cka and checkpoint is not None:
            original = Encoder(load_model(clip, None).tower, self.device, kept)
            self.original = self.encoder if original.identity == self.encoder.identity else original

    def text_sides(self, store: Path, own: list[str], original: list[str]) -> tuple[TextSide, TextSide]:
        """The model's text side, over its ``own`` fields if it has an adapter, and the original CLIP's."""
        original_join = Join(store, original)
        self.model.original().require_fit(original_join)
        if not self.model.adapter:
            return (original_join, None), (original_join, None)
        own_join = Join(store, own)
        self.model.require_fit(own_join)
        return (own_join, self.model.adapter), (original_join, None)


def evaluate_sets(
    definitions: Sequence[Definition],
    subject: Subject,
    text_sides: tuple[TextSide, TextSide],
    result: Result,
    linear_probe: bool,
    num_examples: int,
) -> list[dict[str, Any]]:
    """Measure sets into ``result``; returns retrieval examples of the first retrieval set.

    Raises:
        MissingKeysError, StaleCaptionError: captions or prompts without a vector, or with the vector of another text.
    """
    examples: list[dict[str, Any]] = []
    for definition in tqdm(definitions, "sets", unit="set", leave=False, disable=len(definitions) < 2):
        name, opened = definition.name, open_set(definition)
        content, (join, adapter) = opened.content, text_sides[0]
        require_embedded(join, opened.texts(), name)
        image_IE = subject.encoder.features(name, opened.images)
        keys = [opened.images.key(i) for i in range(len(opened.images))]
        if isinstance(content, Classes):
            vectors = class_vectors(content, join, adapter, name)
            result.add_zeroshot(name, image_IE, keys, content, vectors, opened.labels)
            if linear_probe and definition.train:
                probe, counts = _probe(definition, definition.train, subject.encoder, content)
                result.add_probe(name, keys, probe, Labelled(image_IE, opened.labels), content.primary, counts)
        elif isinstance(content, Contrasts):
            text_TE = caption_features(join, [f"{name}/{caption.key}" for caption in content.captions], adapter)[0]
            result.add_contrasts(name, content, image_IE, text_TE, opened.num_missing)
        else:
            require_embedded(text_sides[1][0], opened.texts(), name)
            own, originals = (texts_by_language(name, content, *side) for side in text_sides)
            original_IE = subject.original.features(name, opened.images) if subject.original else None
            result.add_retrieval(name, image_IE, keys, own, originals, original_IE, opened.num_missing)
            if not examples:
                captions = content.by_language()[content.captions[0].language]
                asked = [captions[i] for i in spread(num_examples, len(captions))]
                text_QE = caption_features(join, [f"{name}/{caption.key}" for caption in asked], adapter)[0]
                examples = retrieval_examples(opened.images, image_IE, asked, text_QE)
    return examples


def _probe(
    definition: Definition, train: Definition, encoder: Encoder, classes: Classes
) -> tuple[Probe, dict[str, int]]:
    """A probe fitted on the train split of a set, and how many images it was fitted on and chosen by."""
    fitted = _labelled(train, f"{definition.name} train", encoder)
    if definition.validation:
        chosen_on = _labelled(definition.validation, f"{definition.name} validation", encoder)
    else:
        mask = held_out(fitted.labels)
        fitted, chosen_on = fitted.part(~mask), fitted.part(mask)
    counts = {"num_train": len(fitted.labels), "num_validation": len(chosen_on.labels)}
    return fit_probe(fitted, chosen_on, len(classes.names), classes.primary), counts


def _labelled(definition: Definition, name: str, encoder: Encoder) -> Labelled:
    opened = open_set(definition)
    return Labelled(encoder.features(name, opened.images), opened.labels)


def files_of_sets(definitions: Iterable[Definition]) -> list[Path | str]:
    """The files and folders that sets are read from, which an output must not replace."""
    return [
        place
        for definition in definitions
        for place in (*definition.annotations, *definition.images, definition.only, definition.classes)
        if place is not None
    ]


def chosen(definitions: Sequence[Definition], names: Sequence[str]) -> list[Definition]:
    """The sets of these names, or all. Raises: ConfigError: there is no such set."""
    there = {definition.name: definition for definition in definitions}
    if absent := [name for name in names if name not in there]:
        raise ConfigError(f"no evaluation set {absent[0]!r}; there are {', '.join(there)}")
    return [there[name] for name in names] if names else list(definitions)


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
        result.add_retrieval(name, image_IE, keys, own, originals, original_IE)
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
