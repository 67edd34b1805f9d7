"""Image processors of real models: what transformers makes of an image, ours does too."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil

from store.common.errors import ConfigError
from tests.trainer.examples import encoded, picture, seen
from trainer.images.transform import CLIP_MEAN, CLIP_STD
from trainer.model.processor import load_transform, processor_settings
from trainer.model.towers import patchify


def test_without_settings_clips_own_processing_holds():
    transform = load_transform(None, 224)
    assert (transform.size, transform.mean, transform.std, transform.squash) == (224, CLIP_MEAN, CLIP_STD, False)


def test_without_settings_a_siglip_squashes_to_minus_one_to_one():
    transform = load_transform(None, 224, "siglip")
    assert (transform.mean, transform.std, transform.squash) == ((0.5,) * 3, (0.5,) * 3, True)


def test_mean_and_deviation_come_from_the_models_settings(tmp_path):
    file = tmp_path / "preprocessor_config.json"
    file.write_text('{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.5, 1], "size": 999}')
    transform = load_transform(file, 32)
    assert (transform.size, transform.mean, transform.std) == (32, (0.5, 0.5, 0.5), (0.25, 0.5, 1.0))


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"image_mean": 3}',
        '{"image_mean": ["a"]}',
        '{"resample": 77}',
        '{"size": {"height": 32, "width": 48}}',
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path, text):
    file = tmp_path / "preprocessor_config.json"
    file.write_text(text)
    with pytest.raises(ConfigError, match="cannot be read as an image processor's settings"):
        load_transform(file, 32)


CLIP_CUT = {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}}


@pytest.mark.parametrize(
    ("processor", "family"),
    [
        (CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}), "clip"),
        (CLIPImageProcessorPil(**CLIP_CUT), "clip"),
        (CLIPImageProcessorPil(size={"height": 32, "width": 32}, do_center_crop=False, resample=2), "clip"),
        (SiglipImageProcessorPil(size={"height": 32, "width": 32}), "siglip"),
    ],
    ids=["clip", "clip cut from 40", "clip squashed", "siglip"],
)
def test_an_image_becomes_what_the_models_own_processor_makes_of_it(processor, family, tmp_path):
    """Sizes that divide evenly: the processors round the sides in between, we resize once."""
    processor.save_pretrained(tmp_path)
    transform = load_transform(tmp_path / "preprocessor_config.json", 32, family)
    payload = encoded(picture(7, (160, 80)), "PNG")
    expected = processor(Image.open(io.BytesIO(payload)), return_tensors="np")["pixel_values"][0]
    # eight-bit rounding of the pixels in between
    np.testing.assert_allclose(seen(transform, payload)[0], expected, atol=2.5 / 255 / min(transform.std))


def test_a_square_image_becomes_the_patches_of_siglip2s_own_processor(tmp_path):
    processor = Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16)
    processor.save_pretrained(tmp_path)
    transform = load_transform(tmp_path / "preprocessor_config.json", 32, "siglip2")
    payload = encoded(picture(7, (96, 96)), "PNG")
    expected = processor(Image.open(io.BytesIO(payload)), return_tensors="pt")
    assert expected["spatial_shapes"].tolist() == [[4, 4]]
    patches = patchify(seen(transform, payload), 8)
    torch.testing.assert_close(patches, expected["pixel_values"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("changes", [{}, {"edge": 40}, {"squash": True, "resample": 2}])
def test_what_is_written_is_what_is_read(changes, tmp_path):
    transform = replace(load_transform(None, 32), mean=(0.1, 0.2, 0.3), **changes)
    file = tmp_path / "preprocessor_config.json"
    file.write_text(json.dumps(processor_settings(transform)))
    assert load_transform(file, 32) == transform
