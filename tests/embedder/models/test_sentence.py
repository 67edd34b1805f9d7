"""Folders of sentence-transformers, read without that library, give the vectors that it gives."""

import json

import numpy as np
import pytest
import torch

from embedder.models.load import load_encoder
from embedder.models.options import ModelOptions
from store.common.errors import ConfigError
from tests.embedder.small_models import MINILM, save_llm

CAPTIONS = ["  A dog runs.  ", "two cats and a ball on a sofa, seen from above", "a", "word " * 400]


@pytest.fixture(scope="module")
def theirs():
    return pytest.importorskip("sentence_transformers")


def ours(folder, **changes):
    return load_encoder(ModelOptions(model=str(folder), device="cpu", **changes))


def test_minilm_gives_the_same_vectors(theirs):
    expected = theirs.SentenceTransformer(str(MINILM), device="cpu").encode(CAPTIONS)
    np.testing.assert_allclose(ours(MINILM).encode(CAPTIONS), expected, atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "lasttoken"])
@pytest.mark.parametrize("dense", [False, True], ids=["", "dense"])
def test_every_pooling_with_and_without_a_dense_layer_gives_the_same_vectors(theirs, tmp_path, pooling, dense):
    transformer = theirs.models.Transformer(str(MINILM), max_seq_length=64)
    modules = [transformer, theirs.models.Pooling(384, pooling_mode=pooling)]
    if dense:
        torch.manual_seed(0)
        modules.append(theirs.models.Dense(384, 24, activation_function=torch.nn.Tanh()))
    model = theirs.SentenceTransformer(modules=modules, device="cpu")
    model.save(str(tmp_path / "folder"))
    encoder = ours(tmp_path / "folder")
    assert (encoder.provenance.max_length, encoder.provenance.normalize) == (64, False)
    assert encoder.dim == (24 if dense else 384)
    np.testing.assert_allclose(encoder.encode(CAPTIONS), model.encode(CAPTIONS), atol=2e-5)


def test_an_instruction_is_the_prompt_of_sentence_transformers(theirs):
    model = theirs.SentenceTransformer(str(MINILM), device="cpu")
    expected = model.encode(CAPTIONS[:3], prompt="query: ")
    np.testing.assert_allclose(ours(MINILM, instruction="query: ").encode(CAPTIONS[:3]), expected, atol=1e-5)


@pytest.mark.parametrize("prompt", [None, "Instruct: describe\nQuery: "], ids=["plain", "prompt"])
def test_a_prompt_can_be_left_out_of_the_mean(theirs, tmp_path, prompt):
    modules = [theirs.models.Transformer(str(MINILM)), theirs.models.Pooling(384, include_prompt=False)]
    model = theirs.SentenceTransformer(modules=modules, device="cpu")
    model.save(str(tmp_path / "folder"))
    expected = model.encode(CAPTIONS[:3], prompt=prompt)
    np.testing.assert_allclose(ours(tmp_path / "folder", instruction=prompt).encode(CAPTIONS[:3]), expected, atol=1e-5)


def test_a_default_prompt_is_used(theirs, tmp_path):
    modules = [theirs.models.Transformer(str(MINILM)), theirs.models.Pooling(384)]
    prompts = {"document": "passage: "}
    model = theirs.SentenceTransformer(modules=modules, prompts=prompts, default_prompt_name="document", device="cpu")
    model.save(str(tmp_path / "folder"))
    encoder = ours(tmp_path / "folder")
    assert encoder.provenance.template == "passage: {caption}"
    np.testing.assert_allclose(encoder.encode(CAPTIONS[:3]), model.encode(CAPTIONS[:3]), atol=1e-5)


def test_a_decoder_with_last_token_pooling_stays_causal(theirs, tmp_path):
    save_llm(tmp_path / "qwen3", "qwen3")
    modules = [theirs.models.Transformer(str(tmp_path / "qwen3"))]
    modules += [theirs.models.Pooling(32, pooling_mode="lasttoken"), theirs.models.Normalize()]
    model = theirs.SentenceTransformer(modules=modules, device="cpu")
    model.save(str(tmp_path / "folder"))
    encoder = ours(tmp_path / "folder", instruction="Instruct: find\nQuery:")
    assert (encoder.provenance.kind, encoder.provenance.pooling, encoder.provenance.normalize) == (
        "sentence",
        "last",
        True,
    )
    expected = model.encode(CAPTIONS[1:3], prompt="Instruct: find\nQuery:")
    np.testing.assert_allclose(encoder.encode(CAPTIONS[1:3]), expected, atol=2e-5)


def test_an_unknown_module_is_refused(tmp_path):
    for file in MINILM.iterdir():
        if file.is_file():
            (tmp_path / file.name).symlink_to(file)
    (tmp_path / "modules.json").unlink()
    modules = [{"type": "sentence_transformers.models.Transformer", "path": ""}]
    modules += [{"type": "sentence_transformers.models.WordWeights", "path": "1_WordWeights"}]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ConfigError, match=r"module 'WordWeights' in the modules.json of .* is not implemented"):
        ours(tmp_path)
