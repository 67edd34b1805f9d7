"""Towers of open_clip: names, preprocessing, and the tower itself where open_clip can be imported."""

import subprocess
import sys

import pytest
import torch

from store.common.errors import ConfigError
from trainer.images.transform import ImageTransform
from trainer.model.layers import layer_scale
from trainer.model.open_clip_tower import OpenClipTower, transform_of
from trainer.model.towers import load_image_tower

SETTINGS = {
    "size": (336, 336),
    "mode": "RGB",
    "mean": (0.4, 0.5, 0.6),
    "std": (0.1, 0.2, 0.3),
    "interpolation": "bilinear",
    "resize_mode": "shortest",
    "fill_color": 0,
}


def test_its_preprocessing_is_ours_by_other_names():
    expected = ImageTransform(size=336, mean=(0.4, 0.5, 0.6), std=(0.1, 0.2, 0.3), resample=2)
    assert transform_of(SETTINGS, "it") == expected
    assert transform_of(SETTINGS | {"size": 336}, "it") == expected
    assert transform_of(SETTINGS | {"resize_mode": "squash"}, "it").squash


@pytest.mark.parametrize("changes", [{"size": (336, 224)}, {"resize_mode": "longest"}])
def test_images_that_are_not_square_or_are_padded_are_refused(changes):
    with pytest.raises(ConfigError, match="expected square ones, not padded"):
        transform_of(SETTINGS | changes, "it")


@pytest.mark.parametrize("clip", ["open_clip:EVA02-L-14-336", "open_clip:", "open_clip::x"])
def test_a_name_without_weights_is_refused(clip):
    with pytest.raises(ConfigError, match=r"names no weights; expected open_clip:MODEL:PRETRAINED"):
        load_image_tower(clip)


@pytest.mark.parametrize("clip", ["open_clip:EVA02-L-14-336:merged2b_s6b_b61k", "hf-hub:timm/eva02"])
def test_without_open_clip_the_extra_is_named(clip, monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)  # what an import meets where it is not installed
    with pytest.raises(ConfigError, match=r"needs open_clip, .*install it with `pip install keyclip\[open-clip\]`"):
        load_image_tower(clip)


@pytest.mark.slow
def test_training_and_evaluation_never_import_it():
    code = (
        "import sys, trainer.stage2, trainer.evaluation.features, trainer.checkpoint.export; "
        "assert 'open_clip' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def importable() -> bool:
    try:
        import open_clip  # noqa: F401
    except (ImportError, RuntimeError):
        return False
    return True


@pytest.mark.skipif("not importable()", reason="open_clip, or a torchvision that fits this torch, is not installed")
def test_an_eva02_computes_what_open_clip_computes_and_is_trained_like_the_others(tmp_path):
    """Random weights of EVA02-B-16, saved and loaded by their file."""
    import open_clip

    torch.manual_seed(0)
    model = open_clip.create_model("EVA02-B-16").eval()
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    tower = load_image_tower(f"open_clip:EVA02-B-16:{tmp_path / 'weights.pt'}")
    image = torch.randn(2, 3, tower.transform.size, tower.transform.size)
    with torch.no_grad():
        torch.testing.assert_close(tower.model(image), model.encode_image(image), atol=1e-6, rtol=0)
    assert isinstance(tower.model, OpenClipTower)
    assert (tower.dim, tower.transform.size, len(tower.model.blocks)) == (512, 224, 12)
    scale = layer_scale(tower.model, 0.5)
    scales = {name: scale(name) for name, _ in tower.model.named_parameters()}
    assert scales["vision.trunk.cls_token"] == scales["vision.trunk.pos_embed"] == 0.5**13
    assert scales["vision.trunk.blocks.11.attn.proj.weight"] == 0.5
    assert {value for name, value in scales.items() if ".head." in name} == {1.0}
    tower.model.checkpoint_gradients()
    tower.model.normalized(image).sum().backward()
    assert all(p.grad is not None for p in tower.model.blocks.parameters())
