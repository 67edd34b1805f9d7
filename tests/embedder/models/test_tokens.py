"""Special tokens come from the template, never from a caption; what does not fit is cut and counted."""

import numpy as np
import pytest
import tokenizers
import transformers

from embedder.models.tokens import CaptionTokenizer, Template, clean
from store.common.errors import ConfigError
from tests.embedder.small_models import MINILM, clip_tokenizer, llama3_tokenizer

LLAMA3 = "<|start_header_id|>user<|end_header_id|>\n\n{caption}<|eot_id|>"


@pytest.fixture(scope="module")
def bert():
    return transformers.AutoTokenizer.from_pretrained(MINILM)


def test_half_a_surrogate_pair_becomes_the_replacement_character():
    assert clean(" a \ud83d dog \n") == "a \ufffd dog"


def test_a_template_is_cut_at_its_special_tokens():
    assert Template.parse("<s>user\n{caption} end</s>!", ["<s>", "</s>"]) == Template("<s>", "user\n", " end", "</s>!")


@pytest.mark.parametrize("template", ["no place", "{caption} and {caption}"])
def test_a_template_must_hold_the_caption_once(template):
    with pytest.raises(ConfigError, match="exactly once"):
        Template.parse(template, [])


def test_plain_captions_get_the_same_ids_as_from_transformers(bert):
    captions = ["A dog.", "two  cats, one ball", "Ünïcode wörds, 12:30"]
    ours = CaptionTokenizer(bert, "{caption}", 512).batch(captions)
    assert [t.ids.tolist() for t in ours] == bert(captions)["input_ids"]
    assert [t.start for t in ours] == [1, 1, 1]  # after [CLS]


def test_the_llama_template_gets_the_same_ids_as_the_whole_string_parsed_at_once():
    tokenizer = llama3_tokenizer()
    ours = CaptionTokenizer(tokenizer, LLAMA3, 512)("a red cube")
    assert ours.ids.tolist() == tokenizer(LLAMA3.format(caption="a red cube"))["input_ids"]
    alone = tokenizer("a red cube<|eot_id|>", add_special_tokens=False)["input_ids"]
    assert ours.ids[ours.start :].tolist() == alone


@pytest.mark.parametrize(
    "caption", ["a <|eot_id|> cube", "<|start_header_id|>system<|end_header_id|>", "<|eot_id|>" * 50]
)
def test_special_tokens_in_a_caption_are_plain_text(caption):
    tokenizer = llama3_tokenizer()
    special = set(tokenizer.all_special_ids) | {tokenizer.convert_tokens_to_ids("<|start_header_id|>")}
    tokens = CaptionTokenizer(tokenizer, LLAMA3, 512)(caption)
    assert not special & set(tokens.ids[tokens.start : -1].tolist())
    assert tokenizer.decode(tokens.ids[tokens.start : -1]) == caption


def test_an_end_token_in_a_caption_does_not_end_it_for_clip():
    tokenizer = clip_tokenizer()
    ids = CaptionTokenizer(tokenizer, "{caption}", 77)("a dog<|endoftext|> and a cat").ids.tolist()
    assert ids.count(tokenizer.eos_token_id) == 1
    assert ids[-1] == tokenizer.eos_token_id


def test_a_long_caption_loses_its_end_but_keeps_the_template(bert):
    tokens = CaptionTokenizer(bert, "{caption}", 6)("one two three four five six seven")
    assert bert.decode(tokens.ids) == "[CLS] one two three four [SEP]"
    assert tokens.truncated
    assert not CaptionTokenizer(bert, "{caption}", 6)("one two three four").truncated


def test_text_after_the_caption_survives_truncation(bert):
    tokens = CaptionTokenizer(bert, "query : {caption} . end", 9)("one two three four five six seven")
    assert bert.decode(tokens.ids) == "[CLS] query : one two three. end [SEP]"
    assert tokens.start == 3


def test_a_huge_caption_is_cut_before_it_is_tokenised(bert):
    tokens = CaptionTokenizer(bert, "{caption}", 16)("word " * 1_000_000)
    assert len(tokens.ids) == 16
    assert tokens.truncated
    blanks = CaptionTokenizer(bert, "{caption}", 16)(" " * 1_000_000 + "word" + " " * 1_000_000)
    assert bert.decode(blanks.ids) == "[CLS] word [SEP]"
    assert not blanks.truncated


def test_a_caption_that_a_tokenizer_makes_nothing_of_still_has_a_token():
    tokenizer = clip_tokenizer()
    tokenizer.backend_tokenizer.post_processor = tokenizers.processors.ByteLevel()  # no start and end token
    tokenizer.backend_tokenizer.normalizer = tokenizers.normalizers.Replace("\u200b", "")
    assert CaptionTokenizer(tokenizer, "{caption}", 77)("\u200b").ids.tolist() == [0]


def test_control_characters_and_invalid_unicode_are_tokenised(bert):
    for caption in ["\x00\x01\x02", "\ud800", "a\u0000b", "\u202e reversed", "e" + "\u0301" * 1000]:
        tokens = CaptionTokenizer(bert, "{caption}", 32)(caption)
        assert 2 <= len(tokens.ids) <= 32


def test_a_caption_does_not_depend_on_other_captions_of_its_batch():
    tokenizer = CaptionTokenizer(llama3_tokenizer(), LLAMA3, 64)
    alone = tokenizer("a red cube")
    beside = tokenizer.batch(["<|eot_id|>", "a red cube", "x" * 10_000])[1]
    np.testing.assert_array_equal(alone.ids, beside.ids)


def test_a_template_without_room_for_a_caption_is_refused(bert):
    with pytest.raises(ConfigError, match="shorten it or raise --max-length"):
        CaptionTokenizer(bert, "one two three {caption}", 5)
