"""COCO and Flickr30k: several short captions an image."""

import ast
import csv
import io
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from store.common.errors import ConfigError
from trainer.evaluation.sets.annotations import Annotations, lines_in, read_json, read_text
from trainer.evaluation.sets.definition import Definition


def karpathy(definition: Definition) -> Annotations:
    """``dataset_coco.json`` or ``dataset_flickr30k.json``: images with ``filename``, ``split`` and ``sentences``.

    COCO's images also have a ``filepath``, the folder (``val2014``). The split is ``test`` unless another is named.
    """
    annotations = Annotations()
    for image in _karpathy_images(definition.annotation(), definition.split or "test"):
        for sentence in image["sentences"]:
            annotations.add(_karpathy_name(image), sentence["raw"])
    return annotations


def _karpathy_images(file: Path, split: str) -> list[dict[str, Any]]:
    expected = "Karpathy's json ({'images': [{'filename', 'split', 'sentences': [{'raw'}]}]})"
    content = read_json(file, expected)
    try:
        images = content["images"]
        splits = {image["split"] for image in images}
        found = [image for image in images if image["split"] == split]
        for image in found:
            _ = image["filename"], [sentence["raw"] for sentence in image["sentences"]]
    except (KeyError, TypeError) as error:
        raise ConfigError(f"{str(file)!r} is not {expected}: {error!r}") from error
    if not found:
        raise ConfigError(f"{str(file)!r} has no image in split {split!r}; there are {', '.join(sorted(splits))}")
    return found


def _karpathy_name(image: dict[str, Any]) -> str:
    folder = image.get("filepath")
    return f"{folder}/{image['filename']}" if folder else str(image["filename"])


def only(definition: Definition) -> set[str] | None:
    """File names and ids that the set is restricted to, by ``only``; None without it."""
    if definition.only is None:
        return None
    if definition.only.suffix == ".json":
        images = _karpathy_images(definition.only, definition.split or "test")
        return {str(image["filename"]) for image in images}
    lines = lines_in(read_text(definition.only, "a list of image names, one a line"))
    return {line.strip() for line in lines if line.strip()}


def coco(definition: Definition) -> Annotations:
    """``captions_val2014.json``: ``images`` (``id``, ``file_name``) and ``annotations`` (``image_id``, ``caption``).

    With ``only: dataset_coco.json`` these are the images of Karpathy's test split.
    """
    file = definition.annotation()
    expected = "COCO captions ({'images': [{'id', 'file_name'}], 'annotations': [{'image_id', 'caption'}]})"
    content = read_json(file, expected)
    listed = only(definition)
    annotations = Annotations()
    try:
        names = {image["id"]: str(image["file_name"]) for image in content["images"]}
        captions: dict[Any, list[str]] = {}
        for row in content["annotations"]:
            captions.setdefault(row["image_id"], []).append(row["caption"])
        for identifier, name in names.items():
            if listed is None or listed & {name, Path(name).name, str(identifier)}:
                for text in captions.get(identifier, []):
                    annotations.add(name, text)
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{str(file)!r} is not {expected}: {error!r}") from error
    return annotations


def flickr(definition: Definition) -> Annotations:
    """Flickr30k's captions as text: the original token file, or one of the csv files that go round.

    - ``NAME.jpg#0<TAB>caption`` a line (``results_20130124.token``)
    - ``image_name| comment_number| comment`` (``results.csv``)
    - ``image,caption`` (``captions.txt``, ``flickr30k_test_karpathy.txt``)
    - columns ``raw`` (a list of captions), ``split`` and ``filename`` (``flickr_annotations_30k.csv``)

    The first three hold all images or one split: name the test images with ``only``.
    """
    file = definition.annotation()
    text = read_text(file, "Flickr30k captions")
    header = text.split("\n", 1)[0].strip()
    pairs: Iterable[tuple[str, object]]
    if "\t" in header and "#" in header.split("\t")[0]:
        rows = [line.split("\t", 1) for line in lines_in(text) if line.strip()]
        pairs = [(name.rpartition("#")[0], rest[0] if rest else "") for name, *rest in rows]
    elif header.replace(" ", "").startswith("image_name|"):
        rows = [line.split("|", 2) for line in lines_in(text)[1:] if line.strip()]
        pairs = [(name.strip(), rest[1] if rest[1:] else _after_number(rest[0])) for name, *rest in rows if rest]
    elif header.replace(" ", "") == "image,caption":
        pairs = [_comma_pair(line, file) for line in lines_in(text)[1:] if line.strip()]
    else:
        pairs = _split_table(text, file, definition.split or "test")
    listed = only(definition)
    annotations = Annotations()
    for name, caption in pairs:
        if listed is None or listed & {name, name.rpartition(".")[0]}:
            annotations.add(name, caption)
    return annotations


def _after_number(text: str) -> str:
    """The caption of a line without its second bar; ``results.csv`` has one, of image 2199200615."""
    return re.sub(r"^\s*\d+\s+", "", text)


def _comma_pair(line: str, file: Path) -> tuple[str, str]:
    """A caption may hold commas, quoted or not."""
    name, comma, caption = line.partition(",")
    if not comma:
        raise ConfigError(f"line {line!r:.80} of {str(file)!r} is not NAME.jpg,CAPTION")
    caption = caption.strip()
    if len(caption) > 1 and caption[0] == caption[-1] == '"':
        caption = caption[1:-1].replace('""', '"')
    return name.strip(), caption


def _split_table(text: str, file: Path, split: str) -> list[tuple[str, object]]:
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
    except csv.Error as error:
        raise ConfigError(f"{str(file)!r} cannot be read as csv: {error}") from error
    if not rows or not {"raw", "split", "filename"} <= set(rows[0]):
        raise ConfigError(
            f"{str(file)!r} is no file of Flickr30k captions; expected NAME.jpg#0<TAB>caption lines, or a csv with "
            "image_name|comment_number|comment, with image,caption, or with raw, split and filename"
        )
    return [(row["filename"], caption) for row in rows if row["split"] == split for caption in _list(row["raw"], file)]


def _list(value: str | None, file: Path) -> list[object]:
    try:
        return list(json.loads(value or ""))
    except (ValueError, TypeError):
        pass
    try:
        return list(ast.literal_eval(value or ""))
    except (ValueError, SyntaxError, TypeError) as error:
        raise ConfigError(f"{value!r:.80} in {str(file)!r} is not a list of captions") from error
