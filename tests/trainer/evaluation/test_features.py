"""Features for evaluation: the tuned tower, the adapter over stored vectors, and what does not fit."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from store.common.errors import CheckpointError, ConfigError, MissingKeysError
from store.common.fingerprint import fingerprint
from store.common.settings import build
from tests.embedder.small_models import save_clip
from tests.trainer.conftest import KEYS
from tests.trainer.examples import (
    CAPTION_DIM,
    JOINT_DIM,
    add_field,
    make_store,
    sample_members,
    seen,
    vectors,
    write_tar,
)
from trainer.checkpoint.export import export_folder
from trainer.checkpoint.folder import save_checkpoint
from trainer.checkpoint.model import load_model
from trainer.data.join import Join
from trainer.data.samples import ShardSamples
from trainer.evaluation import features as evaluate
from trainer.evaluation.features import image_features
from trainer.evaluation.texts import caption_features
from trainer.images.transform import BrokenImageError
from trainer.model.adapter import Adapter
from trainer.model.towers import load_image_tower
from trainer.stage2 import Stage2, Stage2Config

EMBEDDER = {"model": "llm", "revision": "main", "template": "", "pooling": "mean"}
SHAPE = {"dim_in": CAPTION_DIM, "dim_out": JOINT_DIM, "num_blocks": 1, "expansion": 2}


def make_checkpoint(folder: Path, clip: Path, stage: str = "stage2", **info) -> tuple[Path, dict[str, torch.Tensor]]:
    """A checkpoint of weights of its own, and these weights."""
    torch.manual_seed(3)
    adapter, tower = Adapter(**SHAPE), load_image_tower(str(clip)).model
    weights = {f"adapter.{name}": value for name, value in adapter.state_dict().items()}
    if stage == "stage2":
        weights |= {f"image.{name}": value + 0.1 for name, value in tower.named_parameters()}
        weights |= {"logit_scale": torch.ones(1)}
    weights = {name: value.detach().clone() for name, value in weights.items()}
    values = {"stage": stage, "step": 1, "adapter": SHAPE, "embedder": EMBEDDER, **info}
    return save_checkpoint(folder / stage, {"model": weights}, values, 1), weights


def test_clip_itself_has_its_own_tower_and_no_adapter(clip_folder):
    model = load_model(str(clip_folder), None)
    assert (model.adapter, model.checkpoint, model.embedder) == (None, None, None)
    original = load_image_tower(str(clip_folder)).model
    assert all(torch.equal(a, b) for a, b in zip(model.tower.model.parameters(), original.parameters(), strict=True))


def test_a_stage_2_checkpoint_brings_tower_and_adapter(clip_folder, tmp_path):
    checkpoint, weights = make_checkpoint(tmp_path, clip_folder)
    model = load_model(str(clip_folder), tmp_path / "stage2")
    assert model.checkpoint == checkpoint
    for name, value in model.tower.model.named_parameters():
        assert torch.equal(value, weights[f"image.{name}"])
    for name, value in model.adapter.named_parameters():
        assert torch.equal(value, weights[f"adapter.{name}"])
    assert not any(parameter.requires_grad for parameter in model.tower.model.parameters())


def test_a_stage_1_checkpoint_brings_an_adapter_beside_clips_own_tower(clip_folder, tmp_path):
    _, weights = make_checkpoint(tmp_path, clip_folder, "stage1")
    model = load_model(str(clip_folder), tmp_path / "stage1")
    original = load_image_tower(str(clip_folder)).model
    assert all(torch.equal(a, b) for a, b in zip(model.tower.model.parameters(), original.parameters(), strict=True))
    assert torch.equal(model.adapter.projection.weight, weights["adapter.projection.weight"])


def test_a_checkpoint_of_another_stage_is_refused(clip_folder, tmp_path):
    make_checkpoint(tmp_path, clip_folder, "pretrain")
    with pytest.raises(CheckpointError, match="is a checkpoint of pretrain; expected stage1 or stage2"):
        load_model(str(clip_folder), tmp_path / "pretrain")


def test_a_checkpoint_of_a_clip_of_another_shape_is_refused(clip_folder, tmp_path):
    checkpoint, weights = make_checkpoint(tmp_path, clip_folder)
    del weights["image.vision.visual_projection.weight"]
    info = json.loads((checkpoint / "checkpoint.json").read_text())
    save_checkpoint(tmp_path / "stage2", {"model": weights}, info, 1)
    with pytest.raises(CheckpointError, match=r"the image tower of .* does not fit CLIP"):
        load_model(str(clip_folder), tmp_path / "stage2")


def test_an_adapter_that_ends_in_another_width_is_refused(clip_folder, tmp_path):
    shape = SHAPE | {"dim_out": 24}
    weights = {f"adapter.{name}": value for name, value in Adapter(**shape).state_dict().items()}
    info = {"stage": "stage1", "step": 1, "adapter": shape, "embedder": EMBEDDER}
    save_checkpoint(tmp_path / "run", {"model": weights}, info, 1)
    with pytest.raises(CheckpointError, match=r"ends in 24 dimensions, CLIP .* in 16; give the CLIP that"):
        load_model(str(clip_folder), tmp_path / "run")


def test_image_features_come_in_the_samples_order_whatever_the_batches(clip_folder, shards, monkeypatch):
    tower, samples = load_image_tower(str(clip_folder)), ShardSamples(shards)
    tower.model.eval()
    monkeypatch.setattr(evaluate, "BATCH", 7)  # 24 samples: the last batch has three
    features = image_features(tower, samples, torch.device("cpu"))
    assert features.shape == (24, JOINT_DIM)
    assert features.dtype == torch.float32
    for i in (0, 6, 7, 23):
        pixels = seen(tower.transform, samples.image(i))
        with torch.no_grad():
            torch.testing.assert_close(features[i], F.normalize(tower.model(pixels), dim=-1)[0], rtol=1e-4, atol=1e-5)


def test_a_broken_image_is_named(clip_folder, tmp_path):
    shard = write_tar(tmp_path / "a.tar", [*sample_members(KEYS[0]), (f"{KEYS[1]}.jpg", b"torn")])
    with pytest.raises(BrokenImageError, match=f"sample '{KEYS[1]}' of shard .* cannot be decoded"):
        image_features(load_image_tower(str(clip_folder)), ShardSamples([shard]), torch.device("cpu"))


def test_clips_own_text_features_are_normalised_vectors_of_the_store(store_path):
    features = caption_features(Join(store_path, ["clip/short", "clip/long"]), KEYS[:5], None)
    assert features.shape == (2, 5, JOINT_DIM)
    for view, name in enumerate(("clip/short", "clip/long")):
        expected = vectors(name, 24, JOINT_DIM)[:5]
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        np.testing.assert_allclose(features[view], expected, rtol=1e-5)


def test_an_adapters_text_features_are_its_normalised_outputs(store_path):
    torch.manual_seed(0)
    adapter = Adapter(**SHAPE)
    (features,) = caption_features(Join(store_path, ["llm/short"]), KEYS[:5], adapter)
    expected = F.normalize(adapter(torch.from_numpy(vectors("llm/short", 24, CAPTION_DIM)[:5])), dim=-1)
    torch.testing.assert_close(features, expected.detach())


def test_a_caption_without_a_vector_is_refused(tmp_path):
    path = make_store(tmp_path / "s", KEYS[:3])
    with pytest.raises(MissingKeysError, match="1 of 4 keys have no vector in field 'llm/short'"):
        caption_features(Join(path, ["llm/short"]), KEYS[:4], None)


def test_an_adapter_takes_only_vectors_of_its_model(clip_folder, tmp_path):
    make_checkpoint(tmp_path, clip_folder)
    model = load_model(str(clip_folder), tmp_path / "stage2")
    path = make_store(tmp_path / "s", KEYS)
    add_field(path, "mistral/short", KEYS, CAPTION_DIM, revision="v2")
    model.require_fit(Join(path, ["llm/short"]))
    with pytest.raises(ConfigError, match=r"the adapter of .* was trained on vectors of 'llm'; field 'mistral/short'"):
        model.require_fit(Join(path, ["mistral/short"]))


def test_clip_takes_only_features_as_wide_as_its_own(clip_folder, store_path):
    model = load_model(str(clip_folder), None)
    model.require_fit(Join(store_path, ["clip/short"]))
    with pytest.raises(ConfigError, match=r"field 'llm/short' .* is 12 wide, the image features are 16"):
        model.require_fit(Join(store_path, ["llm/short"]))


@pytest.fixture(scope="module")
def other_clip(tmp_path_factory) -> Path:
    """Of the same shape as ``clip_folder``, with other weights."""
    folder = tmp_path_factory.mktemp("models") / "other-clip"
    save_clip(folder, seed=1)
    return folder


def test_an_adapter_of_stage_1_beside_another_clip_of_its_shape_is_refused(clip_folder, other_clip, tmp_path):
    teacher = EMBEDDER | {"model": "clip", "revision": fingerprint(clip_folder)}
    make_checkpoint(tmp_path, clip_folder, "stage1", teacher=teacher)
    load_model(str(clip_folder), tmp_path / "stage1")
    with pytest.raises(ConfigError, match=r"text space of 'clip' \(xxh3:.* is another model .*: give that one"):
        load_model(str(other_clip), tmp_path / "stage1")
    assert load_model(str(other_clip), tmp_path / "stage1", check_clip=False).adapter is not None
    with pytest.raises(ConfigError, match="or --check-clip False if they share their text space"):
        export_folder(str(other_clip), tmp_path / "stage1", tmp_path / "export")
    export_folder(str(other_clip), tmp_path / "stage1", tmp_path / "export", check_clip=False)


@pytest.mark.parametrize("more", [{"lock_image": True}, {"lora_rank": 2}, {}])
def test_a_checkpoint_of_stage_2_beside_another_clip_of_its_shape_is_refused(settings, other_clip, tmp_path, more):
    stage = Stage2(build(Stage2Config, settings | more))
    weights = {name: p.detach() for name, p in stage.module.named_parameters() if p.requires_grad}
    info = {"stage": "stage2", "step": 1, **stage.info}
    save_checkpoint(tmp_path / "run", {"model": weights}, info, 1)
    assert load_model(settings["clip"], tmp_path / "run").adapter is not None
    with pytest.raises(ConfigError, match=r"was trained with a CLIP of the weights xxh3:.* has others \(xxh3:"):
        load_model(str(other_clip), tmp_path / "run")
    with pytest.raises(ConfigError, match="was trained with a CLIP of the weights"):
        export_folder(str(other_clip), tmp_path / "run", tmp_path / "export")


def test_text_features_of_another_clip_are_refused(clip_folder, other_clip, tmp_path):
    path = make_store(tmp_path / "s", KEYS)
    add_field(path, "own/short", KEYS, JOINT_DIM, kind="clip-text", revision=fingerprint(clip_folder))
    load_model(str(clip_folder), None).require_fit(Join(path, ["own/short"]))
    with pytest.raises(ConfigError, match=r"field 'own/short' .* holds text features of 'own' \(xxh3:.* another model"):
        load_model(str(other_clip), None).require_fit(Join(path, ["own/short"]))
    load_model(str(other_clip), None, check_clip=False).require_fit(Join(path, ["own/short"]))


def test_the_drift_probe_puts_the_tuned_tower_beside_clips_own_text(clip_folder, tmp_path):
    make_checkpoint(tmp_path, clip_folder)
    model = load_model(str(clip_folder), tmp_path / "stage2")
    original = model.original()
    assert original.tower is model.tower
    assert original.adapter is None
