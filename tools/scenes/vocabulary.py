"""The things, backdrops and frames that a scene is made of, each with the words that captions use for it.

Things are pictures of OpenMoji. ``things.csv`` names each by its code point, with the words of alt text and the words
that only recaptions use, so that a text encoder that knows English has an advantage over one that has read alt text.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

SHOWN_TOPICS = ("animals", "food", "transport")
"""Topics of the finetune split; the zero-shot classes of the others are never shown to stage 2."""


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


def _read_things() -> dict[str, Thing]:
    with (Path(__file__).parent / "things.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    things = [
        Thing(row["codepoint"], row["topic"], tuple(row["alt_text"].split("|")), tuple(row["recaption"].split("|")))
        for row in rows
    ]
    return {thing.name: thing for thing in things}


THINGS = _read_things()

FRAMES = {"red": (212, 33, 38), "blue": (30, 76, 205), "green": (38, 158, 62), "black": (24, 24, 28),
          "golden": (250, 200, 40)}  # fmt: skip

BACKGROUNDS = {
    "white paper": Background(
        ("on white paper", "against a plain white background", "on a blank white page"),
        ("white background", "isolated on white", "cutout"),
        (
            "The backdrop is a bare sheet of white paper without lines or writing",
            "All around there is only clean, empty white, as in a studio",
        ),
    ),
    "grey wall": Background(
        ("in front of a grey wall", "against a plain grey background", "on a grey concrete wall"),
        ("grey wall", "concrete", "gray background"),
        (
            "The backdrop is a dull grey wall that grows slightly darker towards the bottom",
            "Behind everything there is flat grey concrete, a little lighter near the top",
        ),
    ),
    "blackboard": Background(
        ("on a blackboard", "against a black background", "on a dark chalkboard"),
        ("blackboard", "black background", "chalkboard"),
        (
            "The backdrop is an almost black board in a narrow wooden border, with a few smears of chalk",
            "Behind everything hangs a dark chalkboard with a brown rim and some faint wiped-out chalk marks",
        ),
    ),
    "cloudy sky": Background(
        ("in a blue sky with clouds", "against a cloudy sky", "up in the sky among white clouds"),
        ("sky", "clouds", "blue sky"),
        (
            "The backdrop is a pale blue daytime sky with several fluffy white clouds drifting across",
            "Soft round clouds float through a light blue sky in the background",
        ),
    ),
    "sunset": Background(
        ("at sunset", "against an orange evening sky", "in front of a glowing sunset"),
        ("sunset", "dusk", "evening sky"),
        (
            "The backdrop is an evening sky that fades from deep violet at the top to glowing orange at the horizon, "
            "where a pale half sun goes down",
            "Behind everything the sun is setting, and the sky melts from purple above into warm orange below",
        ),
    ),
    "checkerboard": Background(
        ("on a checkerboard", "on a chessboard pattern", "on a floor of grey and cream tiles"),
        ("checkerboard", "chess board", "tiles"),
        (
            "The backdrop is a regular checkerboard whose fields alternate between cream and light grey",
            "Below everything lies a tiled floor with alternating pale grey and cream squares",
        ),
    ),
    "night sky": Background(
        ("in the night sky", "against a starry night", "among faint stars at night"),
        ("night sky", "starry night", "space"),
        (
            "The backdrop is a dark navy night sky in which dozens of faint pinpricks of light twinkle",
            "It is night, and the deep dark blue sky is strewn with many very faint, distant specks of light",
        ),
    ),
    "meadow": Background(
        ("on a green meadow", "on the grass", "in a grassy field"),
        ("meadow", "grass", "lawn"),
        (
            "The backdrop is a fresh green meadow with many single blades of grass, below a narrow strip of pale sky",
            "Long blades of grass fill the green field in the background, and a thin band of light sky runs above it",
        ),
    ),
    "sea": Background(
        ("on the sea", "over blue ocean waves", "above the water"),
        ("sea", "ocean", "waves"),
        (
            "The backdrop is the open sea, with rows of lighter waves rolling across blue water under a hazy sky",
            "Blue ocean water with curling rows of bright waves stretches to the horizon in the background",
        ),
    ),
    "beach": Background(
        ("on a sandy beach", "on the sand", "lying on golden sand"),
        ("beach", "sand", "summer"),
        (
            "The backdrop is a beach of fine golden sand with scattered darker grains and a few ripples left by wind",
            "Warm, grainy yellowish sand with shallow ripples covers the whole background",
        ),
    ),
    "brick wall": Background(
        ("on a brick wall", "in front of a red brick wall", "painted on brickwork"),
        ("brick wall", "bricks", "street art"),
        (
            "The backdrop is an old wall of reddish-brown bricks in staggered rows, with light mortar in the joints",
            "Rows of rusty red bricks, offset against each other and separated by pale mortar, fill the background",
        ),
    ),
    "wooden boards": Background(
        ("on wooden boards", "on a wooden table", "against brown wood planks"),
        ("wood", "wooden table", "planks"),
        (
            "The backdrop is a row of upright brown wooden planks with dark gaps between them and a visible grain",
            "Broad brown boards stand side by side in the background, each with darker lines of wood grain",
        ),
    ),
}
