"""ShareGPT4V-1k, Urban-1k, DOCCI and DCI: one long caption an image. XM3600: captions in 36 languages."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from store.common.errors import ConfigError
from trainer.evaluation.sets.annotations import Annotations, read_json, read_json_lines, read_text, with_image_suffix
from trainer.evaluation.sets.definition import Definition


def sharegpt4v(definition: Definition) -> Annotations:
    """``share-captioner_coco_lcs_sam_1246k_1107.json``: a list of ``image`` and ``conversations``.

    The caption is the second turn, in one line. ShareGPT4V-1k is the first 1,000 entries (as in Long-CLIP), the
    default ``limit``.
    """
    file = definition.annotation()
    expected = "ShareGPT4V's json ([{'image', 'conversations': [{'value'}, {'value'}]}])"
    content = read_json(file, expected)
    annotations = Annotations()
    try:
        for row in content[: definition.limit or 1000]:
            annotations.add(str(row["image"]), row["conversations"][1]["value"].replace("\n", " "))
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ConfigError(f"{str(file)!r} is not {expected}: {error!r}") from error
    return annotations


def urban1k(definition: Definition) -> Annotations:
    """Urban-1k: a folder ``caption`` with ``1.txt`` and so on, the images beside it as ``image/1.jpg``."""
    folder = definition.annotation()
    files = sorted(folder.glob("*.txt"), key=lambda file: (len(file.stem), file.stem))
    if not files:
        raise ConfigError(f"{str(folder)!r} holds no .txt file; give Urban-1k's folder 'caption'")
    annotations = Annotations()
    for file in files:
        annotations.add(f"{file.stem}.jpg", read_text(file, "a caption").strip().replace("\n", " "))
    return annotations


def docci(definition: Definition) -> Annotations:
    """``docci_descriptions.jsonlines``: ``image_file``, ``split`` and ``description``; the split is ``test``."""
    file, split = definition.annotation(), definition.split or "test"
    expected = "DOCCI's jsonlines ({'example_id', 'split', 'image_file', 'description'} a line)"
    annotations, splits = Annotations(), set()
    for row in read_json_lines(file, expected):
        if not {"split", "image_file", "description"} <= set(row):
            raise ConfigError(f"a line of {str(file)!r} has only {sorted(row)}; expected {expected}")
        splits.add(str(row["split"]))
        if row["split"] == split:
            annotations.add(str(row["image_file"]), row["description"])
    if not annotations.images:
        raise ConfigError(f"{str(file)!r} has no image in split {split!r}; there are {', '.join(sorted(splits))}")
    return annotations


def dci(definition: Definition) -> Annotations:
    """``densely_captioned_images``: ``splits.json`` names files of ``annotations/``, each with ``image``,
    ``short_caption`` and ``extra_caption``; the images are in ``photos/``.

    A caption is both, in two lines. All splits are read unless one is named: that is the set of 7,805 images of
    LLM2CLIP's table.
    """
    folder = definition.annotation()
    splits = read_json(folder / "splits.json", "DCI's splits ({split: [annotation file]})")
    if not isinstance(splits, dict) or (definition.split and definition.split not in splits):
        there = ", ".join(sorted(splits)) if isinstance(splits, dict) else "none"
        raise ConfigError(f"{str(folder / 'splits.json')!r} has no split {definition.split!r}; there are {there}")
    names = splits[definition.split] if definition.split else [name for part in splits.values() for name in part]
    annotations = Annotations()
    for name in names:
        row = read_json(folder / "annotations" / str(name), "a DCI annotation")
        try:
            annotations.add(str(row["image"]), f"{row['short_caption']}\n{row['extra_caption']}".strip())
        except (KeyError, TypeError) as error:
            raise ConfigError(
                f"annotation {name!r} in {str(folder)!r} has no {error}; expected image, short_caption, extra_caption"
            ) from error
    return annotations


def xm3600(definition: Definition) -> Annotations:
    """Crossmodal-3600's ``captions.jsonl``: ``image/key``, and for every locale ``{"caption": [...]}``.

    Its ``web_captions.jsonl`` is read too: ``imageId`` and ``captions``, a list of ``[locale, [caption, ...]]``.
    Images are ``KEY.jpg``. All languages unless some are named.
    """
    file = definition.annotation()
    wanted = set(definition.languages)
    annotations = Annotations()
    there: set[str] = set()
    for row in read_json_lines(file, "XM3600's captions.jsonl ({'image/key', LOCALE: {'caption': [...]}} a line)"):
        for image, language, texts in _locales(row, file):
            there.add(language)
            if not wanted or language in wanted:
                for text in texts:
                    annotations.add(image, text, language)
    if absent := wanted - there:
        raise ConfigError(
            f"{str(file)!r} has no captions in {sorted(absent)[0]!r}; there are {', '.join(sorted(there))}"
        )
    return annotations


def _locales(row: dict[str, Any], file: Path) -> Iterator[tuple[str, str, list[object]]]:
    image = row.get("image/key", row.get("imageId"))
    if image is None:
        raise ConfigError(f"a line of {str(file)!r} has neither 'image/key' nor 'imageId'; there are {sorted(row)[:8]}")
    name = with_image_suffix(str(image))
    try:
        if "imageId" in row:
            yield from ((name, str(language), _texts(texts)) for language, texts in row["captions"])
            return
        for language, value in row.items():
            if isinstance(value, dict) and "caption" in value:
                yield name, language, _texts(value["caption"])
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"the captions of image {image!r} in {str(file)!r} cannot be understood: {error!r}"
        ) from error


def _texts(value: object) -> list[object]:
    return list(value) if isinstance(value, list) else [value]


def jsonl(definition: Definition) -> Annotations:
    """Any set, one json object a line: ``image`` (a name or a list of names), ``caption`` (a text or a list of texts)
    and, if there are several, ``language``.
    """
    file = definition.annotation()
    expected = "json lines with 'image' and 'caption'"
    wanted = set(definition.languages)
    annotations = Annotations()
    for row in read_json_lines(file, expected):
        if not {"image", "caption"} <= set(row):
            raise ConfigError(f"a line of {str(file)!r} has only {sorted(row)}; expected {expected}")
        language = str(row.get("language") or "")
        if wanted and language not in wanted:
            continue
        images = row["image"] if isinstance(row["image"], list) else [row["image"]]
        for text in _texts(row["caption"]):
            annotations.add([str(image) for image in images], text, language)
    return annotations
