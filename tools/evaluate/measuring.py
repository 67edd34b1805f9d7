"""Measures as entries of a result file: features into ranks and answers, ranks into shares and means."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

import store
from tools.evaluate.packed_ranks import WAYS, pack
from trainer.evaluation.metrics import accuracy, rank_summary, retrieval_ranks
from trainer.evaluation.sets.contrasts import Contrasts
from trainer.evaluation.zeroshot import right_answers

Directions = dict[str, dict[str, float]]
MEAN_MEASURES = ("accuracy", "top1", "top5", "mean_per_class", "cka")


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


def ranked_accuracy(
    ranks: torch.Tensor, image_keys: Sequence[str], label_I: torch.Tensor, num_classes: int, primary: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Accuracies of a set, with the one that papers report as ``accuracy``; and the ranks of all images."""
    values = accuracy(ranks, label_I)
    entry = values | {"accuracy": values[primary], "primary": primary}
    queries = {"images": fingerprint(image_keys), "primary": primary, "ranks": pack(ranks), "labels": pack(label_I)}
    return entry | {"num_classes": num_classes, "num_images": len(ranks)}, queries


def measure_contrasts(
    contrasts: Contrasts, image_IE: torch.Tensor, text_TE: torch.Tensor
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The share of right answers of each kind and their mean as ``accuracy``; and every answer."""
    questions = contrasts.by_kind()
    found = right_answers(contrasts, image_IE, text_TE)
    kinds = {
        kind: {"accuracy": right.double().mean().item(), "num_samples": len(right)} for kind, right in found.items()
    }
    answers = {
        kind: {"right": pack(right), "groups": pack([question.images[0] for question in questions[kind]])}
        for kind, right in found.items()
    }
    mean = sum(entry["accuracy"] for entry in kinds.values()) / len(kinds)
    queries = {
        "images": fingerprint(contrasts.images),
        "texts": fingerprint(key for key, _ in contrasts.texts),
        "num_images": len(contrasts.images),
        "kinds": answers,
    }
    return {"accuracy": mean, "num_samples": len(contrasts.questions), "kinds": kinds}, queries


def mean_entry(sets: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The mean over sets of every measure that all have, and of the accuracy of every kind that all have."""
    entries = list(sets.values())
    shared = [m for m in MEAN_MEASURES if all(m in entry for entry in entries)]
    mean: dict[str, Any] = {measure: sum(entry[measure] for entry in entries) / len(entries) for measure in shared}
    kinds = [kind for kind in entries[0].get("kinds", {}) if all(kind in entry.get("kinds", {}) for entry in entries)]
    if kinds:
        mean["kinds"] = {kind: mean_entry({n: entry["kinds"][kind] for n, entry in sets.items()}) for kind in kinds}
    return mean


def mean_accuracy(sets: Mapping[str, Mapping[str, Any]]) -> dict[str, float] | None:
    """The mean of every accuracy over the sets, and the number of their classes; None without a set."""
    if not sets:
        return None
    measures = ("top1", "top5", "mean_per_class", "accuracy")
    mean = {measure: sum(entry[measure] for entry in sets.values()) / len(sets) for measure in measures}
    return mean | {"num_classes": sum(entry["num_classes"] for entry in sets.values())}
