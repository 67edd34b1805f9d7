"""Bytes to pixels: what is refused, what becomes RGB, and that a fast decoder shows what Pillow shows."""

import io
import random
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.trainer.examples import encoded, picture
from trainer.images.decoding import BrokenImageError, decode, decode_pixels


def pillow(payload: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(payload)).convert("RGB"))


def png_of_size(width: int, height: int) -> bytes:
    """A valid header of a huge picture, with next to no data."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"no image at all",
        encoded(picture())[:400],
        encoded(picture(), "PNG")[:200],
        encoded(picture(), "WEBP")[:100],
        b"P5 x 3 255 abc",
    ],
    ids=["empty", "text", "truncated jpeg", "truncated png", "truncated webp", "wrong number"],
)
def test_bytes_that_are_no_whole_image_are_refused(payload):
    for function in (decode, decode_pixels):
        with pytest.raises(BrokenImageError, match="image cannot be decoded"):
            function(payload)


def test_a_jpeg_whose_header_pillow_alone_refuses_is_refused_as_broken():
    """A marker TEM between the segments; the EXIF makes both decoders look at the header."""
    exif = Image.Exif()
    exif[0x0112] = 1
    file = io.BytesIO()
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(file, "JPEG", exif=exif)
    payload = file.getvalue()
    at = 4 + int.from_bytes(payload[4:6], "big")  # the first segment and the start mark before it
    with pytest.raises(BrokenImageError, match="image cannot be decoded"):
        decode_pixels(payload[:at] + b"\xff\x01" + payload[at:])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "PPM"])
def test_a_damaged_image_is_refused_or_decoded_and_nothing_else(kind):
    whole = encoded(picture(3), kind)
    refused = 0
    for seed in range(60):
        chance = random.Random(seed)
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            damaged[chance.randrange(min(len(damaged), 120))] = chance.randrange(256)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                pixels = decode_pixels(bytes(damaged))
                assert (pixels.dtype, pixels.shape[2:]) == (np.uint8, (3,))
        except BrokenImageError:
            refused += 1
    assert refused > 0


@pytest.mark.parametrize("size", [(9500, 9500), (20_000, 20_000)])
def test_a_decompression_bomb_is_refused_before_it_unpacks(size):
    with pytest.raises(BrokenImageError, match="pixels"):
        decode(png_of_size(*size))


def test_a_jpeg_bomb_is_refused_before_it_unpacks():
    payload = bytearray(encoded(picture()))
    frame = payload.index(b"\xff\xc0")
    payload[frame + 5 : frame + 9] = struct.pack(">HH", 20_000, 10_000)
    with pytest.raises(BrokenImageError, match="200000000 pixels"):
        decode_pixels(bytes(payload), 100)


def test_a_large_photograph_is_no_bomb():
    with pytest.raises(BrokenImageError, match="truncated"):  # 88 megapixels were begun with
        decode(png_of_size(9400, 9400))


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("L", "JPEG"), ("CMYK", "JPEG"), ("RGB", "JPEG"), ("RGBA", "PNG"), ("LA", "PNG"), ("P", "PNG"), ("1", "PNG")],
)
def test_every_mode_becomes_rgb(mode, kind):
    payload = encoded(picture(1).convert(mode), kind)
    image = decode(payload)
    assert image.mode == "RGB"
    assert image.size == (24, 20)
    assert np.array_equal(np.asarray(image), pillow(payload))
    assert np.array_equal(decode_pixels(payload), pillow(payload))


def test_a_palette_with_transparency_keeps_its_colours():
    palette = Image.new("P", (2, 1))
    palette.putpalette([200, 10, 20, 30, 40, 250])
    palette.putpixel((1, 0), 1)
    image = decode(encoded(palette, "PNG", transparency=bytes([0, 128])))
    assert [image.getpixel((x, 0)) for x in range(2)] == [(200, 10, 20), (30, 40, 250)]


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 30}, {"keep_rgb": True}]
)
def test_a_jpeg_has_the_pixels_that_pillow_finds(options):
    payload = encoded(picture(4, (61, 43)), **options)
    assert np.array_equal(decode_pixels(payload), pillow(payload))


def test_grey_of_16_bits_keeps_its_upper_8():
    levels = np.array([[0, 255, 256], [128 * 256 + 7, 65279, 65535]], np.uint16)
    payload = encoded(Image.fromarray(levels), "PNG")
    assert decode_pixels(payload)[..., 1].tolist() == [[0, 0, 1], [128, 254, 255]]


def with_orientation(image: Image.Image, orientation: int, kind: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(image, kind, exif=exif)


@pytest.mark.parametrize(
    ("orientation", "rows"),
    [
        (1, [[1, 2, 3], [4, 5, 6]]),
        (2, [[3, 2, 1], [6, 5, 4]]),
        (3, [[6, 5, 4], [3, 2, 1]]),
        (4, [[4, 5, 6], [1, 2, 3]]),
        (5, [[1, 4], [2, 5], [3, 6]]),
        (6, [[4, 1], [5, 2], [6, 3]]),
        (7, [[6, 3], [5, 2], [4, 1]]),
        (8, [[3, 6], [2, 5], [1, 4]]),
        (9, [[1, 2, 3], [4, 5, 6]]),
    ],
)
def test_an_image_is_turned_upright_as_its_exif_says(orientation, rows):
    stored = Image.fromarray(np.array([[1, 2, 3], [4, 5, 6]], np.uint8))
    assert decode_pixels(with_orientation(stored, orientation, "PNG"))[..., 0].tolist() == rows
    payload = with_orientation(picture(5), orientation, "JPEG")
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(payload)))
    assert np.array_equal(decode_pixels(payload), np.asarray(upright))


def test_exif_that_cannot_be_read_turns_nothing():
    payload = with_orientation(picture(5), 6, "JPEG")
    start = payload.index(b"Exif")
    for damage in (b"Exif\0\0nonsense", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\xff\xff"):
        damaged = payload[:start] + damage + payload[start + len(damage) :]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert decode_pixels(damaged).shape == (20, 24, 3)


@pytest.mark.parametrize(
    ("least_side", "shape"),
    [(None, (201, 333)), (202, (201, 333)), (100, (101, 167)), (101, (201, 333)), (50, (51, 84)), (3, (26, 42))],
)
def test_a_jpeg_comes_scaled_down_as_far_as_its_shorter_side_allows(least_side, shape):
    """201 pixels allow halves of 100, quarters of 50; sides are rounded up."""
    assert decode_pixels(encoded(picture(6, (333, 201))), least_side).shape == (*shape, 3)


def test_what_is_no_plain_jpeg_comes_whole():
    for payload in (encoded(picture(6, (80, 80)), "PNG"), encoded(picture(6, (80, 80), "CMYK"))):
        assert decode_pixels(payload, 10).shape == (80, 80, 3)
