"""What a scene shows: one thing in the middle, up to two small ones in the corners, a backdrop and perhaps a frame."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from tools.scenes.vocabulary import BACKGROUNDS, FRAMES, THINGS, Thing

CORNERS = {"upper left": (0, 0), "upper right": (1, 0), "lower left": (0, 1), "lower right": (1, 1)}
THEMES = {"any": (True, False), "shown": (True,)}
"""Theme -> whether a scene is of topics that stage 2 shows, drawn for each scene."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What captions describe and ``draw`` paints.

    Attributes:
        background: a key of ``BACKGROUNDS``.
        main: the thing in the middle, whose name is the scene's class.
        second, third: things in corners, or None.
        corners: where they are.
        frame: colour of the frame, or None.
    """

    background: str
    main: Thing
    second: Thing | None
    third: Thing | None
    corners: tuple[str, str]
    frame: str | None

    @property
    def signature(self) -> tuple[str, ...]:
        """What a short caption describes; scenes of two splits differ in it."""
        return self.background, self.main.name, self.second.name if self.second else ""


def compose(random: Random, theme: Sequence[bool]) -> Scene:
    """A random scene of a theme. All its things are of topics that stage 2 shows, or all are of other topics."""
    shown = random.choice(theme)
    main, second, third = random.sample([thing for thing in THINGS.values() if thing.is_shown == shown], 3)
    first_corner, second_corner = random.sample(tuple(CORNERS), 2)
    return Scene(
        background=random.choice(tuple(BACKGROUNDS)),
        main=main,
        second=second if random.random() < 0.7 else None,
        third=third if random.random() < 0.5 else None,
        corners=(first_corner, second_corner),
        frame=random.choice(tuple(FRAMES)) if random.random() < 0.4 else None,
    )
