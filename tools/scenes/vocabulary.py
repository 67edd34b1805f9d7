"""The things, backdrops and frames that a scene is made of, each with the words that captions use for it.

Things are pictures of OpenMoji. ``things.csv`` names each by its code point, with the words of alt text and the words
that only recaptions use, so that a text encoder that knows English has an advantage over one that has read alt text.
``backgrounds.csv`` holds the words of the backdrops. A ``|`` separates the words of a cell.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SHOWN_TOPICS = ("animals", "food", "transport")
"""Topics of the finetune split; the zero-shot classes of the others are never shown to stage 2."""
FRAMES = {"red": (212, 33, 38), "blue": (30, 76, 205), "green": (38, 158, 62), "black": (24, 24, 28),
          "golden": (250, 200, 40)}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Thing:
    """Something with a picture.

    Attributes:
        codepoint: of its emoji, in hexadecimal.
        topic: what kind of thing it is.
        words: what alt text calls it; the first is the name of its class.
        synonyms: what recaptions call it, which alt text never does.
    """

    codepoint: str
    topic: str
    words: tuple[str, ...]
    synonyms: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.words[0]

    @property
    def is_shown(self) -> bool:
        """Whether its topic is one of the finetune split."""
        return self.topic in SHOWN_TOPICS


@dataclass(frozen=True, slots=True)
class Background:
    """A backdrop: place phrases, tags that a web page would use, and long descriptions."""

    phrases: tuple[str, ...]
    tags: tuple[str, ...]
    descriptions: tuple[str, ...]


def _rows(file: str) -> Iterator[list[str]]:
    lines = (Path(__file__).parent / file).read_text(encoding="utf-8").splitlines()
    yield from list(csv.reader(lines))[1:]


def _words(cell: str) -> tuple[str, ...]:
    return tuple(cell.split("|"))


THINGS = {
    _words(alt_text)[0]: Thing(codepoint, topic, _words(alt_text), _words(recaption))
    for codepoint, topic, alt_text, recaption in _rows("things.csv")
}
BACKGROUNDS = {name: Background(*map(_words, cells)) for name, *cells in _rows("backgrounds.csv")}
