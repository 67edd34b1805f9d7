"""SigLIP's text towers: what transformers makes of captions padded to the whole length, we make too."""

import json
import shutil

import numpy as np
import pytest
import torch
import transformers

from embedder.models.load import load_encoder
from embedder.models.options import ModelOptions
from store.common.errors import ConfigError
from tests.embedder.small_models import save_siglip

CAPTIONS = ["A dog runs.", "two dogs, a ball", "a", "A dog runs.", "dog " * 40]


@pytest.fixture(scope="module", params=["siglip", "siglip2"])
def siglip(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / request.param
    return folder, save_siglip(folder)


def features(model, tokenizer, captions) -> np.ndarray:
    """As the model's documentation has it: padded to the whole length, and no mask."""
    inputs = tokenizer(captions, padding="max_length", max_length=16, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        return model.get_text_features(input_ids=inputs["input_ids"]).pooler_output.numpy()


def test_the_vectors_are_the_models_own_text_features(siglip):
    folder, model = siglip
    encoder = load_encoder(ModelOptions(model=str(folder), device="cpu"))
    expected = features(model, transformers.AutoTokenizer.from_pretrained(folder), CAPTIONS)
    np.testing.assert_allclose(encoder.encode(CAPTIONS), expected, atol=1e-6)
    assert np.linalg.norm(expected[0] - expected[1]) > 1e-3
    made = encoder.provenance
    assert (made.kind, made.pooling, made.max_length, made.normalize, made.dim) == ("clip-text", "last", 16, False, 32)


def test_a_caption_has_the_same_vector_in_every_batch(siglip):
    encoder = load_encoder(ModelOptions(model=str(siglip[0]), device="cpu"))
    for caption, vector in zip(CAPTIONS, encoder.encode(CAPTIONS), strict=True):
        np.testing.assert_allclose(encoder.encode([caption])[0], vector, atol=1e-6)


def test_a_shorter_limit_cuts_captions_but_pads_as_before(siglip):
    encoder = load_encoder(ModelOptions(model=str(siglip[0]), device="cpu", max_length=8))
    whole = load_encoder(ModelOptions(model=str(siglip[0]), device="cpu"))
    np.testing.assert_allclose(encoder.encode(["a dog"]), whole.encode(["a dog"]), atol=1e-6)
    assert len(encoder.tokenize(["dog " * 40])[0].ids) == 8


def test_captions_are_lower_cased_as_in_training(siglip):
    encoder = load_encoder(ModelOptions(model=str(siglip[0]), device="cpu"))
    np.testing.assert_array_equal(encoder.encode(["TWO Dogs"]), encoder.encode(["two dogs"]))


@pytest.fixture
def published(tmp_path):
    """A SigLIP whose folder names the slow tokenizer, as the published ones do."""
    model = save_siglip(tmp_path / "siglip")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "siglip")
    file = tmp_path / "siglip" / "tokenizer_config.json"
    settings = json.loads(file.read_text()) | {"tokenizer_class": "SiglipTokenizer", "eos_token": {"content": "</s>"}}
    file.write_text(json.dumps(settings))
    return tmp_path / "siglip", model, tokenizer


def test_the_slow_tokenizers_captions_lose_their_punctuation(published):
    folder, model, tokenizer = published
    encoder = load_encoder(ModelOptions(model=str(folder), device="cpu"))
    vectors = encoder.encode(["A dog's  ball, (red) [or] blue-ish!", "a"])
    np.testing.assert_allclose(vectors, features(model, tokenizer, ["a dogs ball red or blueish", "a"]), atol=1e-6)


def test_without_a_fast_tokenizer_the_remedy_is_named(published):
    folder, _, _ = published
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ConfigError, match=r"has no tokenizer\.json; save it with a fast tokenizer"):
        load_encoder(ModelOptions(model=str(folder), device="cpu"))


def test_another_pooling_is_refused(siglip):
    with pytest.raises(ConfigError, match="pools at its last position"):
        load_encoder(ModelOptions(model=str(siglip[0]), device="cpu", pooling="mean"))


def test_a_text_tower_that_was_saved_alone_makes_the_same_vectors(siglip, tmp_path):
    folder, model = siglip
    alone = tmp_path / "alone"
    shutil.copytree(folder, alone)
    (alone / "model.safetensors").unlink()
    model.text_model.save_pretrained(alone)
    one, other = (load_encoder(ModelOptions(model=str(f), device="cpu")) for f in (folder, alone))
    np.testing.assert_allclose(other.encode(CAPTIONS), one.encode(CAPTIONS), atol=1e-6)
