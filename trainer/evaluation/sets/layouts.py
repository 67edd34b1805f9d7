"""The layouts of evaluation sets, by name; and what a set needs embedded before it can be evaluated.

| layout | annotations | images |
|---|---|---|
| karpathy | ``dataset_coco.json``, ``dataset_flickr30k.json`` | the folder of the files, or above ``val2014`` |
| coco | ``captions_val2014.json``, with ``only: dataset_coco.json`` | ``val2014`` |
| flickr | token file or csv, with ``only`` where it is not one split | the folder of the files |
| sharegpt4v | ``share-captioner_coco_lcs_sam_1246k_1107.json`` | the folder above ``sam`` and ``coco`` |
| urban1k | the folder ``caption`` | the folder ``image`` |
| docci | ``docci_descriptions.jsonlines`` | ``images`` |
| dci | the folder ``densely_captioned_images`` | its folder ``photos`` |
| xm3600 | ``captions.jsonl`` | the folder of the files |
| jsonl | lines with ``image``, ``caption``, perhaps ``language`` | the folder of the files |
| webdataset | none: captions stand beside the images | shards |
| class-folders | ``classes``; labels are folder names | folders |
| class-shards | ``classes``, ``label`` | shards |
| number-folders | ``classes``; folders are named by the numbers of classes | folders |
| sugarcrepe | the folder ``data`` with ``add_obj.json`` to ``swap_att.json`` | COCO's ``val2017`` |
| mmvp | the folder with ``Questions.csv`` | its ``MLLM_VLM Images`` |
| clip-benchmark | none: ``classnames.txt``, ``dataset_type.txt``; or ``classes`` | the set's folder |

Images are folders, or shards whose sample keys are the images' file names without suffix.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from store.common.errors import ConfigError
from trainer.evaluation.sets.annotations import Annotations, Caption
from trainer.evaluation.sets.contrasts import CONTRASTS, ContrastSet, open_contrasts, read_contrasts
from trainer.evaluation.sets.definition import Definition
from trainer.evaluation.sets.images import Images, shards_of, wanted_images
from trainer.evaluation.sets.labels import LabelledSet, class_folders, class_shards, classes_of, number_folders
from trainer.evaluation.sets.long_captions import dci, docci, jsonl, sharegpt4v, urban1k, xm3600
from trainer.evaluation.sets.shards import lines_of, webdataset
from trainer.evaluation.sets.short_captions import coco, flickr, karpathy

RETRIEVAL: dict[str, Callable[[Definition], Annotations]] = {
    "karpathy": karpathy,
    "coco": coco,
    "flickr": flickr,
    "sharegpt4v": sharegpt4v,
    "urban1k": urban1k,
    "docci": docci,
    "dci": dci,
    "xm3600": xm3600,
    "jsonl": jsonl,
    "webdataset": webdataset,
}
CLASSIFICATION: dict[str, Callable[[Definition], LabelledSet]] = {
    "class-folders": class_folders,
    "number-folders": number_folders,
    "class-shards": class_shards,
}


@dataclass(frozen=True, slots=True)
class RetrievalSet:
    """Images and the captions that describe them; ``num_missing`` images were left out because they are not there."""

    images: Images
    captions: list[Caption]
    num_missing: int


OpenSet = RetrievalSet | LabelledSet | ContrastSet
"""A set with its images."""


def is_classification(definition: Definition) -> bool:
    """Raises: ConfigError: the layout is unknown."""
    if definition.layout == "clip-benchmark":
        folders = [Path(source) for source in definition.images if Path(source).is_dir()]
        kind = lines_of(folders[0], "dataset_type.txt") if folders else None
        return (kind or ["classification"])[0].lower() != "retrieval"
    if definition.layout not in {*RETRIEVAL, *CLASSIFICATION, *CONTRASTS}:
        there = ", ".join([*RETRIEVAL, *CLASSIFICATION, *CONTRASTS, "clip-benchmark"])
        raise ConfigError(f"set {definition.name!r} has the unknown layout {definition.layout!r}; there are {there}")
    return definition.layout in CLASSIFICATION


def texts_of(definition: Definition) -> Iterator[tuple[str, str]]:
    """``(key in the store, text)`` of every caption, class prompt or answer of a set, each key once; no image is
    needed."""
    name = definition.name
    if is_classification(definition):
        yield from prompts_of(definition).items()
    elif definition.layout in CONTRASTS:
        yield from ((f"{name}/{key}", text) for key, text in read_contrasts(definition).texts)
    else:
        yield from ((f"{name}/{caption.key}", caption.text) for caption in read_annotations(definition).captions)


def prompts_of(definition: Definition) -> dict[str, str]:
    """The class prompts of a classification set, by their key in the store."""
    return {key: prompt for _, key, prompt in classes_of(definition).prompts(definition.name)}


def texts_in(definition: Definition, opened: OpenSet) -> dict[str, str]:
    """The texts that a set with its images needs from the store, by key; without texts of images that are missing."""
    if isinstance(opened, LabelledSet):
        return prompts_of(definition)
    if isinstance(opened, ContrastSet):
        return {f"{definition.name}/{key}": text for key, text in opened.contrasts.texts}
    return {f"{definition.name}/{caption.key}": caption.text for caption in opened.captions}


def open_set(definition: Definition) -> OpenSet:
    """Read a set of any layout and find its images. Raises: ConfigError: see the layout's reader."""
    if is_classification(definition):
        return open_classification(definition)
    return open_contrasts(definition) if definition.layout in CONTRASTS else open_retrieval(definition)


def read_annotations(definition: Definition) -> Annotations:
    """The images and captions that a retrieval set's annotations name.

    Raises:
        ConfigError: unreadable, of another layout, or nothing is left.
    """
    reader = webdataset if definition.layout == "clip-benchmark" else RETRIEVAL[definition.layout]
    annotations = reader(definition)
    if definition.limit is not None:
        annotations = annotations.kept([i < definition.limit for i in range(len(annotations.images))])
    if not annotations.captions:
        raise ConfigError(
            f"set {definition.name!r} ({definition.layout}) has no caption; check its annotations and 'only'"
        )
    return annotations


def open_retrieval(definition: Definition) -> RetrievalSet:
    """Read a retrieval set and find its images.

    Raises:
        ConfigError: images are missing and the set does not say ``missing: skip``; says how many, and the first.
    """
    annotations = read_annotations(definition)
    sources = definition.images
    if definition.layout in ("webdataset", "clip-benchmark"):
        sources = tuple(shards_of(sources, definition.split or "test"))
    images, found = wanted_images(definition, sources, annotations.images)
    annotations = annotations.kept(found.tolist())
    return RetrievalSet(images, annotations.captions, int((~found).sum()))


def open_classification(definition: Definition) -> LabelledSet:
    """Read a classification set. Raises: ConfigError: see the layout's reader."""
    return CLASSIFICATION.get(definition.layout, class_shards)(definition)
