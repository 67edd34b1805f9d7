"""The image tower is CLIP's own, and whatever is not a whole CLIP is refused in a sentence."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from store.common.errors import ConfigError
from tests.embedder.small_models import save_siglip
from trainer.images.transform import CLIP_MEAN
from trainer.model.towers import load_image_tower, patchify


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


@pytest.fixture(scope="module", params=["siglip", "siglip2"])
def siglip(request, tmp_path_factory):
    """The kind of model, its folder, and the model itself."""
    folder = tmp_path_factory.mktemp("models") / request.param
    return request.param, folder, save_siglip(folder)


def own_features(kind: str, model, image: torch.Tensor) -> torch.Tensor:
    """What the whole model calls the image's features."""
    inputs = {"pixel_values": image}
    if kind == "siglip2":
        inputs = {
            "pixel_values": patchify(image, 8),
            "pixel_attention_mask": torch.ones(len(image), 16, dtype=torch.int32),
            "spatial_shapes": torch.full((len(image), 2), 4),
        }
    with torch.no_grad():
        return model.get_image_features(**inputs).pooler_output


def test_the_features_of_a_siglip_are_its_own(siglip):
    kind, folder, model = siglip
    tower = load_image_tower(str(folder))
    with torch.no_grad():
        features = tower.model(pixels())
    torch.testing.assert_close(features, own_features(kind, model, pixels()), atol=1e-6, rtol=0)
    assert features.std() > 0.1
    assert (tower.dim, tower.transform.size, tower.transform.squash) == (32, 32, True)
    assert len(tower.model.blocks) == 3


def test_a_tower_that_was_saved_alone_is_loaded_like_the_whole_model(siglip, clip_folder, tmp_path):
    for number, folder in enumerate((siglip[1], clip_folder)):
        tower = load_image_tower(str(folder))
        tower.model.save(tmp_path / str(number))
        alone = load_image_tower(str(tmp_path / str(number)))
        assert alone.dim == tower.dim
        with torch.no_grad():
            assert torch.equal(alone.model(pixels()), tower.model(pixels()))


def test_a_siglip_without_its_pooling_head_is_refused(siglip, tmp_path):
    folder = Path(shutil.copytree(siglip[1], tmp_path / "headless"))
    settings = json.loads((folder / "config.json").read_text())
    settings["vision_config"]["vision_use_head"] = False
    (folder / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ConfigError, match="has no pooling head"):
        load_image_tower(str(folder))


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
        (of_another_type, "holds a model of type 'bert'; expected 'clip', 'siglip'"),
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
