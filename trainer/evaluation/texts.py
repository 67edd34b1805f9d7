"""Text features for evaluation: vectors of a store through a model's text side, as captions and as class vectors."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from store.common.errors import MissingKeysError
from trainer.data.join import Join
from trainer.evaluation.metrics import classifier, retrieval_ranks
from trainer.evaluation.sets.annotations import Annotations, positions_among
from trainer.evaluation.sets.class_names import Classes

CAPTIONS = 16_384  # caption vectors in memory at a time

Adapter = Callable[[torch.Tensor], torch.Tensor] | None
"""Maps caption vectors (n, D) to the joint space (n, E), both float32 on the CPU; None where they are there already."""


@dataclass(frozen=True, slots=True)
class Texts:
    """Captions in one language, as features.

    Attributes:
        features: (T, E) normalised.
        images: for each caption the positions of the images that it describes.
        keys: for each caption its key in the store.
        language: empty where the set has one language.
    """

    features: torch.Tensor
    images: Sequence[Sequence[int]]
    keys: Sequence[str]
    language: str = ""

    def of_images(self, kept: torch.Tensor) -> "Texts":
        """The captions of the images at the positions ``kept``, which become 0, 1, ..."""
        images = positions_among(kept.tolist(), self.images)
        texts = [text for text, positions in enumerate(images) if positions]
        keys = [self.keys[text] for text in texts]
        return Texts(self.features[texts], [images[text] for text in texts], keys, self.language)

    def ranks(self, image_IE: torch.Tensor) -> dict[str, torch.Tensor]:
        """Ranks of retrieval both ways; see :func:`~trainer.evaluation.metrics.retrieval_ranks`."""
        pairs = torch.tensor([(image, text) for text, images in enumerate(self.images) for image in images])
        return retrieval_ranks(image_IE, self.features.to(image_IE.device), pairs[:, 0], pairs[:, 1])


@torch.no_grad()
def caption_features(join: Join, keys: Sequence[str], adapter: Adapter) -> torch.Tensor:
    """Normalised joint-space features of each key's caption in each field of the join: (fields, n, E) float32."""
    join.covered(keys, "error")
    views = []
    for which in range(len(join.fields)):
        blocks = []
        for start in range(0, max(1, len(keys)), CAPTIONS):
            vectors = torch.from_numpy(join.vectors(keys[start : start + CAPTIONS], which))
            blocks.append(F.normalize(adapter(vectors) if adapter else vectors, dim=-1))
        views.append(torch.cat(blocks))
    return torch.stack(views)


def texts_by_language(set_name: str, annotations: Annotations, join: Join, adapter: Adapter) -> list[Texts]:
    """The captions of a retrieval set as features, for each of its languages."""
    found = []
    for language, captions in annotations.by_language().items():
        keys = [f"{set_name}/{caption.key}" for caption in captions]
        features = caption_features(join, keys, adapter)[0]
        found.append(Texts(features, [caption.images for caption in captions], keys, language))
    return found


def class_vectors(classes: Classes, join: Join, adapter: Adapter, set_name: str = "") -> torch.Tensor:
    """Class vectors by prompt ensembling, (N, E), from stored prompts. Raises: MissingKeysError: one is absent."""
    prompts = list(classes.prompts(set_name))
    features = caption_features(join, [key for _, key, _ in prompts], adapter)[0]
    rows: dict[str, list[int]] = {name: [] for name in classes.names}
    for i, (label, *_) in enumerate(prompts):
        rows[label].append(i)
    return classifier({name: features[places] for name, places in rows.items()})


def require_embedded(join: Join, texts: Mapping[str, str], set_name: str) -> None:
    """Raises: MissingKeysError: texts of a set, by key, have no vector; StaleCaptionError: one is of another text."""
    keys = list(texts)
    found = join.covered(keys, "skip")
    if not found.all():
        first = keys[int((~found).argmax())]
        raise MissingKeysError(
            f"{int((~found).sum())} of {len(keys)} texts of set {set_name!r} have no vector in field "
            f"{join.fields[0]!r} of store {str(join.path)!r}, first {first!r}; write them with `keyclip eval-captions` "
            "and run `keyclip embed` on that file"
        )
    join.check_captions(keys, list(texts.values()), 0)
