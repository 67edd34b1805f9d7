"""The image tower is CLIP's own, and whatever is not a whole CLIP is refused in a sentence."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from store.errors import ConfigError
from trainer.images import CLIP_MEAN
from trainer.towers import load_image_tower


@pytest.fixture
def copy(clip_folder, tmp_path) -> Path:
    return Path(shutil.copytree(clip_folder, tmp_path / "copy"))


def pixels() -> torch.Tensor:
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_its_features_are_clips_own(clip_folder):
    tower = load_image_tower(str(clip_folder))
    clip = transformers.CLIPModel.from_pretrained(clip_folder)
    with torch.no_grad():
        expected = clip.visual_projection(clip.vision_model(pixel_values=pixels()).pooler_output)
        features = tower.model.eval()(pixels())
        assert torch.equal(features, expected)
        normalized = tower.model.normalized(pixels())
    torch.testing.assert_close(normalized, expected / expected.norm(dim=-1, keepdim=True))
    assert (tower.dim, tower.transform.size, tower.transform.mean) == (16, 32, CLIP_MEAN)


def test_in_half_precision_the_normalised_features_are_float32(clip_folder):
    tower = load_image_tower(str(clip_folder)).model.bfloat16()
    features = tower.normalized(pixels())
    assert features.dtype == torch.float32
    torch.testing.assert_close(features.norm(dim=-1), torch.ones(3))


def test_the_preprocessing_is_the_models(copy):
    (copy / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0.25] * 3}))
    transform = load_image_tower(str(copy)).transform
    assert (transform.mean, transform.std) == ((0.5,) * 3, (0.25,) * 3)


def without_a_layer(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if "vision_model.encoder.layers.1." not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def of_another_type(folder: Path) -> None:
    settings = json.loads((folder / "config.json").read_text()) | {"model_type": "bert"}
    (folder / "config.json").write_text(json.dumps(settings))


def of_another_shape(folder: Path) -> None:
    settings = json.loads((folder / "config.json").read_text()) | {"projection_dim": 24}
    (folder / "config.json").write_text(json.dumps(settings))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without_a_layer, "holds no weights for 'vision_model.encoder.layers.1.layer_norm1.bias' of the image tower"),
        (of_another_type, "holds a model of type 'bert'; expected 'clip'"),
        (of_another_shape, "no CLIP can be loaded from"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"torn"), "no CLIP can be loaded from"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"no file named model\.safetensors"),
        (lambda folder: (folder / "config.json").write_text("{"), "not a valid JSON file"),
        (shutil.rmtree, "no CLIP can be loaded from"),
    ],
    ids=["layer", "type", "shape", "torn", "no weights", "config", "nothing"],
)
def test_what_is_no_whole_clip_is_refused(copy, damage, message):
    damage(copy)
    with pytest.raises(ConfigError, match=message):
        load_image_tower(str(copy))
