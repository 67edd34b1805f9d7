"""Annotation files of evaluation sets: how they are read, and the images and captions that they name."""

import contextlib
import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from store.common.checked import json_object
from store.common.errors import ConfigError, KeyclipError
from store.common.files import require_regular

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")

Row = tuple[str | list[str], object] | tuple[str | list[str], object, str]
"""The name of an image, or the names of several; a caption of them; its language, if the set has several."""


@dataclass(frozen=True, slots=True)
class Caption:
    """A caption of a retrieval set.

    Attributes:
        key: IMAGE#NUMBER, or IMAGE#LANGUAGE#NUMBER where there are several languages; unique within the set and the
            same whatever part of the set is read.
        images: positions of the images that it describes; none for an answer to a question about images.
        language: code such as ``en``; empty where the set has one language.
    """

    key: str
    text: str
    images: tuple[int, ...]
    language: str = ""


@dataclass(slots=True)
class Annotations:
    """The images and captions of a retrieval set.

    Attributes:
        captions: in the file's order.
        positions: position of each image by its name, which is its path below the image folder.
    """

    captions: list[Caption] = field(default_factory=list)
    positions: dict[str, int] = field(default_factory=dict)

    @property
    def images(self) -> list[str]:
        """The names of the images."""
        return list(self.positions)

    def add(self, rows: Iterable[Row]) -> None:
        """Add captions, numbered within their image; blank ones are left out. Raises: ConfigError: one is no text."""
        numbers: Counter[tuple[str, str]] = Counter()
        for image, text, *rest in rows:
            names, language = [image] if isinstance(image, str) else image, str(rest[0]) if rest else ""
            if not isinstance(text, str):
                raise ConfigError(f"a caption of image {names[0]!r:.100} is {text!r:.80}; expected text")
            images = tuple(self.positions.setdefault(name, len(self.positions)) for name in names)
            if text.strip():
                image_stem = stem(names[0])
                key = "#".join([image_stem, *([language] if language else []), str(numbers[image_stem, language])])
                numbers[image_stem, language] += 1
                self.captions.append(Caption(key, text.strip(), images, language))

    def kept(self, mask: Sequence[bool]) -> "Annotations":
        """Only the images where ``mask`` is True, and the captions of these."""
        moved = positions_among(np.flatnonzero(mask).tolist(), [caption.images for caption in self.captions])
        captions = [replace(caption, images=images) for caption, images in zip(self.captions, moved, strict=True)]
        names = [name for name, keep in zip(self.positions, mask, strict=True) if keep]
        return Annotations([c for c in captions if c.images], {name: i for i, name in enumerate(names)})

    def texts(self, set_name: str) -> dict[str, str]:
        """The captions by their key in the store."""
        return {f"{set_name}/{caption.key}": caption.text for caption in self.captions}

    def by_language(self) -> dict[str, list[Caption]]:
        """The captions of each language."""
        found: dict[str, list[Caption]] = {}
        for caption in self.captions:
            found.setdefault(caption.language, []).append(caption)
        return found


def positions_among(kept: Sequence[int], texts: Iterable[Sequence[int]]) -> list[tuple[int, ...]]:
    """For each text the positions of its images when only the images at the positions ``kept`` are left."""
    place = {old: new for new, old in enumerate(kept)}
    return [tuple(place[i] for i in images if i in place) for images in texts]


def has_image_suffix(name: str) -> bool:
    """Whether a file name ends as images do."""
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def stem(name: str) -> str:
    """``name`` without the suffix of an image, with its folders."""
    return str(PurePosixPath(name).with_suffix("")) if has_image_suffix(name) else name


@contextlib.contextmanager
def read_as(place: Path, expected: str) -> Iterator[None]:
    """Turns errors of reading a file or folder into a ConfigError that names it and what was expected."""
    if not place.is_dir():
        require_regular(place, f"{str(place)!r}, {expected},")
    try:
        yield
    except KeyclipError:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, csv.Error) as error:
        reason = f"{type(error).__name__}: {error}" if isinstance(error, LookupError) else error
        raise ConfigError(f"{str(place)!r} cannot be read as {expected}: {reason}") from error


def read_text(file: Path, expected: str) -> str:
    """The text of a UTF-8 file. Raises: ConfigError: it is none; says what was expected."""
    with read_as(file, expected):
        return file.read_text(encoding="utf-8-sig")


def read_lines(file: Path, expected: str) -> list[str]:
    """The lines that are not blank, without blanks around them."""
    return [line.strip() for line in lines_in(read_text(file, expected)) if line.strip()]


def lines_in(text: str) -> list[str]:
    """The lines of a text, without empty lines at its end; characters as U+2028 and U+0085, which ``str.splitlines``
    takes for line ends, belong to captions.
    """
    return text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n").split("\n")


def json_of(file: Path) -> Any:
    """The value of a json file. Use it within :func:`read_as`."""
    return json.loads(file.read_text(encoding="utf-8-sig"))


def json_lines_of(file: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file with one json object a line. Use it within :func:`read_as`."""
    for number, line in enumerate(lines_in(file.read_text(encoding="utf-8-sig")), start=1):
        if line.strip():
            yield json_object(line, f"line {number}")
