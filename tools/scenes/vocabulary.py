"""The things a scene is made of, each with the words that captions use for it.

The first word of every entry is its canonical name, which labels and class prompts use. The others are synonyms that
the captions mix in, so that a text encoder that knows English has an advantage over one that counts words.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Colour:
    """A fill colour: red, green and blue in 0..255, and the adjectives for it."""

    rgb: tuple[int, int, int]
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """A shape's nouns as (singular, plural) pairs, and whether something can be drawn inside it."""

    words: tuple[tuple[str, str], ...]
    holds_others: bool = False


@dataclass(frozen=True, slots=True)
class Background:
    """A backdrop: place phrases, tags that a web page would use, a long description, and colours that vanish on it."""

    phrases: tuple[str, ...]
    tags: tuple[str, ...]
    descriptions: tuple[str, ...]
    hides: frozenset[str]


COLOURS = {
    "red": Colour((212, 33, 38), ("red", "scarlet", "crimson")),
    "orange": Colour((250, 132, 18), ("orange", "tangerine", "amber")),
    "yellow": Colour((250, 216, 40), ("yellow", "golden", "lemon-yellow")),
    "green": Colour((38, 158, 62), ("green", "emerald")),
    "turquoise": Colour((44, 202, 198), ("turquoise", "teal", "aqua")),
    "blue": Colour((30, 76, 205), ("blue", "cobalt", "navy")),
    "purple": Colour((124, 48, 172), ("purple", "violet")),
    "pink": Colour((246, 130, 188), ("pink", "rosy")),
    "white": Colour((248, 248, 246), ("white", "snow-white")),
    "black": Colour((24, 24, 28), ("black", "jet-black")),
}

SHAPES = {
    "circle": Shape((("circle", "circles"), ("disc", "discs"), ("round spot", "round spots")), True),
    "square": Shape((("square", "squares"), ("block", "blocks")), True),
    "triangle": Shape((("triangle", "triangles"), ("three-cornered shape", "three-cornered shapes"))),
    "diamond": Shape((("diamond", "diamonds"), ("rhombus", "rhombuses")), True),
    "star": Shape((("star", "stars"), ("five-pointed star", "five-pointed stars"))),
    "heart": Shape((("heart", "hearts"), ("love heart", "love hearts")), True),
    "cross": Shape((("cross", "crosses"), ("plus sign", "plus signs"))),
    "ring": Shape((("ring", "rings"), ("hoop", "hoops")), True),
    "crescent": Shape((("crescent", "crescents"), ("half moon", "half moons"))),
    "arrow": Shape((("arrow", "arrows"), ("pointer", "pointers"))),
    "flower": Shape((("flower", "flowers"), ("blossom", "blossoms"))),
    "lightning bolt": Shape((("lightning bolt", "lightning bolts"), ("thunderbolt", "thunderbolts"))),
}

# radius of one object as a share of the picture's side, and its adjectives ("" is a size that goes unmentioned)
SIZES = {
    "large": (0.245, ("large", "big", "huge")),
    "medium": (0.16, ("medium-sized", "", "")),
    "small": (0.1, ("small", "little")),
    "tiny": (0.062, ("tiny", "very small")),
}

TEXTURES = {
    "solid": ("evenly filled", "in one flat colour", "smooth, without any pattern"),
    "striped": ("striped", "covered with stripes", "banded with parallel stripes"),
    "dotted": ("dotted", "sprinkled with dots", "spotted all over like polka-dot cloth"),
    "chequered": ("chequered", "patterned in little checks", "checked like a chessboard"),
}

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")

BACKGROUNDS = {
    "white paper": Background(
        ("on white paper", "against a plain white background", "on a blank white page"),
        ("white background", "isolated on white", "cutout"),
        (
            "The backdrop is a bare sheet of white paper without lines or writing",
            "All around there is only clean, empty white, as in a studio",
        ),
        frozenset({"white"}),
    ),
    "grey wall": Background(
        ("in front of a grey wall", "against a plain grey background", "on a grey concrete wall"),
        ("grey wall", "concrete", "gray background"),
        (
            "The backdrop is a dull grey wall that grows slightly darker towards the bottom",
            "Behind everything there is flat grey concrete, a little lighter near the top",
        ),
        frozenset(),
    ),
    "blackboard": Background(
        ("on a blackboard", "against a black background", "on a dark chalkboard"),
        ("blackboard", "black background", "chalkboard"),
        (
            "The backdrop is an almost black board in a narrow wooden border, with a few smears of chalk",
            "Behind everything hangs a dark chalkboard with a brown rim and some faint wiped-out chalk marks",
        ),
        frozenset({"black", "purple"}),
    ),
    "cloudy sky": Background(
        ("in a blue sky with clouds", "against a cloudy sky", "up in the sky among white clouds"),
        ("sky", "clouds", "blue sky"),
        (
            "The backdrop is a pale blue daytime sky with several fluffy white clouds drifting across",
            "Soft round clouds float through a light blue sky in the background",
        ),
        frozenset({"white", "turquoise"}),
    ),
    "sunset": Background(
        ("at sunset", "against an orange evening sky", "in front of a glowing sunset"),
        ("sunset", "dusk", "evening sky"),
        (
            "The backdrop is an evening sky that fades from deep violet at the top to glowing orange at the horizon, "
            "where a pale half sun goes down",
            "Behind everything the sun is setting, and the sky melts from purple above into warm orange below",
        ),
        frozenset({"orange", "purple", "yellow"}),
    ),
    "checkerboard": Background(
        ("on a checkerboard", "on a chessboard pattern", "on a floor of grey and cream tiles"),
        ("checkerboard", "chess board", "tiles"),
        (
            "The backdrop is a regular checkerboard whose fields alternate between cream and light grey",
            "Below everything lies a tiled floor with alternating pale grey and cream squares",
        ),
        frozenset({"white"}),
    ),
    "night sky": Background(
        ("in the night sky", "against a starry night", "among faint stars at night"),
        ("night sky", "starry night", "space"),
        (
            "The backdrop is a dark navy night sky in which dozens of faint pinpricks of light twinkle",
            "It is night, and the deep dark blue sky is strewn with many very faint, distant specks of light",
        ),
        frozenset({"black", "blue", "purple"}),
    ),
    "meadow": Background(
        ("on a green meadow", "on the grass", "in a grassy field"),
        ("meadow", "grass", "lawn"),
        (
            "The backdrop is a fresh green meadow with many single blades of grass, below a narrow strip of pale sky",
            "Long blades of grass fill the green field in the background, and a thin band of light sky runs above it",
        ),
        frozenset({"green"}),
    ),
    "sea": Background(
        ("on the sea", "over blue ocean waves", "above the water"),
        ("sea", "ocean", "waves"),
        (
            "The backdrop is the open sea, with rows of lighter waves rolling across blue water under a hazy sky",
            "Blue ocean water with curling rows of bright waves stretches to the horizon in the background",
        ),
        frozenset({"blue", "turquoise"}),
    ),
    "beach": Background(
        ("on a sandy beach", "on the sand", "lying on golden sand"),
        ("beach", "sand", "summer"),
        (
            "The backdrop is a beach of fine golden sand with scattered darker grains and a few ripples left by wind",
            "Warm, grainy yellowish sand with shallow ripples covers the whole background",
        ),
        frozenset({"yellow", "orange"}),
    ),
    "brick wall": Background(
        ("on a brick wall", "in front of a red brick wall", "painted on brickwork"),
        ("brick wall", "bricks", "street art"),
        (
            "The backdrop is an old wall of reddish-brown bricks in staggered rows, with light mortar in the joints",
            "Rows of rusty red bricks, offset against each other and separated by pale mortar, fill the background",
        ),
        frozenset({"red", "orange"}),
    ),
    "wooden boards": Background(
        ("on wooden boards", "on a wooden table", "against brown wood planks"),
        ("wood", "wooden table", "planks"),
        (
            "The backdrop is a row of upright brown wooden planks with dark gaps between them and a visible grain",
            "Broad brown boards stand side by side in the background, each with darker lines of wood grain",
        ),
        frozenset({"orange", "black"}),
    ),
}
