"""What stands where: composes a scene of up to three groups of objects without overlaps.

Coordinates are shares of the picture's side, x to the right and y downwards.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from tools.scenes.vocabulary import BACKGROUNDS, COLOURS, SHAPES, SIZES, TEXTURES

# where the main group stands relative to the second one; "around" and "inside" say where the second one is
PAIRINGS = ("left of", "right of", "above", "below", "around", "inside")
PLACES = {
    "in the middle": (0.5, 0.5),
    "on the left side": (0.28, 0.5),
    "on the right side": (0.72, 0.5),
    "at the top": (0.5, 0.28),
    "at the bottom": (0.5, 0.72),
}
CORNERS = {
    "upper left": (0.1, 0.1),
    "upper right": (0.9, 0.1),
    "lower left": (0.1, 0.9),
    "lower right": (0.9, 0.9),
}
ROUND = frozenset({"circle", "ring"})  # shapes that cannot lean to one side
MARGIN = 0.02
_OFFSETS: dict[int, tuple[tuple[float, float], ...]] = {  # in units of 2.2 radii
    1: ((0.0, 0.0),),
    2: ((0.0, -0.5), (0.0, 0.5)),
    3: ((-0.5, -0.43), (0.5, -0.43), (0.0, 0.43)),
    4: ((-0.5, -0.5), (0.5, -0.5), (-0.5, 0.5), (0.5, 0.5)),
}


@dataclass(frozen=True, slots=True)
class Theme:
    """A narrower world: the backgrounds and shapes that may appear."""

    backgrounds: tuple[str, ...] = tuple(BACKGROUNDS)
    shapes: tuple[str, ...] = tuple(SHAPES)


@dataclass(frozen=True, slots=True)
class Group:
    """``len(centres)`` equal objects. ``radius`` and ``centres`` are shares of the side, ``tilt`` is in degrees."""

    shape: str
    colour: str
    size: str
    texture: str
    tilt: int
    radius: float
    centres: tuple[tuple[float, float], ...]

    @property
    def count(self) -> int:
        return len(self.centres)


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture's content: what captions and pixels are made from.

    ``arrangement`` is one of ``PAIRINGS`` where there is a ``second`` group, else one of ``PLACES``.
    """

    background: str
    arrangement: str
    main: Group
    second: Group | None
    extra: Group | None
    extra_corner: str
    frame: str | None
    shadows: bool

    @property
    def label(self) -> str:
        """The class of the scene: the main group's colour and the backdrop, such as ``red, night sky``."""
        return f"{self.main.colour}, {self.background}"

    @property
    def object_label(self) -> str:
        """The class of the main group, such as ``red star``."""
        return f"{self.main.colour} {self.main.shape}"

    @property
    def signature(self) -> tuple[str | int, ...]:
        """What a short caption tells; two scenes of equal signature cannot be told apart by it."""
        groups = [self.main] + ([self.second] if self.second else [])
        return (
            self.background,
            self.arrangement,
            *(part for group in groups for part in (group.count, group.colour, group.shape)),
        )


def compose(random: Random, theme: Theme) -> Scene:
    """Draw a scene at random; it holds together (no overlaps, visible colours, different kinds of objects)."""
    while True:
        if (scene := _attempt(random, theme)) is not None:
            return scene


def _attempt(random: Random, theme: Theme) -> Scene | None:
    background = random.choice(theme.backgrounds)
    colours = [colour for colour in COLOURS if colour not in BACKGROUNDS[background].hides]
    shapes = random.sample(theme.shapes, 3)
    paints = random.sample(colours, 3)
    second = None
    if random.random() < 0.2:
        arrangement = random.choice(tuple(PLACES))
        main = _group(random, shapes[0], paints[0], "main", PLACES[arrangement])
    else:
        arrangement = random.choice(PAIRINGS)
        main, second = _pair(random, arrangement, shapes, paints)
    groups = [main] + ([second] if second else [])
    inside = arrangement == "inside"
    if (inside and not SHAPES[main.shape].holds_others) or not _fits(groups, may_overlap=inside):
        return None
    corner, extra = "", None
    if random.random() < 0.35:
        corner = random.choice(tuple(CORNERS))
        extra = Group(shapes[2], paints[2], "tiny", "solid", 0, SIZES["tiny"][0], (CORNERS[corner],))
        if not _fits([*groups, extra], may_overlap=inside):
            corner, extra = "", None
    frame = random.choice(colours) if random.random() < 0.25 else None
    return Scene(background, arrangement, main, second, extra, corner, frame, random.random() < 0.4)


def _pair(random: Random, arrangement: str, shapes: Sequence[str], paints: Sequence[str]) -> tuple[Group, Group]:
    """The main group and the second one; the main one is always the larger."""
    if arrangement == "inside":
        main = _group(random, shapes[0], paints[0], "holder", (0.5, 0.5))
        return main, _group(random, shapes[1], paints[1], "held", main.centres[0])
    if arrangement == "around":
        main = _group(random, shapes[0], paints[0], "hub", (0.5, 0.5))
        return main, _circle_around(random, shapes[1], paints[1], main)
    x, y = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}[arrangement]
    main = _group(random, shapes[0], paints[0], "main", (0.5 + 0.21 * x, 0.5 + 0.21 * y), stacked=y == 0)
    second = _group(random, shapes[1], paints[1], "second", (0.5 - 0.27 * x, 0.5 - 0.27 * y), stacked=y == 0)
    return main, second


def _group(
    random: Random, shape: str, colour: str, role: str, centre: tuple[float, float], stacked: bool = True
) -> Group:
    count = {"main": random.choice((1, 1, 1, 2, 3)), "second": random.choice((1, 1, 2, 3, 4))}.get(role, 1)
    size = {"holder": "large", "hub": "medium", "held": "small", "second": "small"}.get(role, "large")
    if role == "main" and (count > 1 or random.random() < 0.35):
        size = "medium"
    if role == "second" and count == 1 and random.random() < 0.5:
        size = "medium"
    textures = ("solid",) if size == "small" or role == "holder" else tuple(TEXTURES)
    texture = random.choice(("solid", *textures))
    tilt = random.choice((-24, 24)) if count == 1 and shape not in ROUND and random.random() < 0.3 else 0
    radius = SIZES[size][0] * random.uniform(0.95, 1.05) * (0.85 if role == "main" and count > 1 else 1.0)
    if role == "holder":
        radius *= 1.3
    wobble = 0.0 if role == "held" else 0.03
    x, y = (share + random.uniform(-wobble, wobble) for share in centre)
    offsets = [(dx, dy) if stacked else (dy, dx) for dx, dy in _OFFSETS[count]]
    centres = tuple((x + 2.2 * radius * dx, y + 2.2 * radius * dy) for dx, dy in offsets)
    return Group(shape, colour, size, texture, tilt, radius, centres)


def _circle_around(random: Random, shape: str, colour: str, hub: Group) -> Group:
    count, radius, distance = random.randint(4, 8), SIZES["small"][0] * 0.92, 0.36
    start = random.uniform(0, 2 * math.pi)
    angles = [start + 2 * math.pi * step / count for step in range(count)]
    x, y = hub.centres[0]
    centres = tuple((x + distance * math.cos(a), y + distance * math.sin(a)) for a in angles)
    return Group(shape, colour, "small", "solid", 0, radius, centres)


def _fits(groups: Sequence[Group], may_overlap: bool) -> bool:
    discs = [(x, y, group.radius, index) for index, group in enumerate(groups) for x, y in group.centres]
    if any(not MARGIN + r <= share <= 1 - MARGIN - r for x, y, r, _ in discs for share in (x, y)):
        return False
    return not any(
        math.hypot(x - u, y - v) < r + s
        for x, y, r, i in discs
        for u, v, s, j in discs
        if i < j and not (may_overlap and (i, j) == (0, 1))
    )
