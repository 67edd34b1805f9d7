"""Validation while a run trains: retrieval and zero-shot accuracy on held-out sets, images divided over the ranks.

The sets are defined as for ``keyclip eval --sets``; the vectors of their texts come from a store.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import nn

from trainer.data.join import Join
from trainer.evaluation.features import image_features
from trainer.evaluation.metrics import accuracy, class_ranks, rank_summary, right_answers
from trainer.evaluation.sets.class_names import Classes
from trainer.evaluation.sets.contrasts import Contrasts
from trainer.evaluation.sets.definition import Definition, read_definitions
from trainer.evaluation.sets.images import Images, ImageSubset
from trainer.evaluation.sets.layouts import EvaluationSet, open_set
from trainer.evaluation.texts import Adapter, caption_features, class_vectors, require_embedded, texts_by_language
from trainer.model.tower_base import Tower
from trainer.objectives.gather import gather_rows
from trainer.settings.config import EvalConfig


def make_validation(config: EvalConfig, made_by: dict[str, str]) -> "Validation | None":
    """The validation that the settings ask for; None where they ask for none."""
    every, sets, path, field = config.every, config.sets, config.store, config.field
    if every is None or sets is None or path is None or field is None:
        return None
    return Validation(every, read_definitions(sets), Join(path, [field]), made_by)


class Validation:
    """The sets of a run, opened and checked once, before the first step.

    Raises:
        ConfigError: a set cannot be read, or the vectors of its texts are of another embedder than ``made_by``.
        MissingKeysError: texts of a set have no vector.
        StaleCaptionError: a vector is of another text.
    """

    def __init__(self, every: int, definitions: Sequence[Definition], join: Join, made_by: dict[str, str]) -> None:
        self.every, self.join = every, join
        join.require_made_by(made_by, "the run's adapter")
        self._encoded: dict[str, torch.Tensor] = {}
        self.sets = []
        for definition in definitions:
            self.sets.append(open_set(definition))
            require_embedded(join, self.sets[-1].texts(), definition.name)

    def is_due(self, step: int, last: bool) -> bool:
        return last or step % self.every == 0

    @torch.no_grad()
    def measure(self, tower: Tower, adapter: nn.Module, device: torch.device, locked: bool = False) -> dict[str, float]:
        """``{"eval/SET/...": value}`` on every rank. A collective call.

        Of a retrieval set R@1 both ways and the mean rank over both ways, languages averaged; of a classification set
        the accuracy that papers report for it; of a set of contrasts the share of right answers, averaged over its
        kinds. A ``locked`` tower encodes the images once, the first time.
        """
        began = time.perf_counter()
        values: dict[str, float] = {}

        def text_side(caption_BD: torch.Tensor) -> torch.Tensor:
            return adapter(caption_BD.to(device)).float().cpu()

        with _evaluating(tower.model, adapter):
            for opened in self.sets:
                image_IE = self._encoded.get(opened.name)
                if image_IE is None:
                    image_IE = divided_features(tower, opened.images, device)
                if locked:
                    self._encoded[opened.name] = image_IE
                for measure, value in _measures(opened, image_IE, self.join, text_side).items():
                    values[f"eval/{opened.name}/{measure}"] = value
        return values | {"eval/seconds": time.perf_counter() - began}


def _measures(opened: EvaluationSet, image_IE: torch.Tensor, join: Join, adapter: Adapter) -> dict[str, float]:
    name, content = opened.name, opened.content
    if isinstance(content, Classes):
        vectors = class_vectors(content, join, adapter, name)
        found = accuracy(class_ranks(image_IE, vectors, opened.labels), opened.labels)
        return {content.primary: found[content.primary]}
    if isinstance(content, Contrasts):
        text_TE = caption_features(join, [f"{name}/{caption.key}" for caption in content.captions], adapter)[0]
        shares = [right.double().mean().item() for right in right_answers(content, image_IE, text_TE).values()]
        return {"accuracy": sum(shares) / len(shares)}
    summaries = []
    for texts in texts_by_language(name, content, join, adapter):
        both = {way: rank_summary(ranks) for way, ranks in texts.ranks(image_IE).items()}
        recalls = {f"{way}_R@1": summary["R@1"] for way, summary in both.items()}
        summaries.append(recalls | {"mean_rank": sum(summary["mean_rank"] for summary in both.values()) / len(both)})
    return {measure: sum(s[measure] for s in summaries) / len(summaries) for measure in summaries[0]}


def divided_features(tower: Tower, images: Images, device: torch.device) -> torch.Tensor:
    """Features of all images on every rank, each encoded by one: (I, E) float32 on the CPU."""
    rank, ranks = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    part = ImageSubset(images, range(rank, len(images), ranks))
    own = image_features(tower, part, device, show_progress=rank == 0) if len(part) else torch.zeros(0, tower.dim)
    gathered = gather_rows(own.to(device))[0].cpu()
    places = torch.cat([torch.arange(first, len(images), ranks) for first in range(ranks)])
    return torch.empty_like(gathered).index_copy(0, places, gathered)


@contextmanager
def _evaluating(*modules: nn.Module) -> Iterator[None]:
    training = [module.training for module in modules]
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for module, was in zip(modules, training, strict=True):
            module.train(was)
