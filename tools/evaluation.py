"""Measures a model on evaluation sets: features into ranks, ranks into the entries of a result file."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

import store
from store.errors import ConfigError
from tools.reporting.paired import WAYS, pack
from trainer.evalsets.annotations import Caption
from trainer.evalsets.definition import Definition
from trainer.evalsets.images import Images
from trainer.evalsets.labels import classes_of
from trainer.evalsets.layouts import is_classification, open_classification, open_retrieval
from trainer.evaluate import Model, caption_features, require_embedded
from trainer.join import Join
from trainer.metrics import accuracy, class_ranks, rank_summary, retrieval_ranks
from trainer.zeroshot import class_vectors

Directions = dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True)
class Texts:
    """Captions in one language, as features.

    Attributes:
        features: (T, E) normalised.
        images: for each caption the positions of the images that it describes.
        keys: for each caption what the store calls it.
        language: empty where the set has one language.
    """

    features: torch.Tensor
    images: Sequence[Sequence[int]]
    keys: Sequence[str]
    language: str = ""

    def of_images(self, kept: torch.Tensor) -> "Texts":
        """The captions of the images at the positions ``kept``, which become 0, 1, ..."""
        place = {old: new for new, old in enumerate(kept.tolist())}
        images = [tuple(place[i] for i in of if i in place) for of in self.images]
        texts = [text for text, of in enumerate(images) if of]
        keys = [self.keys[text] for text in texts]
        return Texts(self.features[texts], [images[text] for text in texts], keys, self.language)


@dataclass(frozen=True, slots=True)
class Retrieved:
    """Retrieval on one set: the mean over its languages, each language, and the ranks of all queries."""

    mean: Directions
    languages: dict[str, Directions]
    queries: dict[str, dict[str, Any]]


def measure_retrieval(
    name: str, image_IE: torch.Tensor, image_keys: Sequence[str], texts: Sequence[Texts]
) -> Retrieved:
    """Retrieval both ways between the images and the captions of each language."""
    languages, queries = {}, {}
    for part in texts:
        pair_image = torch.tensor([image for images in part.images for image in images])
        pair_text = torch.tensor([text for text, images in enumerate(part.images) for _ in images])
        ranks = retrieval_ranks(image_IE, part.features.to(image_IE.device), pair_image, pair_text)
        groups = {"image_to_text": pair_image.unique(), "text_to_image": [images[0] for images in part.images]}
        languages[part.language] = {way: rank_summary(ranks[way]) for way in WAYS}
        queries[f"{name}/{part.language}" if part.language else name] = {
            "images": fingerprint(image_keys),
            "texts": fingerprint(part.keys),
            "num_images": len(image_IE),
            **{way: {"ranks": pack(ranks[way]), "groups": pack(groups[way])} for way in WAYS},
        }
    return Retrieved(mean_directions(list(languages.values())), languages if len(languages) > 1 else {}, queries)


def mean_directions(values: Sequence[Directions]) -> Directions:
    """Measure by measure, the mean over sets or languages."""
    return {way: {m: sum(value[way][m] for value in values) / len(values) for m in values[0][way]} for way in WAYS}


def fingerprint(keys: Iterable[str]) -> str:
    """Which keys, in which order: 16 hexadecimal digits."""
    return f"{store.caption_hash(chr(10).join(keys)):016x}"


def measure_accuracy(
    image_IE: torch.Tensor, image_keys: Sequence[str], class_NE: torch.Tensor, label_I: torch.Tensor, primary: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Zero-shot accuracies of a set, with the one that papers report as ``accuracy``; and the ranks of all images."""
    ranks = class_ranks(image_IE, class_NE, label_I)
    values = accuracy(ranks, label_I)
    entry = values | {"accuracy": values[primary], "primary": primary}
    queries = {"images": fingerprint(image_keys), "primary": primary, "ranks": pack(ranks), "labels": pack(label_I)}
    return entry | {"num_classes": len(class_NE), "num_images": len(image_IE)}, queries


def mean_accuracy(sets: Mapping[str, Mapping[str, Any]]) -> dict[str, float] | None:
    """The mean of every accuracy over the sets, and the number of their classes; None without a set."""
    if not sets:
        return None
    measures = ("top1", "top5", "mean_per_class", "accuracy")
    mean = {measure: sum(entry[measure] for entry in sets.values()) / len(sets) for measure in measures}
    return mean | {"num_classes": sum(entry["num_classes"] for entry in sets.values())}


class Result:
    """Collects the entries of a result file, set by set."""

    def __init__(self, device: torch.device | None = None) -> None:
        """Similarities are computed on ``device``, by default the CPU."""
        self.device = device or torch.device("cpu")
        self.retrieval: dict[str, Directions] = {}
        self.languages: dict[str, dict[str, Directions]] = {}
        self.drift: dict[str, Directions] = {}
        self.zeroshot: dict[str, dict[str, Any]] = {}
        self.queries: dict[str, dict[str, Any]] = {"retrieval": {}, "drift": {}, "zeroshot": {}}
        self.sets: dict[str, dict[str, Any]] = {}

    def add_retrieval(
        self,
        name: str,
        image_IE: torch.Tensor,
        images: Sequence[str],
        texts: Sequence[Texts],
        originals: Sequence[Texts],
        num_missing: int = 0,
        part: bool = False,
    ) -> None:
        """A retrieval set: ``texts`` of the model's own text side, ``originals`` of the original CLIP's (drift).

        A ``part`` of another set does not count in the means over sets.
        """
        image_IE = image_IE.to(self.device)
        found = measure_retrieval(name, image_IE, images, texts)
        drift = measure_retrieval(name, image_IE, images, originals)
        self.retrieval[name], self.drift[name] = found.mean, drift.mean
        if found.languages:
            self.languages[name] = found.languages
        for kind, queries in (("retrieval", found.queries), ("drift", drift.queries)):
            self.queries[kind] |= {key: entry | {"part": part} for key, entry in queries.items()}
        self.sets[name] = {
            "num_images": len(images),
            "num_captions": sum(len(part.keys) for part in texts),
            "num_languages": len(texts),
            "num_missing": num_missing,
            "part": part,
        }

    def add_zeroshot(
        self,
        name: str,
        image_IE: torch.Tensor,
        images: Sequence[str],
        class_NE: torch.Tensor,
        label_I: torch.Tensor,
        primary: str,
        part: bool = False,
    ) -> None:
        """A classification set, which does not count in the means over sets where it is a ``part`` of another."""
        on_device = image_IE.to(self.device), images, class_NE.to(self.device)
        entry, queries = measure_accuracy(*on_device, label_I, primary)
        self.queries["zeroshot"][name] = queries | {"part": part}
        self.zeroshot[name] = entry
        self.sets[name] = {"num_images": len(images), "num_classes": len(class_NE), "part": part}

    def entries(self) -> dict[str, Any]:
        """As they stand in the result file: means over the sets beside each set."""
        whole = [drift for name, drift in self.drift.items() if not self.sets[name]["part"]]
        classified = {name: entry for name, entry in self.zeroshot.items() if not self.sets[name]["part"]}
        return {
            "sets": self.sets,
            "retrieval": self.retrieval,
            "languages": self.languages,
            "drift": mean_directions(whole) if whole else None,
            "drift_sets": self.drift,
            "zeroshot": mean_accuracy(classified),
            "zeroshot_sets": self.zeroshot,
            "queries": self.queries,
        }


def evaluate_set(
    definition: Definition,
    model: Model,
    join: Join,
    original_join: Join,
    encode: Callable[[Images], torch.Tensor],
    result: Result,
) -> tuple[Images, list[Caption], torch.Tensor] | None:
    """Measure one defined set into ``result``; for a retrieval set returns its images, captions and image features.

    Args:
        join: field of the vectors that the model's text side takes.
        original_join: field of the original CLIP's text features.
        encode: image features of a set's images.

    Raises:
        MissingKeysError, StaleCaptionError: captions or prompts without a vector, or with that of another text.
    """
    name = definition.name
    if is_classification(definition):
        classes, labelled = classes_of(definition), open_classification(definition)
        prompts = list(classes.prompts(name))
        require_embedded(join, [key for _, key, _ in prompts], [prompt for *_, prompt in prompts], name)
        vectors = class_vectors(classes, join, model.adapter, name)
        keys = [labelled.images.key(i) for i in range(len(labelled.images))]
        result.add_zeroshot(name, encode(labelled.images), keys, vectors, labelled.labels, classes.primary)
        return None
    opened = open_retrieval(definition)
    by_language: dict[str, list[Caption]] = {}
    for caption in opened.captions:
        by_language.setdefault(caption.language, []).append(caption)
    for one in {join.fields[0]: join, original_join.fields[0]: original_join}.values():
        require_embedded(one, [f"{name}/{c.key}" for c in opened.captions], [c.text for c in opened.captions], name)
    image_IE = encode(opened.images)
    texts = [_texts(name, captions, language, join, model) for language, captions in by_language.items()]
    original = model.original()
    originals = [_texts(name, captions, lang, original_join, original) for lang, captions in by_language.items()]
    keys = [opened.images.key(i) for i in range(len(opened.images))]
    result.add_retrieval(name, image_IE, keys, texts, originals, opened.num_missing)
    return opened.images, opened.captions, image_IE


def _texts(name: str, captions: Sequence[Caption], language: str, join: Join, model: Model) -> Texts:
    keys = [f"{name}/{caption.key}" for caption in captions]
    return Texts(caption_features(join, keys, model.adapter)[0], [c.images for c in captions], keys, language)


def chosen(definitions: Sequence[Definition], names: Sequence[str]) -> list[Definition]:
    """The sets of these names, or all. Raises: ConfigError: there is no such set."""
    there = {definition.name: definition for definition in definitions}
    if absent := [name for name in names if name not in there]:
        raise ConfigError(f"no evaluation set {absent[0]!r}; there are {', '.join(there)}")
    return [there[name] for name in names] if names else list(definitions)
