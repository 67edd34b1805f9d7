"""Entries of a result file, collected set by set: metrics, the ranks that they come from, and means over sets."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

import store
from tools.evaluate.packed_ranks import WAYS, pack
from trainer.evaluation.cka import linear_cka
from trainer.evaluation.linear_probe import Labelled, Probe
from trainer.evaluation.metrics import accuracy, class_ranks, rank_summary, right_answers
from trainer.evaluation.sets.class_names import Classes
from trainer.evaluation.sets.contrasts import Contrasts
from trainer.evaluation.texts import Texts

Directions = dict[str, dict[str, float]]
Entries = dict[str, dict[str, Any]]

TABLES = ("robustness", "composition", "fine_grained", "linear_probe")
MEAN_MEASURES = ("accuracy", "top1", "top5", "mean_per_class", "cka")


class Result:
    """Collects the entries of a result file, set by set.

    ``device`` computes similarities, by default the CPU. ``parts`` are positions of images by name: each part of a set
    becomes a set ``SET, NAME`` of its own, which does not count in the means over sets.
    """

    def __init__(self, device: torch.device | None = None, parts: Mapping[str, torch.Tensor] | None = None) -> None:
        self.device, self.parts = device or torch.device("cpu"), parts or {}
        self.retrieval: dict[str, Directions] = {}
        self.languages: dict[str, dict[str, Directions]] = {}
        self.drift: dict[str, Directions] = {}
        self.tables: dict[str, Entries] = {table: {} for table in ("zeroshot", *TABLES, "cka")}
        self.queries: dict[str, Entries] = {kind: {} for kind in ("retrieval", "drift", "zeroshot", *TABLES)}
        self.sets: Entries = {}

    def add_retrieval(
        self,
        name: str,
        image_IE: torch.Tensor,
        images: Sequence[str],
        texts: Sequence[Texts],
        originals: Sequence[Texts],
        original_IE: torch.Tensor | None = None,
        num_missing: int = 0,
        part: bool = False,
    ) -> None:
        """A retrieval set: ``texts`` of the model's own text side, ``originals`` of the original CLIP's (drift), and
        image features of the original CLIP for CKA. Captions in languages have an average of their own.
        """
        table = "multilingual" if any(one.language for one in texts) else "retrieval"
        on_device = image_IE.to(self.device)
        self.retrieval[name], languages, queries = _retrieval(name, on_device, images, texts)
        self.drift[name], _, drift_queries = _retrieval(name, on_device, images, originals)
        if len(languages) > 1:
            self.languages[name] = languages
        for kind, found in (("retrieval", queries), ("drift", drift_queries)):
            self.queries[kind] |= {key: entry | {"part": part, "table": table} for key, entry in found.items()}
        num_captions = sum(len(one.keys) for one in texts)
        counts = {"num_captions": num_captions, "num_languages": len(texts), "num_missing": num_missing}
        self._describe(name, {"table": table, "num_images": len(images), **counts, "part": part})
        if original_IE is not None:
            self.add_cka(name, image_IE, original_IE)
        for part_name, kept in {} if part else self.parts.items():
            own, original = ([one.of_images(kept) for one in side] for side in (texts, originals))
            kept_images = [images[i] for i in kept.tolist()]
            self.add_retrieval(f"{name}, {part_name}", image_IE[kept], kept_images, own, original, part=True)

    def _describe(self, name: str, counts: Mapping[str, Any]) -> None:
        """A retrieval and a classification set may share their images and their name; the first description stays."""
        self.sets[name] = {**counts, **self.sets.get(name, {})}

    def add_zeroshot(
        self,
        name: str,
        image_IE: torch.Tensor,
        images: Sequence[str],
        classes: Classes,
        class_NE: torch.Tensor,
        label_I: torch.Tensor,
        part: bool = False,
    ) -> None:
        """A classification set; the table of its classes is ``zeroshot`` or ``robustness``."""
        ranks, table = class_ranks(image_IE.to(self.device), class_NE.to(self.device), label_I), classes.table
        self.tables[table][name], queries = _accuracies(ranks, images, label_I, len(class_NE), classes.primary)
        self.queries[table][name] = queries | {"part": part}
        counts = {"num_images": len(images), "num_classes": len(class_NE), "part": part}
        self._describe(name, {"table": table, **counts})
        for part_name, kept in {} if part else self.parts.items():
            of_part = image_IE[kept], [images[i] for i in kept.tolist()], classes, class_NE, label_I[kept]
            self.add_zeroshot(f"{name}, {part_name}", *of_part, part=True)

    def add_contrasts(
        self, name: str, contrasts: Contrasts, image_IE: torch.Tensor, text_TE: torch.Tensor, num_missing: int = 0
    ) -> None:
        """A set of contrasts: the share of right answers of each kind, and their mean as ``accuracy``."""
        found, table, num_samples = (
            right_answers(contrasts, image_IE, text_TE),
            contrasts.table,
            len(contrasts.questions),
        )
        kinds = {k: {"accuracy": right.double().mean().item(), "num_samples": len(right)} for k, right in found.items()}
        mean = sum(entry["accuracy"] for entry in kinds.values()) / len(kinds)
        self.tables[table][name] = {"accuracy": mean, "num_samples": num_samples, "kinds": kinds}
        self.queries[table][name] = {
            "images": fingerprint(contrasts.positions),
            "texts": fingerprint(caption.key for caption in contrasts.captions),
            "num_images": len(contrasts.positions),
            "kinds": {
                kind: {"right": pack(found[kind]), "groups": pack([question.images[0] for question in questions])}
                for kind, questions in contrasts.by_kind().items()
            },
        }
        counts = {"num_images": len(image_IE), "num_samples": num_samples, "num_missing": num_missing}
        self._describe(name, {"table": table, **counts})

    def add_probe(
        self, name: str, images: Sequence[str], probe: Probe, test: Labelled, primary: str, counts: Mapping[str, int]
    ) -> None:
        """A linear probe of the classification set ``name``; ``counts`` are the images that it was fitted on."""
        found = _accuracies(probe.ranks(test), images, test.labels, len(probe.class_NF), primary)
        entry, self.queries["linear_probe"][name] = found
        fitted = {"C": probe.C, "validation_accuracy": probe.validation_accuracy, **counts}
        self.tables["linear_probe"][name] = entry | fitted

    def add_cka(self, name: str, image_IE: torch.Tensor, original_IE: torch.Tensor) -> None:
        """Similarity of the arrangement of a set's images by the tower and by the original one, where it is defined."""
        value = linear_cka(image_IE, original_IE) if len(image_IE) >= 4 else math.nan
        if not math.isnan(value):
            self.tables["cka"][name] = {"cka": value, "num_images": len(image_IE)}

    def entries(self) -> dict[str, Any]:
        """The entries of the result file: each set, and the means over sets."""
        drift, zeroshot = self._whole(self.drift), self._whole(self.tables["zeroshot"])
        mean = _mean_entry(zeroshot) if zeroshot else {}
        accuracies = {measure: mean.get(measure) for measure in ("top1", "top5", "mean_per_class", "accuracy")}
        num_classes = sum(entry["num_classes"] for entry in zeroshot.values())
        return {
            "sets": self.sets,
            "retrieval": self.retrieval,
            "languages": self.languages,
            "drift": mean_directions(list(drift.values())) if drift else None,
            "drift_sets": self.drift,
            "zeroshot": accuracies | {"num_classes": num_classes} if zeroshot else None,
            "zeroshot_sets": self.tables["zeroshot"],
            **{table: found for table, found in self.tables.items() if table != "zeroshot"},
            "averages": self._averages(),
            "queries": self.queries,
        }

    def _averages(self) -> Entries:
        """The paper's averages: table -> the names of its sets and the mean of their measures."""
        found: Entries = {}
        for table in ("retrieval", "multilingual"):
            names = [name for name in self._whole(self.retrieval) if self.sets[name].get("table") == table]
            if names:
                found[table] = {"sets": names} | mean_directions([self.retrieval[name] for name in names])
        for table, measured in self.tables.items():
            if sets := self._whole(measured):
                found[table] = {"sets": list(sets)} | _mean_entry(sets)
        return found

    def _whole(self, entries: Mapping[str, Any]) -> dict[str, Any]:
        """The entries of sets, without parts of sets."""
        return {name: entry for name, entry in entries.items() if not self.sets.get(name, {}).get("part")}


def _retrieval(
    name: str, image_IE: torch.Tensor, image_keys: Sequence[str], texts: Sequence[Texts]
) -> tuple[Directions, dict[str, Directions], Entries]:
    """Retrieval on one set: the mean over its languages, each language, and the ranks of all queries."""
    languages, queries = {}, {}
    for one in texts:
        ranks = one.ranks(image_IE)
        described = sorted({image for images in one.images for image in images})
        groups = {"image_to_text": described, "text_to_image": [images[0] for images in one.images]}
        languages[one.language] = {way: rank_summary(ranks[way]) for way in WAYS}
        queries[f"{name}/{one.language}" if one.language else name] = {
            "images": fingerprint(image_keys),
            "texts": fingerprint(one.keys),
            "num_images": len(image_IE),
            **{way: {"ranks": pack(ranks[way]), "groups": pack(groups[way])} for way in WAYS},
        }
    return mean_directions(list(languages.values())), languages, queries


def _accuracies(
    ranks: torch.Tensor, image_keys: Sequence[str], label_I: torch.Tensor, num_classes: int, primary: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Accuracies of a set, with the one that papers report as ``accuracy``; and the ranks of all images."""
    values = accuracy(ranks, label_I)
    entry = values | {"accuracy": values[primary], "primary": primary}
    queries = {"images": fingerprint(image_keys), "primary": primary, "ranks": pack(ranks), "labels": pack(label_I)}
    return entry | {"num_classes": num_classes, "num_images": len(ranks)}, queries


def fingerprint(keys: Iterable[str]) -> str:
    """A hash of keys and their order: 16 hexadecimal digits."""
    return f"{store.caption_hash(chr(10).join(keys)):016x}"


def mean_directions(values: Sequence[Directions]) -> Directions:
    """Measure by measure, the mean over sets or languages."""
    return {way: {m: sum(value[way][m] for value in values) / len(values) for m in values[0][way]} for way in WAYS}


def _mean_entry(sets: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The mean over sets of every measure that all have, and of the accuracy of every kind that all have."""
    entries = list(sets.values())
    shared = [m for m in MEAN_MEASURES if all(m in entry for entry in entries)]
    mean: dict[str, Any] = {measure: sum(entry[measure] for entry in entries) / len(entries) for measure in shared}
    kinds = [kind for kind in entries[0].get("kinds", {}) if all(kind in entry.get("kinds", {}) for entry in entries)]
    if kinds:
        mean["kinds"] = {kind: _mean_entry({n: entry["kinds"][kind] for n, entry in sets.items()}) for kind in kinds}
    return mean
