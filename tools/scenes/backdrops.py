"""The backgrounds of scenes, each drawn on a square RGB canvas."""

from collections.abc import Callable
from random import Random

from PIL import Image, ImageDraw, ImageFilter, ImageOps

RGB = tuple[int, int, int]


def draw(background: str, side: int, random: Random) -> Image.Image:
    """A new ``side`` x ``side`` canvas with this background on it."""
    return _PAINTERS[background](side, random)


def vary(rgb: RGB, random: Random, amount: int) -> RGB:
    """A slightly different shade: every channel moves by at most ``amount``."""
    red, green, blue = (min(255, max(0, channel + random.randint(-amount, amount))) for channel in rgb)
    return red, green, blue


def _gradient(side: int, top: RGB, bottom: RGB, middle: RGB | None = None) -> Image.Image:
    ramp = Image.linear_gradient("L").resize((side, side))
    return ImageOps.colorize(ramp, top, bottom, middle)


def _white_paper(side: int, random: Random) -> Image.Image:
    return Image.new("RGB", (side, side), vary((252, 252, 252), random, 3))


def _grey_wall(side: int, random: Random) -> Image.Image:
    return _gradient(side, vary((168, 168, 170), random, 8), vary((128, 128, 131), random, 8))


def _blackboard(side: int, random: Random) -> Image.Image:
    board = Image.new("RGB", (side, side), vary((32, 36, 34), random, 5))
    pen = ImageDraw.Draw(board)
    for _ in range(5):
        x, y, shade = random.randrange(side), random.randrange(side), random.randint(46, 58)
        pen.line((x, y, x + side // 3, y + random.randint(-side // 12, side // 12)), (shade,) * 3, side // 20)
    board = board.filter(ImageFilter.BoxBlur(side // 64))
    ImageDraw.Draw(board).rectangle((0, 0, side - 1, side - 1), outline=(106, 70, 40), width=side // 40)
    return board


def _cloudy_sky(side: int, random: Random) -> Image.Image:
    sky = _gradient(side, vary((98, 168, 232), random, 8), vary((176, 216, 246), random, 6))
    pen = ImageDraw.Draw(sky)
    for _ in range(5):
        x, y, size = random.randrange(side), random.randrange(side), random.uniform(0.05, 0.09) * side
        for puff in range(4):
            cx, cy = x + (puff - 1.5) * size * 0.95, y - (size * 0.5 if puff in (1, 2) else 0)
            pen.ellipse((cx - size, cy - size * 0.75, cx + size, cy + size * 0.75), fill=(240, 246, 252))
    return sky


def _sunset(side: int, random: Random) -> Image.Image:
    sky = _gradient(
        side, vary((74, 36, 118), random, 8), vary((255, 164, 60), random, 6), vary((204, 76, 92), random, 8)
    )
    x, size = random.uniform(0.25, 0.75) * side, 0.11 * side
    ImageDraw.Draw(sky).ellipse((x - size, side - size, x + size, side + size), fill=(255, 236, 168))
    return sky


def _checkerboard(side: int, random: Random) -> Image.Image:
    board = Image.new("RGB", (side, side), (240, 232, 208))
    pen, field = ImageDraw.Draw(board), side // 8
    dark = vary((176, 178, 184), random, 8)
    for row in range(8):
        for column in range(row % 2, 8, 2):
            x, y = column * field, row * field
            pen.rectangle((x, y, x + field - 1, y + field - 1), fill=dark)
    return board


def _night_sky(side: int, random: Random) -> Image.Image:
    sky = _gradient(side, vary((10, 14, 48), random, 4), vary((26, 32, 84), random, 5))
    pen = ImageDraw.Draw(sky)
    for _ in range(60):
        x, y, size = random.randrange(side), random.randrange(side), side * random.uniform(0.003, 0.007)
        pen.ellipse((x - size, y - size, x + size, y + size), fill=(random.randint(150, 220),) * 2 + (230,))
    return sky


def _meadow(side: int, random: Random) -> Image.Image:
    field = Image.new("RGB", (side, side), vary((94, 168, 66), random, 8))
    pen = ImageDraw.Draw(field)
    for _ in range(260):
        x, y, tall = random.randrange(side), random.randrange(side // 8, side), side * random.uniform(0.03, 0.07)
        shade = random.randint(-26, 30)
        lean = random.uniform(-0.4, 0.4) * tall
        pen.line((x, y + tall, x + lean, y), (88 + shade, 160 + shade, 56 + shade // 2), max(1, side // 110))
    pen.rectangle((0, 0, side, side // 10), fill=(196, 226, 244))
    return field


def _sea(side: int, random: Random) -> Image.Image:
    sea = _gradient(side, vary((64, 140, 204), random, 8), vary((16, 74, 142), random, 8))
    pen = ImageDraw.Draw(sea)
    wave = side // 7
    for row in range(7):
        y, start = side // 5 + row * side // 8, random.randrange(-wave, 0)
        for x in range(start, side, wave):
            pen.arc((x, y, x + wave, y + wave // 2), 200, 340, fill=(150, 204, 236), width=max(1, side // 90))
    pen.rectangle((0, 0, side, side // 9), fill=(206, 224, 234))
    return sea


def _beach(side: int, random: Random) -> Image.Image:
    beach = _gradient(side, vary((236, 212, 152), random, 6), vary((222, 190, 126), random, 6))
    pen = ImageDraw.Draw(beach)
    for _ in range(220):
        x, y, size = random.randrange(side), random.randrange(side), side * random.uniform(0.002, 0.006)
        shade = random.randint(-44, 18)
        pen.ellipse((x - size, y - size, x + size, y + size), fill=(206 + shade, 178 + shade, 120 + shade))
    for _ in range(4):
        x, y = random.randrange(-side // 4, side), random.randrange(side)
        box = (x, y, x + side // 2, y + side // 10)
        pen.arc(box, 200, 340, fill=(206, 174, 112), width=max(1, side // 80))
    return beach


def _brick_wall(side: int, random: Random) -> Image.Image:
    wall = Image.new("RGB", (side, side), (206, 196, 184))
    pen, high, wide, joint = ImageDraw.Draw(wall), side // 9, side // 4, max(1, side // 85)
    for row in range(10):
        for column in range(-1, 5):
            x, y = column * wide + (row % 2) * wide // 2, row * high
            pen.rectangle((x, y, x + wide - joint, y + high - joint), fill=vary((154, 78, 60), random, 12))
    return wall


def _wooden_boards(side: int, random: Random) -> Image.Image:
    boards = Image.new("RGB", (side, side), (64, 40, 22))
    pen, wide = ImageDraw.Draw(boards), side // 5
    for column in range(6):
        shade = random.randint(-12, 12)
        x = column * wide
        pen.rectangle((x, 0, x + wide - max(2, side // 64), side), fill=(146 + shade, 100 + shade, 58 + shade))
        for _ in range(4):
            grain = x + random.randrange(2, wide - side // 50)
            pen.line(
                (grain, 0, grain + random.randint(-4, 4), side), (124 + shade, 82 + shade, 46 + shade), side // 100
            )
    return boards


_PAINTERS: dict[str, Callable[[int, Random], Image.Image]] = {
    painter.__name__[1:].replace("_", " "): painter
    for painter in (
        _white_paper, _grey_wall, _blackboard, _cloudy_sky, _sunset, _checkerboard, _night_sky, _meadow, _sea, _beach,
        _brick_wall, _wooden_boards,
    )
}  # fmt: skip
