"""Stage 1 from the store alone: its data, what is refused, and its loss by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch

import store
from store.common.errors import ConfigError, MissingKeysError, StaleCaptionError
from store.common.fingerprint import fingerprint
from store.common.settings import build
from tests.embedder.small_models import save_clip
from tests.trainer.conftest import KEYS
from tests.trainer.examples import (
    CAPTION_DIM,
    JOINT_DIM,
    add_field,
    captions_of,
    encoded,
    make_store,
    picture,
    vectors,
)
from trainer.data import texts
from trainer.data.texts import TextConfig, VectorData
from trainer.model.adapter import Adapter
from trainer.objectives.inheritance import InheritanceObjective
from trainer.stage1 import Stage1, Stage1Config

FIELDS = {"fields": ("llm/short", "llm/long"), "teacher_fields": ("clip/short", "clip/long")}


def make_config(path: Path, **settings) -> Stage1Config:
    return build(Stage1Config, {"output": Path("run"), "store": path, "batch_size": 4, **FIELDS, **settings})


def data_config(path: Path, **settings) -> TextConfig:
    return make_config(path, **settings).data


def load(data: VectorData, samples: list[int]):
    return data.load(np.array(samples), 0, np.arange(len(samples)))


def test_a_batch_holds_both_views_of_captions_and_teachers_by_key(store_path):
    batch = load(VectorData(data_config(store_path)), [5, 0, 23])
    rows = [5, 0, 23]
    assert batch["caption"].shape == (2, 3, CAPTION_DIM)
    assert batch["teacher"].shape == (2, 3, JOINT_DIM)
    for view, name in enumerate(("short", "long")):
        assert np.array_equal(batch["caption"][view], vectors(f"llm/{name}", 24, CAPTION_DIM)[rows])
        assert np.array_equal(batch["teacher"][view], vectors(f"clip/{name}", 24, JOINT_DIM)[rows])


def test_keys_that_stand_together_in_the_store_are_read_together(store_path, monkeypatch):
    monkeypatch.setattr(texts, "KEYS_READ_TOGETHER", 10)
    assert VectorData(data_config(store_path)).sources[0].shard_sizes == [10, 10, 4]
    monkeypatch.setattr(texts, "KEYS_READ_TOGETHER", 12)
    assert VectorData(data_config(store_path)).sources[0].shard_sizes == [12, 12]


def test_a_key_list_chooses_what_is_trained_on(store_path, tmp_path):
    file = tmp_path / "keys.txt"
    file.write_text("\n".join([KEYS[9], KEYS[2]]))
    data = VectorData(data_config(store_path, keys=file))
    assert data.sources[0].num_samples == 2
    expected = vectors("llm/short", 24, CAPTION_DIM)[[2, 9]]
    assert np.array_equal(load(data, [0, 1])["caption"][0], expected)


def test_a_key_that_the_teacher_lacks_is_refused_or_left_out_and_counted(tmp_path):
    path = make_store(tmp_path / "s", KEYS[:6])
    add_field(path, "llm2/short", KEYS[:10], CAPTION_DIM)
    settings = {"fields": ("llm2/short",), "teacher_fields": ("clip/short",)}
    with pytest.raises(MissingKeysError, match="4 of 10 keys have no vector in field 'clip/short'"):
        VectorData(data_config(path, **settings))
    data = VectorData(data_config(path, missing="skip", **settings))
    assert (data.sources[0].num_samples, data.sources[0].left_out) == (6, {"without a vector": 4})
    assert np.array_equal(load(data, [5])["teacher"][0], vectors("clip/short", 6, JOINT_DIM)[[5]])


def test_teachers_in_another_order_than_the_fields_are_refused(store_path):
    with pytest.raises(ConfigError, match=r"field 'llm/short' is made from captions 'short', its teacher 'clip/long' "):
        VectorData(data_config(store_path, teacher_fields=("clip/long", "clip/short")))


def test_a_teacher_of_other_captions_is_refused(tmp_path):
    """The captions were changed and embedded anew, but only by one of the two models."""
    path = make_store(tmp_path / "s", KEYS[:4])
    captions = [captions_of(key)["short"] for key in KEYS[:4]]
    captions[2] = "a better caption"
    spec = store.open(path).field("clip/short").spec
    writer = store.open(path, mode="a").writer("clip/new", spec)
    writer.commit("block", KEYS[:4], vectors("clip/new", 4, JOINT_DIM), store.caption_hashes(captions))
    message = r"1 of 4 keys, first '000000002', have a vector in 'llm/short' and a teacher in 'clip/new' of different"
    with pytest.raises(StaleCaptionError, match=message):
        VectorData(data_config(path, fields=("llm/short",), teacher_fields=("clip/new",)))


def test_a_teacher_of_unknown_captions_is_taken(tmp_path):
    path = make_store(tmp_path / "s", KEYS[:4])
    writer = store.open(path, mode="a").writer("clip/new", store.open(path).field("clip/short").spec)
    writer.commit("block", KEYS[:4], vectors("clip/new", 4, JOINT_DIM), np.full(4, store.UNKNOWN_CAPTION, np.uint64))
    data = VectorData(data_config(path, fields=("llm/short",), teacher_fields=("clip/new",)))
    assert np.array_equal(load(data, [3])["teacher"][0], vectors("clip/new", 4, JOINT_DIM)[[3]])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"teacher_fields": ("clip/short",)},
            "names 2 fields and 1 teacher_fields; expected 2 of each",
        ),
        ({"expansion": 0}, "expansion is 0; expected at least 1"),
        ({"zero_stage": 3}, "zero_stage 3 is refused"),
        ({"seed": -1}, "seed is -1; expected at least 0"),
        ({"learning_rate": 0.0}, r"learning_rate is 0\.0; expected above 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(store_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        make_config(store_path, **settings)


def test_evaluation_on_the_way_asks_for_the_image_tower(store_path):
    sets = {"eval_every": 5, "eval_sets": Path("sets.yaml"), "eval_store": store_path, "eval_field": "llm/short"}
    with pytest.raises(ConfigError, match="needs the CLIP whose image tower fits the adapter"):
        make_config(store_path, **sets)


def test_stage_1_is_evaluated_only_beside_the_clip_of_its_teacher(clip_folder, tmp_path):
    save_clip(tmp_path / "other", seed=1)
    path = make_store(tmp_path / "s", KEYS)
    add_field(path, "ours/short", KEYS, JOINT_DIM, kind="clip-text", revision=fingerprint(clip_folder))
    (tmp_path / "photos.jsonl").write_text('{"image": "1.jpg", "caption": "a photo"}\n')
    (tmp_path / "1.jpg").write_bytes(encoded(picture(1)))
    (tmp_path / "sets.yaml").write_text("sets: {photos: {layout: jsonl, annotations: photos.jsonl, images: .}}")
    spec = store.open(path).field("llm/short").spec
    writer = store.open(path, mode="a").writer("llm/eval", spec)
    writer.commit("block", ["photos/1#0"], vectors("llm/eval", 1, CAPTION_DIM), store.caption_hashes(["a photo"]))
    more = {"eval_every": 1, "eval_sets": tmp_path / "sets.yaml", "eval_store": path, "eval_field": "llm/eval"}
    more |= {"fields": ("llm/short",), "teacher_fields": ("ours/short",)}
    assert Stage1(make_config(path, clip=str(clip_folder), **more)).evaluated is not None
    with pytest.raises(ConfigError, match=r"the adapter of this run learned the text space of 'ours' .* another model"):
        Stage1(make_config(path, clip=str(tmp_path / "other"), **more))


def test_the_adapter_goes_from_the_embedders_width_to_the_joint_space(store_path):
    stage = Stage1(make_config(store_path, num_blocks=4, expansion=2))
    assert stage.info["adapter"] == {"dim_in": CAPTION_DIM, "dim_out": JOINT_DIM, "num_blocks": 4, "expansion": 2}
    assert stage.info["embedder"] == {"model": "llm", "revision": "main", "template": "", "pooling": "mean"}
    batch = load(stage.data, [0, 1, 2])
    loss, _ = stage.module(batch)
    loss.backward()
    assert all(p.grad is not None for p in stage.module.parameters())


class Passing(Adapter):
    """An adapter that hands its input on, so that losses can be worked out by hand."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)

    def forward(self, caption_BD: torch.Tensor) -> torch.Tensor:
        return caption_BD


# Two views of three samples in the plane, at these angles; chords are 2 sin(angle / 2).
RIGHT, UP, LEFT = (1.0, 0.0), (0.0, 1.0), (-1.0, 0.0)
BATCH = {
    "caption": torch.tensor([[RIGHT, UP, LEFT], [RIGHT, RIGHT, RIGHT]]),
    "teacher": torch.tensor([[RIGHT, RIGHT, LEFT], [UP, LEFT, RIGHT]]),
}


def test_the_loss_sums_both_views_and_the_structure_of_the_first():
    loss, report = InheritanceObjective(Passing(), structure=True, scaling="reference")(BATCH)
    # squared distances: first view 0, 2, 0; second view 2, 4, 0
    assert report["loss/instance"].item() == pytest.approx(8 / 3)
    # distances of the first view (pairs 01, 02, 12): student root 2, 2, root 2; teacher 0, 2, 2
    root = 2**0.5
    pairs = (root - 0.5) + 0 + 0.5 * (2 - root) ** 2  # smooth l1: beyond 1 it is linear
    assert report["loss/structure"].item() == pytest.approx(pairs / 3)
    assert loss.item() == pytest.approx(8 + pairs)  # the published sums
    # cosines: 1, 0, 1 and 0, -1, 1
    assert report["cosine"].item() == pytest.approx(2 / 6)


def test_the_invariant_loss_gives_both_terms_the_shares_of_the_paper_s_128_samples():
    objective = InheritanceObjective(Passing(), structure=True, scaling="invariant")
    loss, report = objective(BATCH)
    assert loss.item() == pytest.approx(report["loss/instance"].item() + 63.5 * report["loss/structure"].item())


def test_without_structure_the_instance_term_is_all():
    loss, report = InheritanceObjective(Passing(), structure=False, scaling="invariant")(BATCH)
    assert loss.item() == report["loss/instance"].item() == pytest.approx(8 / 3)


def test_the_length_of_teacher_vectors_does_not_matter():
    objective = InheritanceObjective(Passing(), structure=True, scaling="invariant")
    longer = {name: value * 7 for name, value in BATCH.items()}
    assert objective(longer)[0].item() == pytest.approx(objective(BATCH)[0].item(), rel=1e-5)
