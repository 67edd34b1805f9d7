"""What a tower sees of an image: which pixels exactly, and how they are normalised."""

import io

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from tests.trainer.examples import encoded, picture, seen
from trainer.data.order import generator
from trainer.images import transform as images
from trainer.images.decoding import decode_pixels
from trainer.images.transform import ImageTransform, _random_crop

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def image_of(rows) -> bytes:
    """A PNG whose red channel holds these rows, green ten more, blue none."""
    red = np.array(rows, dtype=np.uint8)
    return encoded(Image.fromarray(np.stack([red, red + 10, np.zeros_like(red)], axis=-1)), "PNG")


def test_grey_gives_three_equal_channels():
    (pixels,) = seen(ImageTransform(size=4, **PLAIN), encoded(Image.new("L", (4, 4), 51), "PNG"))
    assert pixels.tolist() == np.full((3, 4, 4), np.float32(51 / 255)).tolist()


def test_evaluation_takes_the_centre_square():
    """Four columns, two rows, size 2: the middle two columns as they are, since nothing needs resizing."""
    pixels = ImageTransform(size=2, **PLAIN).evaluate(image_of([[0, 51, 102, 153], [10, 61, 112, 163]]))
    assert pixels.dtype == np.uint8
    assert pixels.tolist() == [[[51, 102], [61, 112]], [[61, 112], [71, 122]], [[0, 0], [0, 0]]]


def test_evaluation_takes_the_centre_of_a_tall_image_too():
    pixels = ImageTransform(size=2, **PLAIN).evaluate(image_of([[0, 1], [51, 52], [102, 103], [153, 154]]))
    assert pixels[0].tolist() == [[51, 52], [102, 103]]


def test_pixels_are_normalised_by_mean_and_deviation_of_each_channel():
    transform = ImageTransform(size=1, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0))
    pixels = seen(transform, encoded(Image.new("RGB", (1, 1), (51, 102, 153)), "PNG"))
    assert pixels.dtype == torch.float32
    # 0.2, 0.4 and 0.6 of full light
    assert pixels.flatten().tolist() == pytest.approx([(0.2 - 0.1) / 0.5, (0.4 - 0.2) / 0.25, (0.6 - 0.3) / 2.0])


def test_a_training_crop_depends_on_its_random_stream_alone():
    transform = ImageTransform(size=16, min_scale=0.3)
    payload = encoded(picture(2, (60, 40)))
    crops = [transform.train(payload, generator(0, 1, epoch, 7)) for epoch in (0, 0, 1)]
    assert crops[0].shape == (3, 16, 16)
    assert crops[0].dtype == np.uint8
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


@pytest.mark.parametrize("resample", list(Image.Resampling))
@pytest.mark.parametrize("size", [(24, 20), (90, 130)])
def test_a_training_crop_is_the_crop_resized_by_pillow(size, resample, monkeypatch):
    """Whatever the filter, up to 2 of 255 where torch computes it."""
    monkeypatch.setattr(images, "_random_crop", lambda *_: (3, 2, 21, 19))
    payload = encoded(picture(8, size), "PNG")
    pixels = ImageTransform(size=32, resample=resample.value).train(payload, generator(0))
    cropped = Image.fromarray(decode_pixels(payload)).crop((3, 2, 21, 19))
    expected = np.asarray(cropped.resize((32, 32), resample)).transpose(2, 0, 1)
    assert pixels.shape == (3, 32, 32)
    assert np.abs(pixels.astype(int) - expected).max() <= 2


def grainy(seed: int, size: int) -> bytes:
    """Detail at every scale down to single pixels, as in a sharp photograph."""
    random = np.random.default_rng(seed)
    coarse = [np.asarray(picture(seed, (size, size)), np.float64)]
    for cells, share in ((40, 30), (200, 20), (size, 12)):
        noise = Image.fromarray(random.normal(128, share, (cells, cells)).clip(0, 255).astype(np.uint8))
        coarse.append(np.asarray(noise.resize((size, size), Image.Resampling.BICUBIC), np.float64)[..., None] - 128)
    return encoded(Image.fromarray(sum(coarse).clip(0, 255).astype(np.uint8)), quality=92)


@pytest.mark.parametrize("shrink", [2, 4, 8])
def test_a_jpeg_scaled_down_while_decoding_is_as_good_as_a_whole_one(shrink):
    """At the least oversampling that is allowed, it differs less than half as much as by choice of another filter."""
    size = 48
    side = round(shrink * images.OVERSAMPLING * size)
    payload = grainy(shrink, side)
    scaled, whole = decode_pixels(payload, side // shrink), decode_pixels(payload)
    assert (scaled.shape[0], whole.shape[0]) == (side // shrink, side)

    def resized(pixels_HWC: np.ndarray, mode: str) -> torch.Tensor:
        pixels_BCHW = torch.from_numpy(pixels_HWC).permute(2, 0, 1)[None]
        return F.interpolate(pixels_BCHW, (size, size), mode=mode, antialias=True).double()

    expected = resized(whole, "bicubic")
    by_scaling = (resized(scaled, "bicubic") - expected).square().mean().sqrt()
    by_filter = (resized(whole, "bilinear") - expected).square().mean().sqrt()
    assert by_scaling < by_filter / 2
    assert by_scaling < 2  # of 255, with much noise in single pixels; in photographs it is 0.6


def test_a_large_jpeg_is_decoded_scaled_down_for_training_and_whole_for_evaluation(monkeypatch):
    asked = []

    def spy(payload, least_side=None):
        asked.append((least_side, decode_pixels(payload, least_side).shape))
        return decode_pixels(payload, least_side)

    monkeypatch.setattr(images, "decode_pixels", spy)
    transform = ImageTransform(size=32, min_scale=0.75)
    transform.train(encoded(picture(1, (160, 150))), generator(0))
    transform.evaluate(encoded(picture(1, (160, 150))))
    # a crop has at least root(0.75 x 3/4) = 0.75 of the shorter side: 1.75 x 32 pixels of it are 74.7 of the whole
    assert asked == [(75, (75, 80, 3)), (None, (150, 160, 3))]
