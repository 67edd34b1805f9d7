"""Evaluation while a run trains: retrieval and zero-shot accuracy on held-out sets, images divided over the ranks.

The sets are those of ``keyclip eval --sets``; the vectors of their texts come from a store.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import nn

from trainer.data.join import Join
from trainer.evaluation.features import caption_features, image_features, require_embedded
from trainer.evaluation.metrics import accuracy, class_ranks, rank_summary, retrieval_ranks
from trainer.evaluation.sets.annotations import Caption
from trainer.evaluation.sets.contrasts import ContrastSet
from trainer.evaluation.sets.definition import Definition, read_definitions
from trainer.evaluation.sets.images import Images
from trainer.evaluation.sets.labels import LabelledSet, classes_of
from trainer.evaluation.sets.layouts import RetrievalSet, open_set, texts_in
from trainer.evaluation.zeroshot import class_vectors, right_answers
from trainer.images.transform import BrokenImageError
from trainer.model.adapter import Adapter
from trainer.model.tower_base import Tower
from trainer.objectives.gather import gather_rows
from trainer.settings.config import EvalConfig


def make_validation(config: EvalConfig, made_by: dict[str, str]) -> "Validation | None":
    """What the settings ask for; None where they ask for none."""
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
        self.sets = [(definition, self._open(definition)) for definition in definitions]

    def _open(self, definition: Definition) -> RetrievalSet | LabelledSet | ContrastSet:
        opened = open_set(definition)
        texts = texts_in(definition, opened)
        require_embedded(self.join, list(texts), list(texts.values()), definition.name)
        return opened

    def is_due(self, step: int, last: bool) -> bool:
        return last or step % self.every == 0

    @torch.no_grad()
    def measure(self, tower: Tower, adapter: Adapter, device: torch.device, locked: bool = False) -> dict[str, float]:
        """``{"eval/SET/...": value}`` on every rank. A collective call.

        Of a retrieval set R@1 both ways and the mean rank over both ways, languages averaged; of a classification set
        the accuracy that papers report for it; of a set of contrasts the share of right answers, averaged over its
        kinds. A ``locked`` tower encodes the images once, the first time.
        """
        began = time.perf_counter()
        text_side = _OnDevice(adapter, device)
        values: dict[str, float] = {}
        with _evaluating(tower.model, adapter):
            for definition, opened in self.sets:
                name = definition.name
                image_IE = self._encoded.get(name)
                if image_IE is None:
                    image_IE = divided_features(tower, opened.images, device)
                if locked:
                    self._encoded[name] = image_IE
                if isinstance(opened, LabelledSet):
                    classes = classes_of(definition)
                    vectors = class_vectors(classes, self.join, text_side, name)
                    found = accuracy(class_ranks(image_IE, vectors, opened.labels), opened.labels)
                    values[f"eval/{name}/{classes.primary}"] = found[classes.primary]
                elif isinstance(opened, ContrastSet):
                    keys = [f"{name}/{key}" for key, _ in opened.contrasts.texts]
                    text_TE = caption_features(self.join, keys, text_side)[0]
                    shares = [
                        right.double().mean().item()
                        for right in right_answers(opened.contrasts, image_IE, text_TE).values()
                    ]
                    values[f"eval/{name}/accuracy"] = sum(shares) / len(shares)
                else:
                    values |= self._retrieval(name, opened.captions, image_IE, text_side)
        return values | {"eval/seconds": time.perf_counter() - began}

    def _retrieval(
        self, name: str, captions: list[Caption], image_IE: torch.Tensor, text_side: nn.Module
    ) -> dict[str, float]:
        languages: dict[str, list[Caption]] = {}
        for caption in captions:
            languages.setdefault(caption.language, []).append(caption)
        summaries = []
        for spoken in languages.values():
            text_TE = caption_features(self.join, [f"{name}/{caption.key}" for caption in spoken], text_side)[0]
            pairs = torch.tensor([(image, text) for text, caption in enumerate(spoken) for image in caption.images])
            ranks = retrieval_ranks(image_IE, text_TE, pairs[:, 0], pairs[:, 1])
            both = {way: rank_summary(of_way) for way, of_way in ranks.items()}
            summaries.append(
                {
                    "image_to_text_R@1": both["image_to_text"]["R@1"],
                    "text_to_image_R@1": both["text_to_image"]["R@1"],
                    "mean_rank": sum(summary["mean_rank"] for summary in both.values()) / len(both),
                }
            )
        return {f"eval/{name}/{m}": sum(s[m] for s in summaries) / len(summaries) for m in summaries[0]}


class _OnDevice(nn.Module):
    """The adapter where it trains, taking and giving float32 on the CPU."""

    def __init__(self, adapter: Adapter, device: torch.device) -> None:
        super().__init__()
        self.adapter, self.device = adapter, device

    def forward(self, caption_BD: torch.Tensor) -> torch.Tensor:
        return self.adapter(caption_BD.to(self.device)).float().cpu()


class _Part:
    """The images of one rank: every ``ranks``-th from ``rank`` on."""

    def __init__(self, images: Images, rank: int, ranks: int) -> None:
        self.images, self.positions = images, range(rank, len(images), ranks)

    def __len__(self) -> int:
        return len(self.positions)

    def key(self, position: int) -> str:
        return self.images.key(self.positions[position])

    def image(self, position: int) -> bytes:
        return self.images.image(self.positions[position])

    def broken(self, position: int, error: BrokenImageError) -> BrokenImageError:
        return self.images.broken(self.positions[position], error)


def divided_features(tower: Tower, images: Images, device: torch.device) -> torch.Tensor:
    """Features of all images on every rank, each encoded by one: (I, E) float32 on the CPU."""
    rank, ranks = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    part = _Part(images, rank, ranks)
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
