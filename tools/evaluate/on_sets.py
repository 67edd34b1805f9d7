"""Evaluates a model on defined sets."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from store.common.errors import ConfigError
from tools.evaluate.examples import retrieval_examples, spread
from tools.evaluate.result import Result
from tools.evaluate.subject import Subject, TextSide
from trainer.evaluation.features import Encoder
from trainer.evaluation.linear_probe import Labelled, Probe, fit_probe, held_out
from trainer.evaluation.sets.class_names import Classes
from trainer.evaluation.sets.contrasts import Contrasts
from trainer.evaluation.sets.definition import Definition
from trainer.evaluation.sets.layouts import open_set
from trainer.evaluation.texts import caption_features, class_vectors, require_embedded, texts_by_language


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
            text_TE = caption_features(join, [f"{name}/{key}" for key, _ in content.answers], adapter)[0]
            result.add_contrasts(name, content, image_IE, text_TE, opened.num_missing)
        else:
            require_embedded(text_sides[1][0], opened.texts(), name)
            own, originals = (texts_by_language(name, content, *side) for side in text_sides)
            result.add_retrieval(name, image_IE, keys, own, originals, opened.num_missing)
            if subject.original:
                result.add_cka(name, image_IE, subject.original.features(name, opened.images))
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
