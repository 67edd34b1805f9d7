"""Captions of retrieval sets from their published annotation files, and from samples of shards."""

import ast
import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from store.common.errors import ConfigError
from trainer.evaluation.sets.annotations import (
    Row,
    has_image_suffix,
    json_lines_of,
    json_of,
    lines_in,
    read_as,
    read_lines,
    read_text,
)
from trainer.evaluation.sets.definition import Definition
from trainer.evaluation.sets.shards import member_values, shards_of

KARPATHY = "Karpathy's json ({'images': [{'filename', 'split', 'sentences': [{'raw'}]}]})"


def karpathy(file: Path, definition: Definition) -> Iterator[Row]:
    """``dataset_coco.json`` or ``dataset_flickr30k.json``; COCO's images have a ``filepath``, such as ``val2014``."""
    for image in _in_split(file, json_of(file)["images"], definition):
        folder = image.get("filepath")
        for sentence in image["sentences"]:
            yield f"{folder}/{image['filename']}" if folder else str(image["filename"]), sentence["raw"]


def _in_split(file: Path, rows: list[dict[str, Any]], definition: Definition) -> list[dict[str, Any]]:
    split = definition.split or "test"
    if not (found := [row for row in rows if row["split"] == split]):
        there = ", ".join(sorted({row["split"] for row in rows}))
        raise ConfigError(f"{str(file)!r} has no image in split {split!r}; there are {there}")
    return found


def _listed(definition: Definition) -> set[str] | None:
    """File names and ids that the set is restricted to, by ``only``; None without it."""
    file = definition.only
    if file is None:
        return None
    if file.suffix != ".json":
        return set(read_lines(file, "a list of image names, one a line"))
    with read_as(file, KARPATHY):
        return {str(image["filename"]) for image in _in_split(file, json_of(file)["images"], definition)}


def coco(file: Path, definition: Definition) -> Iterator[Row]:
    """``captions_val2014.json``; with ``only: dataset_coco.json`` the images of Karpathy's test split."""
    content, listed = json_of(file), _listed(definition)
    names = {image["id"]: str(image["file_name"]) for image in content["images"]}
    captions: dict[Any, list[object]] = {}
    for row in content["annotations"]:
        captions.setdefault(row["image_id"], []).append(row["caption"])
    for identifier, name in names.items():
        if listed is None or listed & {name, Path(name).name, str(identifier)}:
            yield from ((name, text) for text in captions.get(identifier, []))


def flickr(file: Path, definition: Definition) -> Iterator[Row]:
    """Flickr30k's captions as text: the original token file, or one of the csv files in use.

    - ``NAME.jpg#0<TAB>caption`` a line (``results_20130124.token``)
    - ``image_name| comment_number| comment`` (``results.csv``)
    - ``image,caption`` (``captions.txt``, ``flickr30k_test_karpathy.txt``)
    - columns ``raw`` (a list of captions), ``split`` and ``filename`` (``flickr_annotations_30k.csv``)

    The first three hold all images or one split: name the test images with ``only``.
    """
    text, listed = file.read_text(encoding="utf-8-sig"), _listed(definition)
    lines = [line for line in lines_in(text) if line.strip()]
    header = lines[0].replace(" ", "") if lines else ""
    pairs: Iterable[tuple[str, object]]
    if "\t" in header and "#" in header.split("\t")[0]:
        pairs = map(_after_tab, lines)
    elif header.startswith("image_name|"):
        pairs = map(_after_bars, (line for line in lines[1:] if "|" in line))
    elif header == "image,caption":
        pairs = map(_after_comma, lines[1:])
    else:
        pairs = _table(text, definition.split or "test")
    for name, caption in pairs:
        if listed is None or listed & {name, name.rpartition(".")[0]}:
            yield name, caption


def _after_tab(line: str) -> tuple[str, str]:
    name, _, caption = line.partition("\t")
    return name.rpartition("#")[0], caption


def _after_bars(line: str) -> tuple[str, str]:
    """The line of image 2199200615 in ``results.csv`` lacks its second bar."""
    name, _, rest = line.partition("|")
    number, bar, caption = rest.partition("|")
    return name.strip(), caption if bar else re.sub(r"^\s*\d+\s+", "", number)


def _after_comma(line: str) -> tuple[str, str]:
    """A caption may hold commas, quoted or not."""
    name, comma, caption = line.partition(",")
    if not comma:
        raise ValueError(f"line {line!r:.80} is not NAME.jpg,CAPTION")
    caption = caption.strip()
    if len(caption) > 1 and caption[0] == caption[-1] == '"':
        caption = caption[1:-1].replace('""', '"')
    return name.strip(), caption


def _table(text: str, split: str) -> Iterator[tuple[str, object]]:
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    if not rows or not {"raw", "split", "filename"} <= set(rows[0]):
        raise ValueError(
            "expected NAME.jpg#0<TAB>caption lines, or a csv with image_name|comment_number|comment, with "
            "image,caption, or with raw, split and filename"
        )
    for row in rows:
        if row["split"] == split:
            yield from ((row["filename"], caption) for caption in _parsed_list(row["raw"] or ""))


def _parsed_list(value: str) -> list[object]:
    for parse in (json.loads, ast.literal_eval):
        try:
            return list(parse(value))
        except (ValueError, SyntaxError, TypeError):
            pass
    raise ValueError(f"{value!r:.80} is not a list of captions")


def sharegpt4v(file: Path, definition: Definition) -> Iterator[Row]:
    """The second turn of each conversation in one line; ShareGPT4V-1k is the first 1,000 entries, as in Long-CLIP."""
    for row in json_of(file)[: definition.limit or 1000]:
        yield str(row["image"]), row["conversations"][1]["value"].replace("\n", " ")


def urban1k(folder: Path, definition: Definition) -> Iterator[Row]:
    """The folder ``caption`` with ``1.txt`` and so on; the images are in the folder ``image`` next to it."""
    files = sorted(folder.glob("*.txt"), key=lambda file: (len(file.stem), file.stem))
    if not files:
        raise ConfigError(f"{str(folder)!r} holds no .txt file; give Urban-1k's folder 'caption'")
    for file in files:
        yield f"{file.stem}.jpg", read_text(file, "a caption").strip().replace("\n", " ")


def docci(file: Path, definition: Definition) -> Iterator[Row]:
    """``docci_descriptions.jsonlines``; the split is ``test`` unless another is named."""
    for row in _in_split(file, list(json_lines_of(file)), definition):
        yield str(row["image_file"]), row["description"]


def dci(folder: Path, definition: Definition) -> Iterator[Row]:
    """The short and the extra caption, in two lines, of all splits unless one is named: the 7,805 images of LLM2CLIP's
    table.
    """
    file = folder / "splits.json"
    with read_as(file, "DCI's splits ({split: [annotation file]})"):
        splits = dict(json_of(file))
    if definition.split and definition.split not in splits:
        there = ", ".join(sorted(splits))
        raise ConfigError(f"{str(file)!r} has no split {definition.split!r}; there are {there}")
    for name in splits[definition.split] if definition.split else [name for part in splits.values() for name in part]:
        file = folder / "annotations" / str(name)
        with read_as(file, "a DCI annotation (image, short_caption, extra_caption)"):
            row = json_of(file)
            yield str(row["image"]), f"{row['short_caption']}\n{row['extra_caption']}"


def xm3600(file: Path, definition: Definition) -> Iterator[Row]:
    """Crossmodal-3600's ``captions.jsonl``, ``image/key`` and for every locale ``{"caption": [...]}``; or
    ``web_captions.jsonl``, ``imageId`` and a list of ``[locale, [caption, ...]]``. Images are ``KEY.jpg``.
    """
    wanted, there = set(definition.languages), set()
    for row in json_lines_of(file):
        name = str(row["image/key"] if "image/key" in row else row["imageId"])
        if "imageId" in row:
            locales = row["captions"]
        else:
            locales = [
                (key, value["caption"]) for key, value in row.items() if isinstance(value, dict) and "caption" in value
            ]
        for language, texts in locales:
            there.add(str(language))
            if not wanted or language in wanted:
                for text in _listed_texts(texts):
                    yield name if has_image_suffix(name) else f"{name}.jpg", text, str(language)
    if absent := wanted - there:
        raise ConfigError(f"{str(file)!r} has no captions in {min(absent)!r}; there are {', '.join(sorted(there))}")


def jsonl(file: Path, definition: Definition) -> Iterator[Row]:
    """Own sets: ``image`` (a name or a list), ``caption`` (a text or a list) and, if there are many, ``language``."""
    for row in json_lines_of(file):
        images = row["image"] if isinstance(row["image"], list) else [row["image"]]
        texts, language = _listed_texts(row["caption"]), str(row.get("language") or "")
        if not definition.languages or language in definition.languages:
            yield from ((list(map(str, images)), text, language) for text in texts)


def _listed_texts(value: object) -> list[object]:
    return list(value) if isinstance(value, list) else [value]


def webdataset(definition: Definition) -> Iterator[Row]:
    """The lines of each sample's text member, or a caption or list of captions in its json."""
    shards = shards_of(definition.images, definition.split or "test")
    for key, value, where in member_values(shards, definition.captions):
        texts = lines_in(value) if isinstance(value, str) and definition.captions.startswith(".") else value
        texts = [texts] if isinstance(texts, str) else texts
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ConfigError(f"{where}: {definition.captions!r} holds {value!r:.80}; expected a caption or a list")
        yield from ((key, text) for text in texts)


READERS: dict[str, tuple[Callable[[Path, Definition], Iterator[Row]], str]] = {
    "karpathy": (karpathy, KARPATHY),
    "coco": (coco, "COCO captions ({'images': [{'id', 'file_name'}], 'annotations': [{'image_id', 'caption'}]})"),
    "flickr": (flickr, "Flickr30k captions"),
    "sharegpt4v": (sharegpt4v, "ShareGPT4V's json ([{'image', 'conversations': [{'value'}, {'value'}]}])"),
    "urban1k": (urban1k, "Urban-1k's folder 'caption'"),
    "docci": (docci, "DOCCI's jsonlines ({'example_id', 'split', 'image_file', 'description'} a line)"),
    "dci": (dci, "DCI's folder 'densely_captioned_images'"),
    "xm3600": (xm3600, "XM3600's captions.jsonl ({'image/key', LOCALE: {'caption': [...]}} a line)"),
    "jsonl": (jsonl, "json lines with 'image' and 'caption'"),
}
"""Layout -> reader of its annotation file or folder, and what is expected there."""
