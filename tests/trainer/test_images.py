"""Images from bytes to pixels: what is refused, what becomes RGB, and exactly which pixels are seen."""

import io
import random
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.trainer.examples import encoded, picture
from trainer.images import BrokenImageError, ImageTransform, _random_crop, decode
from trainer.order import generator

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def image_of(rows) -> bytes:
    """A PNG whose red channel holds these rows, green ten more, blue none."""
    red = np.array(rows, dtype=np.uint8)
    return encoded(Image.fromarray(np.stack([red, red + 10, np.zeros_like(red)], axis=-1)), "PNG")


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
    with pytest.raises(BrokenImageError, match="image cannot be decoded"):
        decode(payload)


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
                assert decode(bytes(damaged)).mode == "RGB"
        except BrokenImageError:
            refused += 1
    assert refused > 0


@pytest.mark.parametrize("size", [(9500, 9500), (20_000, 20_000)])
def test_a_decompression_bomb_is_refused_before_it_unpacks(size):
    with pytest.raises(BrokenImageError, match="pixels"):
        decode(png_of_size(*size))


def test_a_large_photograph_is_no_bomb():
    with pytest.raises(BrokenImageError, match="truncated"):  # 88 megapixels were begun with
        decode(png_of_size(9400, 9400))


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("L", "JPEG"), ("CMYK", "JPEG"), ("RGB", "JPEG"), ("RGBA", "PNG"), ("LA", "PNG"), ("P", "PNG"), ("1", "PNG")],
)
def test_every_mode_becomes_rgb(mode, kind):
    image = decode(encoded(picture(1).convert(mode), kind))
    assert image.mode == "RGB"
    assert image.size == (24, 20)


def test_a_palette_with_transparency_keeps_its_colours():
    palette = Image.new("P", (2, 1))
    palette.putpalette([200, 10, 20, 30, 40, 250])
    palette.putpixel((1, 0), 1)
    image = decode(encoded(palette, "PNG", transparency=bytes([0, 128])))
    assert [image.getpixel((x, 0)) for x in range(2)] == [(200, 10, 20), (30, 40, 250)]


def test_grey_gives_three_equal_channels():
    pixels = ImageTransform(size=4, **PLAIN).evaluate(encoded(Image.new("L", (4, 4), 51), "PNG"))
    assert pixels.tolist() == np.full((3, 4, 4), np.float32(51 / 255)).tolist()


def test_evaluation_takes_the_centre_square():
    """Four columns, two rows, size 2: the middle two columns as they are, since nothing needs resizing."""
    pixels = ImageTransform(size=2, **PLAIN).evaluate(image_of([[0, 51, 102, 153], [10, 61, 112, 163]]))
    assert pixels.dtype == np.float32
    assert pixels.shape == (3, 2, 2)
    np.testing.assert_allclose(pixels[0] * 255, [[51, 102], [61, 112]], rtol=1e-6)
    np.testing.assert_allclose(pixels[1] * 255, [[61, 112], [71, 122]], rtol=1e-6)
    assert not pixels[2].any()


def test_evaluation_takes_the_centre_of_a_tall_image_too():
    pixels = ImageTransform(size=2, **PLAIN).evaluate(image_of([[0, 1], [51, 52], [102, 103], [153, 154]]))
    np.testing.assert_allclose(pixels[0] * 255, [[51, 52], [102, 103]], rtol=1e-6)


def test_pixels_are_normalised_by_mean_and_deviation_of_each_channel():
    transform = ImageTransform(size=1, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))
    pixels = transform.evaluate(encoded(Image.new("RGB", (1, 1), (51, 102, 153)), "PNG"))
    # 0.2, 0.4 and 0.6 of full light
    assert pixels.flatten().tolist() == pytest.approx([(0.2 - 0.1) / 0.5, (0.4 - 0.2) / 0.25, (0.6 - 0.3) / 2.0])


def test_a_training_crop_depends_on_its_random_stream_alone():
    transform = ImageTransform(size=16, min_scale=0.3)
    payload = encoded(picture(2, (60, 40)))
    crops = [transform.train(payload, generator(0, 1, epoch, 7)) for epoch in (0, 0, 1)]
    assert crops[0].shape == (3, 16, 16)
    assert crops[0].dtype == np.float32
    assert np.array_equal(crops[0], crops[1])
    assert not np.array_equal(crops[0], crops[2])


@pytest.mark.parametrize("size", [(60, 40), (40, 60), (33, 33)])
def test_training_crops_lie_inside_the_image_with_area_and_shape_in_range(size):
    width, height = size
    boxes = [_random_crop(size, 0.3, generator(0, place)) for place in range(200)]
    for left, top, right, bottom in boxes:
        w, h = right - left, bottom - top
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        # sides are rounded to whole pixels: half a pixel each way
        assert (w + 0.5) * (h + 0.5) >= 0.3 * width * height
        assert (w + 0.5) / (h - 0.5) >= 3 / 4
        assert (w - 0.5) / (h + 0.5) <= 4 / 3
    assert len(set(boxes)) > 150
    shares = [(right - left) * (bottom - top) / (width * height) for left, top, right, bottom in boxes]
    assert min(shares) < 0.4
    assert max(shares) > 0.8


@pytest.mark.parametrize(("size", "box"), [((100, 10), (43, 0, 56, 10)), ((10, 100), (0, 43, 10, 56))])
def test_an_image_too_long_for_any_crop_gives_its_centre(size, box):
    """The largest box of ratio 4/3 (or 3/4) has sides 13 and 10."""
    assert _random_crop(size, 0.9, generator(0)) == box


def test_the_tests_images_are_images():
    assert Image.open(io.BytesIO(encoded(picture()))).format == "JPEG"
