"""What a reader of an annotation file returns: the images of a retrieval set by name, and their captions."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from store.common.errors import ConfigError
from store.common.files import require_regular

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")


@dataclass(frozen=True, slots=True)
class Caption:
    """A caption of a retrieval set.

    Attributes:
        key: unique within the set and the same whatever part of the set is read: IMAGE#NUMBER, or
            IMAGE#LANGUAGE#NUMBER where there are several languages.
        text: the caption.
        images: positions of the images that it describes, at least one.
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
        images: names as in the annotation file: paths below the image folder.
        captions: in the file's order.
    """

    images: list[str] = field(default_factory=list)
    captions: list[Caption] = field(default_factory=list)
    _positions: dict[str, int] = field(default_factory=dict, repr=False)
    _counts: dict[tuple[str, str], int] = field(default_factory=dict, repr=False)

    def add(self, image: str | Iterable[str], text: object, language: str = "") -> None:
        """Add a caption of one or several images; the n-th caption of the same image gets the number n.
        Blank captions are left out.

        Raises:
            ConfigError: the caption is no text.
        """
        names = [image] if isinstance(image, str) else list(image)
        if not isinstance(text, str):
            raise ConfigError(f"a caption of image {names[0]!r:.100} is {text!r:.80}; expected text")
        positions = tuple(self._position(name) for name in names)
        if not text.strip():
            return
        image_stem = stem(names[0])
        number = self._counts.get((image_stem, language), 0)
        self._counts[image_stem, language] = number + 1
        key = "#".join([image_stem, *([language] if language else []), str(number)])
        self.captions.append(Caption(key, text.strip(), positions, language))

    def _position(self, name: str) -> int:
        if name not in self._positions:
            self._positions[name] = len(self.images)
            self.images.append(name)
        return self._positions[name]

    def kept(self, mask: list[bool]) -> "Annotations":
        """Only the images where ``mask`` is True, and the captions of these."""
        place = {old: new for new, old in enumerate(i for i, keep in enumerate(mask) if keep)}
        captions = []
        for caption in self.captions:
            images = tuple(place[i] for i in caption.images if i in place)
            if images:
                captions.append(Caption(caption.key, caption.text, images, caption.language))
        return Annotations([self.images[i] for i in place], captions)


def _has_image_suffix(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def stem(name: str) -> str:
    """``name`` without the suffix of an image, with its folders."""
    return str(PurePosixPath(name).with_suffix("")) if _has_image_suffix(name) else name


def with_image_suffix(name: str) -> str:
    """``name`` as a file name: ``.jpg`` after it where it has no suffix of an image."""
    return name if _has_image_suffix(name) else f"{name}.jpg"


def read_json(file: Path, expected: str) -> Any:
    """Raises: ConfigError: absent, or not json; says what was expected."""
    try:
        return json.loads(read_text(file, expected))
    except (ValueError, RecursionError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{str(file)!r} cannot be read as {expected}: {error}") from error


def read_json_lines(file: Path, expected: str) -> Iterator[dict[str, Any]]:
    """The objects of a file with one json object a line. Raises: ConfigError: absent, or a line is no json object."""
    for number, line in enumerate(lines_in(read_text(file, expected)), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"line {number} of {str(file)!r} is not json: {error}; expected {expected}") from error
        if not isinstance(row, dict):
            raise ConfigError(f"line {number} of {str(file)!r} is not a json object; expected {expected}")
        yield row


def lines_in(text: str) -> list[str]:
    """The lines of a text, without those at its end that are empty.

    Only line feeds (and carriage returns) end a line: captions may hold other characters that ``str.splitlines`` takes
    for line ends, such as U+2028 and U+0085.
    """
    return text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n").split("\n")


def read_text(file: Path, expected: str) -> str:
    """Raises: ConfigError: absent, or not UTF-8 text; says what was expected."""
    require_regular(file, f"{str(file)!r}, {expected},")
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{str(file)!r} cannot be read as {expected}: {error}") from error
