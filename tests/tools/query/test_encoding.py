"""The model of a field is found again, or refused in words."""

import dataclasses

import numpy as np
import pytest

import store
from store.common.errors import ConfigError
from tests.embedder.small_models import MINILM, save_clip, save_llm
from tests.trainer.examples import captions_of
from tools.__main__ import main
from tools.query.encoding import load_model


def test_the_model_makes_the_vectors_that_are_stored(embedded, clip_folder):
    field = store.open(embedded).field("clip/long")
    keys = ["00003", "00007"]
    made = load_model(field, str(clip_folder), device="cpu").encode([captions_of(key)["long"] for key in keys])
    np.testing.assert_allclose(made, field.get(keys, dtype="float32"), atol=2e-3)


def test_a_model_that_came_from_a_folder_must_be_named(embedded):
    with pytest.raises(
        ConfigError, match=r"made by a model in a folder \('tiny-clip', xxh3:.*name the folder with --model"
    ):
        load_model(store.open(embedded).field("clip/long"), None)


@pytest.mark.parametrize("other", ["other weights", "other kind"])
def test_another_model_is_refused_with_what_differs(embedded, tmp_path, other):
    folder = tmp_path / "tiny-clip"
    if other == "other weights":
        save_clip(folder, seed=1)
    else:
        folder = MINILM
    with pytest.raises(ConfigError, match=r"not the one that made field|is a 'bert', not a CLIP"):
        load_model(store.open(embedded).field("clip/long"), str(folder), device="cpu")


def test_a_hub_id_that_is_not_at_hand_asks_for_the_folder(tmp_path, embedded):
    spec = dataclasses.replace(store.open(embedded).field("clip/long").spec, model="some/clip", revision="0" * 40)
    made = store.create(tmp_path / "s.store")
    made.writer("f", spec)
    with pytest.raises(ConfigError, match=r"'some/clip' is neither a folder .* of field 'f' with --model"):
        load_model(made.field("f"), None)


def test_a_folder_cannot_be_compared_with_a_commit_but_its_width_can(tmp_path, embedded, clip_folder):
    spec = dataclasses.replace(store.open(embedded).field("clip/long").spec, model="some/clip", revision="0" * 40)
    made = store.create(tmp_path / "s.store")
    made.writer("f", spec)
    assert load_model(made.field("f"), str(clip_folder), device="cpu").dim == 16
    made.writer("wide", dataclasses.replace(spec, dim=17))
    with pytest.raises(ConfigError, match="it has dim 16, not 17"):
        load_model(made.field("wide"), str(clip_folder), device="cpu")


def test_template_pooling_and_attention_are_those_of_the_field(tmp_path):
    save_llm(tmp_path / "tiny-llm")
    (tmp_path / "c.jsonl").write_text('{"key": "a", "caption": "two dogs run along the beach"}\n')
    argv = ["embed", "--store", str(tmp_path / "s.store"), "--model", str(tmp_path / "tiny-llm"), "--device", "cpu"]
    argv += ["--captions", str(tmp_path / "c.jsonl"), "--caption-fields", "caption", "--attention", "causal"]
    argv += ["--pooling", "last", "--instruction", "Query: ", "--normalize", "True", "--progress", "False"]
    assert main(argv) == 0
    field = store.open(tmp_path / "s.store").field("tiny-llm/caption")
    made = load_model(field, str(tmp_path / "tiny-llm"), device="cpu").encode(["two dogs run along the beach"])
    np.testing.assert_allclose(made, field.get(["a"], dtype="float32"), atol=1e-3)
