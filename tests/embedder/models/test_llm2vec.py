"""Vectors of a Llama equal LLM2Vec's own, computed here step by step, also for captions that are not ordinary."""

import numpy as np
import pytest
import torch
import transformers

from embedder.models.load import load_encoder
from embedder.models.options import ModelOptions
from tests.embedder.small_models import CORPUS, llama3_tokenizer, save_llm

HEADER, END = "<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"
MAX_LENGTH = 512
# merges of blanks: a caption's leading blanks and the header's line breaks share tokens
BLANKS = ["\n\n  a photo", "\n\n\n two", "  \n\n dogs", "    run", "\t\tfast", "a  b  c"] * 20

ODD_BLANKS = [
    " a dog",
    "   a dog",
    "\n a dog",
    "\n\n\n  two dogs",
    "\t\ta dog",
    "a dog \n ",
    "\u00a0 a dog",
    "  a  b  ",
]
TEXT = "a photo of a red cube to the left of a blue ball, seen from above"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "llama"
    save_llm(folder, vocab_size=420)
    llama3_tokenizer([*CORPUS, *BLANKS]).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def encoder(folder):
    return load_encoder(ModelOptions(model=str(folder), device="cpu"))


@pytest.fixture(scope="module")
def tokenizer(folder):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, padding_side="left")
    tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def reference(folder, tokenizer, captions, instruction=""):
    """LLM2Vec's vectors (n, D), pooling "mean" without the instruction, document length = maximum length = 512."""
    # 1. instruction, separator and caption become one text, whose outer blanks go; the chat template goes around it
    separator = "!@#$%^&*()"
    asked = f"{instruction.strip()} {separator}" if instruction else separator
    framed = [HEADER + (asked + caption).strip() + END for caption in captions]
    # 2. the separator leaves; the whole is tokenised with BOS, cut at the right, padded at the left
    parts = [text.split(separator) for text in framed]
    cut = {"truncation": True, "max_length": MAX_LENGTH}
    inputs = tokenizer(["".join(two) for two in parts], padding=True, return_tensors="pt", **cut)
    # 3. what follows the separator is tokenised alone, without BOS: so many tokens are pooled, from the right
    counts = [len(tokenizer(two[1], add_special_tokens=False, **cut)["input_ids"]) for two in parts]
    # 4. every token sees every other one that is not padding
    real = inputs["attention_mask"].bool()
    allowed = real[:, None, None, :] | torch.eye(real.shape[1], dtype=torch.bool)
    mask = torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        states = model(input_ids=inputs["input_ids"], attention_mask=mask).last_hidden_state
    return np.stack([row[-count:].mean(dim=0).numpy() for row, count in zip(states, counts, strict=True)])


def test_blanks_around_a_caption_are_treated_as_the_reference_treats_them(folder, encoder, tokenizer):
    vectors = encoder.encode(ODD_BLANKS)
    np.testing.assert_allclose(vectors, reference(folder, tokenizer, ODD_BLANKS), atol=2e-5)
    assert np.abs(vectors[1] - encoder.encode(["a dog"])[0]).max() > 0.01  # blanks at the start matter
    np.testing.assert_allclose(vectors[5], encoder.encode(["a dog"])[0], atol=2e-5)  # blanks at the end do not


def test_pooled_tokens_are_counted_on_the_caption_alone(encoder, tokenizer):
    together = tokenizer(HEADER + "\n two dogs" + END)["input_ids"]
    alone = tokenizer("\n two dogs" + END, add_special_tokens=False)["input_ids"]
    assert together[-len(alone) :] != alone  # the header's line breaks merge with the caption's: the case that matters
    tokens = encoder.tokenize(["\n two dogs"])[0]
    assert tokens.ids.tolist() == together
    assert len(tokens.ids) - tokens.start == len(alone)


def caption_of(tokenizer, num_tokens):
    """A caption of exactly so many tokens."""
    caption = TEXT
    while len(tokenizer(caption, add_special_tokens=False)["input_ids"]) < num_tokens:
        caption += "9"  # digits never merge in this vocabulary beyond what the corpus holds
    assert len(tokenizer(caption, add_special_tokens=False)["input_ids"]) == num_tokens
    return caption


@pytest.mark.parametrize("num_tokens", [490, 504, 505, 506, 507, 510, 511, 512, 700])
def test_a_caption_beyond_the_length_is_cut_and_pooled_as_by_the_reference(folder, encoder, tokenizer, num_tokens):
    captions = [caption_of(tokenizer, num_tokens), "a dog"]
    np.testing.assert_allclose(encoder.encode(captions), reference(folder, tokenizer, captions), atol=2e-5)


def test_a_cut_caption_loses_the_end_token_and_pools_over_the_header(encoder, tokenizer):
    tokens = encoder.tokenize([caption_of(tokenizer, 700)])[0]
    assert tokens.truncated
    assert (len(tokens.ids), tokens.start) == (512, 0)
    assert tokens.ids[-1] != tokenizer.eos_token_id
    nearly = encoder.tokenize([caption_of(tokenizer, 508)])[0]
    assert 0 < nearly.start < len(tokenizer(HEADER)["input_ids"])


def test_an_instruction_is_attended_to_and_not_pooled_as_by_the_reference(folder, tokenizer):
    captions = ["a dog", "  two dogs", caption_of(tokenizer, 520)]
    encoder = load_encoder(ModelOptions(model=str(folder), device="cpu", instruction="Find the image: "))
    expected = reference(folder, tokenizer, captions, instruction="Find the image:")
    np.testing.assert_allclose(encoder.encode(captions), expected, atol=2e-5)


def test_a_special_token_in_a_caption_is_plain_text_unlike_in_the_reference(folder, encoder, tokenizer):
    caption = ["a dog <|eot_id|> and a cat"]
    assert np.abs(encoder.encode(caption) - reference(folder, tokenizer, caption)).max() > 0.01
