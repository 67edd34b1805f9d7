"""Pixels of a scene: backdrop, objects with their textures, shadows and frame.

Everything is drawn on a canvas several times larger and reduced at the end, which smooths the edges.
"""

import math
from collections.abc import Iterable
from random import Random

from PIL import Image, ImageDraw, ImageFilter

from tools.scenes import backdrops
from tools.scenes.scene import Group, Scene
from tools.scenes.vocabulary import COLOURS

RGB = tuple[int, int, int]
Point = tuple[float, float]


def render(scene: Scene, image_size: int, random: Random) -> Image.Image:
    """The scene as an RGB image of ``image_size`` x ``image_size`` pixels.

    ``random`` moves only details that no caption speaks of (shades, waves, single bricks).
    """
    side = image_size * max(2, math.ceil(256 / image_size))
    canvas = backdrops.draw(scene.background, side, random)
    for group in (scene.main, scene.second, scene.extra):
        if group is not None:
            _draw_group(canvas, group, scene.shadows, random)
    if scene.frame is not None:
        rgb, width = COLOURS[scene.frame].rgb, max(2, side // 48)
        ImageDraw.Draw(canvas).rectangle((0, 0, side - 1, side - 1), outline=rgb, width=width)
    return canvas.resize((image_size, image_size), Image.Resampling.BOX)


def _draw_group(canvas: Image.Image, group: Group, shadows: bool, random: Random) -> None:
    side = canvas.width
    radius = round(group.radius * side)
    rgb = backdrops.vary(COLOURS[group.colour].rgb, random, 10)
    mask = _mask(group.shape, radius, group.tilt)
    outline = max(1, side // 128)
    inner = mask.filter(ImageFilter.BoxBlur(outline)).point([0] * 254 + [255] * 2)
    edge = tuple(round(c * 0.45) for c in rgb) if group.colour != "black" else (84, 84, 90)
    fill = _texture(group.texture, rgb, mask.size, max(4, side // 26))
    for x, y in group.centres:
        left, top = round(x * side) - mask.width // 2, round(y * side) - mask.height // 2
        if shadows:
            soft = mask.point([level * 9 // 20 for level in range(256)])
            canvas.paste((10, 10, 14), (left + side // 50, top + side // 40), soft)
        canvas.paste(edge, (left, top), mask)
        canvas.paste(fill, (left, top), inner)


def _texture(texture: str, rgb: RGB, size: tuple[int, int], period: int) -> Image.Image:
    tile = Image.new("RGB", size, rgb)
    draw = ImageDraw.Draw(tile)
    second = _contrast(rgb)
    if texture == "striped":
        for x in range(0, size[0] + size[1], 2 * period):
            draw.line((x, 0, x - size[1], size[1]), fill=second, width=round(period * 0.9))
    elif texture == "dotted":
        dot = period * 0.42
        for row, y in enumerate(range(period // 2, size[1], round(period * 1.2))):
            for x in range((row % 2) * round(period * 0.7), size[0], round(period * 1.4)):
                draw.ellipse((x - dot, y - dot, x + dot, y + dot), fill=second)
    elif texture == "chequered":
        for row, y in enumerate(range(0, size[1], period)):
            for x in range((row % 2) * period, size[0], 2 * period):
                draw.rectangle((x, y, x + period - 1, y + period - 1), fill=second)
    return tile


def _contrast(rgb: RGB) -> RGB:
    """A paler shade for patterns on dark and strong colours, a darker one on pale colours."""
    red, green, blue = rgb
    if red + green + blue > 560:
        return red * 2 // 3, green * 2 // 3, blue * 2 // 3
    return red + (255 - red) // 2, green + (255 - green) // 2, blue + (255 - blue) // 2


def _mask(shape: str, radius: int, tilt: int) -> Image.Image:
    """The shape as a greyscale mask (255 inside), in a square a little larger than its disc of ``radius`` pixels."""
    middle = radius + 3
    mask = Image.new("L", (2 * middle, 2 * middle), 0)
    draw = ImageDraw.Draw(mask)

    def disc(x: float, y: float, r: float, fill: int = 255) -> None:
        x, y = _turn(x, y, tilt)
        draw.ellipse([middle + radius * c for c in (x - r, y - r, x + r, y + r)], fill=fill)

    if shape == "circle":
        disc(0, 0, 0.92)
    elif shape == "ring":
        disc(0, 0, 0.96)
        disc(0, 0, 0.56, fill=0)
    elif shape == "crescent":
        disc(0, 0, 0.95)
        disc(0.42, -0.12, 0.75, fill=0)
    elif shape == "flower":
        for step in range(6):
            disc(0.6 * math.cos(step * math.pi / 3), 0.6 * math.sin(step * math.pi / 3), 0.36)
        disc(0, 0, 0.45)
        disc(0, 0, 0.2, fill=0)
    else:
        points = [_turn(x, y, tilt) for x, y in _outline(shape)]
        draw.polygon([(middle + radius * x, middle + radius * y) for x, y in points], fill=255)
    return mask


def _turn(x: float, y: float, degrees: float) -> Point:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return x * cos - y * sin, x * sin + y * cos


def _outline(shape: str) -> Iterable[Point]:
    if shape == "star":
        for step in range(10):
            reach, angle = (1.0, 0.42)[step % 2], math.pi * step / 5
            yield reach * math.sin(angle), 0.05 - reach * math.cos(angle)
    elif shape == "heart":
        for step in range(48):  # the usual parametric heart, scaled into the unit disc
            t = 2 * math.pi * step / 48
            x, y = 16 * math.sin(t) ** 3, 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
            yield x / 17.5, -(y + 2.5) / 17.5
    else:
        yield from _POLYGONS[shape]


_POLYGONS: dict[str, tuple[Point, ...]] = {
    "square": ((-0.72, -0.72), (0.72, -0.72), (0.72, 0.72), (-0.72, 0.72)),
    "triangle": ((0.0, -0.92), (0.88, 0.62), (-0.88, 0.62)),
    "diamond": ((0.0, -1.0), (0.62, 0.0), (0.0, 1.0), (-0.62, 0.0)),
    "cross": (
        *((-0.27, -0.9), (0.27, -0.9), (0.27, -0.27), (0.9, -0.27), (0.9, 0.27), (0.27, 0.27)),
        *((0.27, 0.9), (-0.27, 0.9), (-0.27, 0.27), (-0.9, 0.27), (-0.9, -0.27), (-0.27, -0.27)),
    ),
    "arrow": (
        *((0.0, -0.98), (0.68, -0.2), (0.28, -0.2), (0.28, 0.92)),
        *((-0.28, 0.92), (-0.28, -0.2), (-0.68, -0.2)),
    ),
    "lightning bolt": (
        *((0.27, -0.84), (-0.5, 0.1), (-0.05, 0.1), (-0.3, 0.84)),
        *((0.5, -0.2), (0.09, -0.2), (0.54, -0.84)),
    ),
}
