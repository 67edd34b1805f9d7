"""Evaluates a model on the sets that are defined, and collects the entries of the result file."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from store.common.errors import ConfigError
from tools.evaluate.measuring import (
    Directions,
    Texts,
    mean_accuracy,
    mean_directions,
    mean_entry,
    measure_contrasts,
    measure_retrieval,
    ranked_accuracy,
)
from trainer.checkpoint.model import Model
from trainer.data.join import Join
from trainer.evaluation.cache import Encoder
from trainer.evaluation.cka import linear_cka
from trainer.evaluation.features import caption_features, require_embedded
from trainer.evaluation.linear_probe import Labelled, Probe, fit_probe, held_out
from trainer.evaluation.metrics import class_ranks
from trainer.evaluation.sets.annotations import Caption
from trainer.evaluation.sets.contrasts import CONTRASTS, Contrasts, ContrastSet
from trainer.evaluation.sets.definition import Definition
from trainer.evaluation.sets.images import Images
from trainer.evaluation.sets.labels import LabelledSet, classes_of
from trainer.evaluation.sets.layouts import open_classification, open_set, texts_in
from trainer.evaluation.zeroshot import class_vectors

TABLES = ("robustness", "composition", "fine_grained", "linear_probe")


class Result:
    """Collects the entries of a result file, set by set."""

    def __init__(self, device: torch.device | None = None) -> None:
        """Similarities are computed on ``device``, by default the CPU."""
        self.device = device or torch.device("cpu")
        self.retrieval: dict[str, Directions] = {}
        self.languages: dict[str, dict[str, Directions]] = {}
        self.drift: dict[str, Directions] = {}
        self.zeroshot: dict[str, dict[str, Any]] = {}
        self.tables: dict[str, dict[str, dict[str, Any]]] = {table: {} for table in (*TABLES, "cka")}
        self.queries: dict[str, dict[str, Any]] = {kind: {} for kind in ("retrieval", "drift", "zeroshot", *TABLES)}
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

        A ``part`` of another set does not count in the means over sets; captions in languages have their own average.
        """
        table = "multilingual" if any(part.language for part in texts) else "retrieval"
        image_IE = image_IE.to(self.device)
        found = measure_retrieval(name, image_IE, images, texts)
        drift = measure_retrieval(name, image_IE, images, originals)
        self.retrieval[name], self.drift[name] = found.mean, drift.mean
        if found.languages:
            self.languages[name] = found.languages
        for kind, queries in (("retrieval", found.queries), ("drift", drift.queries)):
            self.queries[kind] |= {key: entry | {"part": part, "table": table} for key, entry in queries.items()}
        counts = {
            "table": table,
            "num_images": len(images),
            "num_captions": sum(len(part.keys) for part in texts),
            "num_languages": len(texts),
            "num_missing": num_missing,
            "part": part,
        }
        self._describe(name, counts)

    def _describe(self, name: str, counts: Mapping[str, Any]) -> None:
        """A retrieval and a classification set may share their images and their name; what was said first stays."""
        self.sets[name] = {**counts, **self.sets.get(name, {})}

    def add_zeroshot(
        self,
        name: str,
        image_IE: torch.Tensor,
        images: Sequence[str],
        class_NE: torch.Tensor,
        label_I: torch.Tensor,
        primary: str,
        table: str = "zeroshot",
        part: bool = False,
    ) -> None:
        """A classification set; its ``table`` is ``zeroshot`` or ``robustness``.

        A ``part`` of another set does not count in the means over sets.
        """
        on_device = image_IE.to(self.device), images, class_NE.to(self.device)
        ranks = class_ranks(*on_device[::2], label_I)
        entry, self.queries[table][name] = ranked_accuracy(ranks, images, label_I, len(class_NE), primary)
        self.queries[table][name] |= {"part": part}
        (self.zeroshot if table == "zeroshot" else self.tables[table])[name] = entry
        self._describe(name, {"table": table, "num_images": len(images), "num_classes": len(class_NE), "part": part})

    def add_contrasts(
        self, name: str, table: str, contrasts: Contrasts, image_IE: torch.Tensor, text_TE: torch.Tensor, missing: int
    ) -> None:
        """A set of contrasts; its ``table`` is ``composition`` or ``fine_grained``."""
        entry, self.queries[table][name] = measure_contrasts(contrasts, image_IE, text_TE)
        self.tables[table][name] = entry
        counts = {"num_images": len(image_IE), "num_samples": len(contrasts.questions), "num_missing": missing}
        self._describe(name, {"table": table} | counts)

    def add_probe(
        self, name: str, images: Sequence[str], probe: Probe, test: Labelled, primary: str, counts: Mapping[str, int]
    ) -> None:
        """A linear probe of the classification set ``name``; ``counts`` are the images that it was fitted on."""
        ranks, num_classes = probe.ranks(test), len(probe.class_NF)
        queries = self.queries["linear_probe"]
        entry, queries[name] = ranked_accuracy(ranks, images, test.labels, num_classes, primary)
        fitted = {"C": probe.C, "validation_accuracy": probe.validation_accuracy, **counts}
        self.tables["linear_probe"][name] = entry | fitted

    def add_cka(self, name: str, image_IE: torch.Tensor, original_IE: torch.Tensor) -> None:
        """How the image tower arranges a set's images, compared with the original one; where that can be said."""
        value = linear_cka(image_IE, original_IE) if len(image_IE) >= 4 else math.nan
        if not math.isnan(value):
            self.tables["cka"][name] = {"cka": value, "num_images": len(image_IE)}

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
            **self.tables,
            "averages": self._averages(),
            "queries": self.queries,
        }

    def _averages(self) -> dict[str, dict[str, Any]]:
        """The paper's averages: table -> the names of its sets and the mean of their measures."""
        found: dict[str, dict[str, Any]] = {}
        for table in ("retrieval", "multilingual"):
            names = [n for n in self.retrieval if self.sets[n].get("table") == table and not self.sets[n].get("part")]
            if names:
                found[table] = {"sets": names} | mean_directions([self.retrieval[name] for name in names])
        for table, measured in {"zeroshot": self.zeroshot, **self.tables}.items():
            if sets := {name: entry for name, entry in measured.items() if not self.sets.get(name, {}).get("part")}:
                found[table] = {"sets": list(sets)} | mean_entry(sets)
        return found


@dataclass(frozen=True, slots=True)
class Subject:
    """What is evaluated.

    Attributes:
        model: image tower and text side.
        join: field of the vectors that the text side takes.
        original_join: field of the original CLIP's text features.
        encoder: encodes images with the model's tower.
        original: encodes images with the original CLIP's tower, for CKA; None measures none.
        linear_probe: whether probes are fitted on the sets that have a train split.
    """

    model: Model
    join: Join
    original_join: Join
    encoder: Encoder
    original: Encoder | None = None
    linear_probe: bool = False


def evaluate_set(
    definition: Definition, subject: Subject, result: Result
) -> tuple[Images, list[Caption], torch.Tensor] | None:
    """Measure one defined set into ``result``; for a retrieval set returns its images, captions and image features.

    Raises:
        MissingKeysError, StaleCaptionError: captions or prompts without a vector, or with that of another text.
    """
    name, opened = definition.name, open_set(definition)
    texts = texts_in(definition, opened)
    require_embedded(subject.join, list(texts), list(texts.values()), name)
    image_IE = subject.encoder.features(name, opened.images)
    keys = [opened.images.key(i) for i in range(len(opened.images))]
    if isinstance(opened, LabelledSet):
        classes, adapter = classes_of(definition), subject.model.adapter
        vectors = class_vectors(classes, subject.join, adapter, name)
        result.add_zeroshot(name, image_IE, keys, vectors, opened.labels, classes.primary, classes.table)
        if subject.linear_probe and definition.train:
            test = Labelled(image_IE, opened.labels)
            probe, counts = _probe(definition, definition.train, subject.encoder, len(vectors), classes.primary)
            result.add_probe(name, keys, probe, test, classes.primary, counts)
        return None
    if isinstance(opened, ContrastSet):
        text_keys = [f"{name}/{key}" for key, _ in opened.contrasts.texts]
        text_TE = caption_features(subject.join, text_keys, subject.model.adapter)[0]
        table = CONTRASTS[definition.layout].table
        result.add_contrasts(name, table, opened.contrasts, image_IE, text_TE, opened.num_missing)
        return None
    require_embedded(subject.original_join, list(texts), list(texts.values()), name)
    by_language: dict[str, list[Caption]] = {}
    for caption in opened.captions:
        by_language.setdefault(caption.language, []).append(caption)
    own, originals = (
        [_texts(name, captions, language, join, model) for language, captions in by_language.items()]
        for join, model in ((subject.join, subject.model), (subject.original_join, subject.model.original()))
    )
    result.add_retrieval(name, image_IE, keys, own, originals, opened.num_missing)
    if subject.original:
        result.add_cka(name, image_IE, subject.original.features(name, opened.images))
    return opened.images, opened.captions, image_IE


def _probe(
    definition: Definition, train: Definition, encoder: Encoder, num_classes: int, primary: str
) -> tuple[Probe, dict[str, int]]:
    """A probe fitted on the train split of a set, and how many images it was fitted on and chosen by."""
    fitted = _labelled(train, f"{definition.name} train", encoder)
    if definition.validation:
        chosen_on = _labelled(definition.validation, f"{definition.name} validation", encoder)
    else:
        mask = held_out(fitted.labels)
        fitted, chosen_on = fitted.part(~mask), fitted.part(mask)
    counts = {"num_train": len(fitted.labels), "num_validation": len(chosen_on.labels)}
    return fit_probe(fitted, chosen_on, num_classes, primary), counts


def _labelled(definition: Definition, name: str, encoder: Encoder) -> Labelled:
    opened = open_classification(definition)
    return Labelled(encoder.features(name, opened.images), opened.labels)


def _texts(name: str, captions: Sequence[Caption], language: str, join: Join, model: Model) -> Texts:
    keys = [f"{name}/{caption.key}" for caption in captions]
    return Texts(caption_features(join, keys, model.adapter)[0], [c.images for c in captions], keys, language)


def files_of_sets(definitions: Iterable[Definition]) -> list[Path | str]:
    """The files and folders that sets are read from, as they are named: what an output must not replace."""
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
