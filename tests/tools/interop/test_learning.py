"""Imported and embedded vectors share one field, since the import asks the model how it makes them."""

import shutil

import numpy as np
import pytest

import store
from embedder.models.load import load_encoder
from embedder.models.options import ModelOptions
from store.common.errors import ConfigError
from tests.embedder.small_models import save_llm
from tests.tools.interop.examples import (
    FIELDS,
    captions_of,
    fails,
    keys_of,
    run,
    vector_members,
    write_images,
    write_tar,
)
from trainer.data.join import Join

KEYS = {name: keys_of(number, 4) for number, name in enumerate(("00000", "00001"))}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "llama"
    save_llm(folder)
    return folder


@pytest.fixture
def data(model, tmp_path):
    """Two image shards and, of the first, the sidecar that the model's owner made; the folder."""
    encoder = load_encoder(ModelOptions(model=str(model), device="cpu"))
    for name, keys in KEYS.items():
        write_images(tmp_path / f"{name}.tar", keys)
    columns = {field: encoder.encode([captions_of(key)[field] for key in KEYS["00000"]]) for field in FIELDS}
    write_tar(tmp_path / "00000_text_embeddings.tar", vector_members(KEYS["00000"], columns))
    return tmp_path


def import_sidecar(data, path, model, **flags):
    return run(
        "vectors", "import", "sidecar", data / "00000_text_embeddings.tar", store=data / path, model=model, **flags
    )


def embed(data, path, model, **flags):
    settings = {"shards": sorted(data.glob("0000?.tar")), "caption_fields": FIELDS, "device": "cpu", "progress": False}
    return run("embed", store=data / path, model=model, field_prefix="llama", **settings, **flags)


def test_embed_adds_what_the_sidecars_lack_and_training_takes_both(data, model):
    assert import_sidecar(data, "s.store", model, field_prefix="llama", dtype="float16") == 0
    assert embed(data, "s.store", model) == 0
    assert embed(data, "embedded.store", model) == 0
    field = store.open(data / "s.store").field("llama/longSV_captions")
    keys = [*KEYS["00000"], *KEYS["00001"]]
    assert sorted(field.keys()) == sorted(keys)
    other = store.open(data / "embedded.store").field("llama/longSV_captions")
    assert field.spec == other.spec
    np.testing.assert_allclose(field.get(keys, dtype=np.float32), other.get(keys, dtype=np.float32), atol=2e-2)
    names = [f"llama/{name}" for name in FIELDS]
    mixed, embedded = Join(data / "s.store", names), Join(data / "embedded.store", names)
    mixed.require_made_by(embedded.made_by, "the adapter of 'runs/stage1'")  # what stage 2 asks of stage 1


def test_sidecars_can_follow_what_was_embedded(data, model):
    (data / "00000.tar").rename(data / "later")
    assert embed(data, "s.store", model) == 0
    (data / "later").rename(data / "00000.tar")
    assert import_sidecar(data, "s.store", model, field_prefix="llama", dtype="float16") == 0
    assert len(store.open(data / "s.store").field("llama/longSV_captions")) == 8


def test_a_hub_id_is_asked_in_the_hubs_cache_and_nothing_is_downloaded(data, model, tmp_path, monkeypatch, capsys):
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "cache" / "models--someone--llama"
    shutil.copytree(model, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    assert import_sidecar(data, "s.store", "someone/llama", field_prefix="llama") == 0
    spec = store.open(data / "s.store").field("llama/longSV_captions").spec
    assert (spec.model, spec.revision, spec.pooling) == ("someone/llama", commit, "mean-text")
    assert "note:" not in capsys.readouterr().out


def test_a_model_that_is_not_at_hand_is_said_with_the_remedy_everywhere(data, model, capsys):
    assert import_sidecar(data, "s.store", "someone/elses-llama", field_prefix="llama") == 0
    assert "note: the files of model 'someone/elses-llama' are not on this machine" in capsys.readouterr().out
    fails(capsys, embed(data, "s.store", model), "revision is 'unknown', not 'xxh3:", "import again", "--model")
    assert embed(data, "embedded.store", model) == 0
    names = [f"llama/{name}" for name in FIELDS]
    embedded = Join(data / "embedded.store", names)
    with pytest.raises(ConfigError, match=r"import again into a field of another name, with --model as the model's"):
        Join(data / "s.store", names).require_made_by(embedded.made_by, "the adapter of 'runs/stage1'")


def test_flags_win_over_what_the_model_says(data, model):
    flags = {"revision": "a", "pooling": "last", "template": "{caption}!", "max_length": 99, "field_prefix": "f"}
    assert import_sidecar(data, "s.store", model, **flags) == 0
    spec = store.open(data / "s.store").field("f/longSV_captions").spec
    assert (spec.revision, spec.pooling, spec.template, spec.max_length) == ("a", "last", "{caption}!", 99)


def test_vectors_of_another_width_than_the_models_are_refused(data, tmp_path, capsys):
    save_llm(tmp_path / "wide", hidden_size=64)
    capsys.readouterr()
    status = import_sidecar(data, "s.store", tmp_path / "wide")
    fails(capsys, status, "makes vectors of 64 numbers", "have 32")
    assert not (data / "s.store").exists()


def test_another_stored_type_is_refused_with_the_flag_that_mends_it(data, model, capsys):
    assert embed(data, "s.store", model) == 0
    capsys.readouterr()
    fails(capsys, import_sidecar(data, "s.store", model, field_prefix="llama"), "dtype is", "--dtype float16")
