"""Evaluation sets of every layout: the texts that a set needs embedded, and the set opened with its images.

docs/evaluation.md lists the layouts with the annotations and images of each. Images are folders, or shards whose sample
keys are the images' file names without suffix.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from store.common.errors import ConfigError
from trainer.evaluation.sets import captions, labels
from trainer.evaluation.sets.annotations import Annotations, read_as
from trainer.evaluation.sets.class_names import Classes, label_positions
from trainer.evaluation.sets.contrasts import CONTRASTS
from trainer.evaluation.sets.definition import Definition
from trainer.evaluation.sets.images import Images, find_images
from trainer.evaluation.sets.shards import lines_of, shards_of

IN_SHARDS = ("webdataset", "clip-benchmark")
LAYOUTS = (*captions.READERS, "webdataset", *labels.READERS, *CONTRASTS, "clip-benchmark")


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """A set with its images.

    Attributes:
        name: the set's name, the first part of its keys in the store.
        images: the images that are there.
        content: captions of the images (retrieval), their questions and answers, or classes.
        labels: position of each image's class, (I,) int64; empty where the set has no classes.
        num_missing: images that were left out because they are not there.
    """

    name: str
    images: Images
    content: Annotations | Classes
    labels: torch.Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    num_missing: int = 0

    def texts(self) -> dict[str, str]:
        """The texts that the set needs from the store, by key; without texts of images that are missing."""
        return self.content.texts(self.name)


def is_classification(definition: Definition) -> bool:
    """Raises: ConfigError: the layout is unknown."""
    if definition.layout == "clip-benchmark":
        kind = lines_of(definition, "dataset_type.txt")
        return not kind or kind[0].lower() != "retrieval"
    if definition.layout not in LAYOUTS:
        raise ConfigError(
            f"set {definition.name!r} has the unknown layout {definition.layout!r}; there are {', '.join(LAYOUTS)}"
        )
    return definition.layout in labels.READERS


def texts_of(definition: Definition) -> dict[str, str]:
    """Every caption, class prompt or answer of a set by its key in the store; no image is needed."""
    return read_content(definition).texts(definition.name)


def read_content(definition: Definition) -> Annotations | Classes:
    """What a set holds beside its images; of the first ``limit`` images where that is given.

    Raises:
        ConfigError, InvalidDataError: unreadable, of another layout, or nothing is left.
    """
    if is_classification(definition):
        return labels.classes_of(definition)
    content = CONTRASTS[definition.layout](definition) if definition.layout in CONTRASTS else Annotations()
    if definition.layout in IN_SHARDS:
        content.add(captions.webdataset(definition))
    elif definition.layout in captions.READERS:
        read, expected = captions.READERS[definition.layout]
        file = definition.annotation()
        with read_as(file, expected):
            content.add(read(file, definition))
    if definition.limit is not None:
        content = content.kept([i < definition.limit for i in range(len(content.images))])
    if not content.texts(""):
        raise ConfigError(
            f"set {definition.name!r} ({definition.layout}) has no caption; check its annotations, 'only' and 'limit'"
        )
    return content


def open_set(definition: Definition) -> EvaluationSet:
    """Read a set and find its images.

    Raises:
        ConfigError: as :func:`read_content`; or images are missing without ``missing: skip``, or all are.
    """
    content = read_content(definition)
    if isinstance(content, Classes):
        images, found_labels = labels.READERS.get(definition.layout, labels.class_shards)(definition)
        return EvaluationSet(definition.name, images, content, label_positions(content, found_labels))
    sources = _sources(definition)
    images, found = find_images(sources, content.images)
    if not found.all() and (definition.missing == "error" or not found.any()):
        raise ConfigError(
            f"{int((~found).sum())} of {len(found)} images of set {definition.name!r} are not in "
            f"{', '.join(sources[:3])}, first {content.images[int(found.argmin())]!r}; check 'images', or leave them "
            "out with 'missing: skip'"
        )
    content = content.kept(found.tolist())
    if len(content.images) < len(images):  # a pair of images went with the one that is missing
        images, _ = find_images(sources, content.images)
    return EvaluationSet(definition.name, images, content, num_missing=int((~found).sum()))


def _sources(definition: Definition) -> Sequence[str]:
    if definition.layout in IN_SHARDS:
        return shards_of(definition.images, definition.split or "test")
    if definition.layout == "mmvp" and not definition.images:
        return [str(definition.annotation() / "MLLM_VLM Images")]
    return definition.images
