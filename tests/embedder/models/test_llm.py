"""Decoder LLMs with LLM2Vec semantics: parity with an independent computation, whatever else is in the batch."""

import numpy as np
import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file

from embedder.models.llm import LLAMA3_TEMPLATE, require_attention
from embedder.models.load import load_encoder
from embedder.models.options import ModelOptions
from store.common.errors import ConfigError
from tests.embedder.small_models import save_llm

CAPTIONS = [
    "a photo of a red cube to the left of a blue ball",
    "dog",
    "two dogs run along the beach, chasing a yellow frisbee, while the quick brown fox jumps over the lazy dog",
    "0123456789",
]


def options(folder, **changes):
    return ModelOptions(model=str(folder), device="cpu", **changes)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    save_llm(folder)
    return folder


def reference(folder, captions, template=LLAMA3_TEMPLATE, visible=torch.ones_like):
    """LLM2Vec's vectors, written from its description: one left-padded batch, own mask, own count of pooled tokens.

    ``visible`` makes the (L, L) matrix of which token sees which, before padding is taken away.
    """
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = transformers.AutoModel.from_pretrained(folder).eval()  # causal, as its config says
    inputs = tokenizer([template.replace("{caption}", c) for c in captions], padding=True, return_tensors="pt")
    length = inputs["input_ids"].shape[1]
    allowed = visible(torch.ones(length, length)).bool()[None, None] & inputs["attention_mask"].bool()[:, None, None, :]
    allowed |= torch.eye(length, dtype=torch.bool)  # padding sees itself, so that no row of the softmax is empty
    mask = torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)
    with torch.inference_mode():
        states = model(input_ids=inputs["input_ids"], attention_mask=mask).last_hidden_state
    tail = template.split("{caption}")[1]
    counts = [len(tokenizer(c + tail, add_special_tokens=False)["input_ids"]) for c in captions]
    return torch.stack([row[-count:].mean(dim=0) for row, count in zip(states, counts, strict=True)]).numpy()


@pytest.mark.parametrize("model_type", ["llama", "mistral", "qwen2", "qwen3"])
def test_vectors_equal_the_reference_semantics_computed_independently(tmp_path, model_type):
    save_llm(tmp_path / model_type, model_type)
    encoder = load_encoder(options(tmp_path / model_type))
    expected = reference(tmp_path / model_type, CAPTIONS)
    np.testing.assert_allclose(encoder.encode(CAPTIONS), expected, atol=2e-5)
    causal = reference(tmp_path / model_type, CAPTIONS, visible=torch.tril)
    assert np.abs(expected - causal).max() > 0.05  # the mask matters for these weights


def four_on_either_side(ones):
    return torch.tril(torch.triu(ones, -4), 4)


def test_a_sliding_window_does_not_bring_causality_back(tmp_path):
    save_llm(tmp_path / "mistral", "mistral", sliding_window=4)
    encoder = load_encoder(options(tmp_path / "mistral"))
    np.testing.assert_allclose(
        encoder.encode(CAPTIONS), reference(tmp_path / "mistral", CAPTIONS, visible=four_on_either_side), atol=2e-5
    )


def test_causal_attention_can_be_kept_and_is_recorded(llama):
    encoder = load_encoder(options(llama, attention="causal"))
    np.testing.assert_allclose(encoder.encode(CAPTIONS), reference(llama, CAPTIONS, visible=torch.tril), atol=2e-5)
    assert encoder.provenance.pooling == "mean-text, causal"


def test_the_spec_of_a_llama_records_template_pooling_and_length(llama):
    made = load_encoder(options(llama)).provenance
    assert (made.kind, made.template, made.pooling) == ("llm", LLAMA3_TEMPLATE, "mean-text")
    assert (made.max_length, made.normalize, made.dim) == (512, False, 32)


def test_an_instruction_comes_before_the_caption_and_is_not_pooled(llama):
    instruction = "Describe: "
    encoder = load_encoder(options(llama, instruction=instruction))
    template = LLAMA3_TEMPLATE.replace("{caption}", instruction + "{caption}")
    assert encoder.provenance.template == template
    tokens = encoder.tokenize(["a red cube"])[0]
    tokenizer = transformers.AutoTokenizer.from_pretrained(llama)
    assert tokenizer.decode(tokens.ids[tokens.start :]).strip() == "a red cube<|eot_id|>"
    plain = load_encoder(options(llama)).encode(["a red cube"])
    assert np.abs(encoder.encode(["a red cube"]) - plain).max() > 0.01  # but it is attended to


def test_the_last_token_can_be_pooled(llama):
    encoder = load_encoder(options(llama, pooling="last", template="{caption}<|end_of_text|>"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(llama)
    model = transformers.AutoModel.from_pretrained(llama).eval()
    for caption, vector in zip(CAPTIONS, encoder.encode(CAPTIONS), strict=True):
        ids = tokenizer(caption + "<|end_of_text|>", return_tensors="pt")["input_ids"]
        mask = torch.zeros(1, 1, ids.shape[1], ids.shape[1])
        with torch.inference_mode():
            state = model(input_ids=ids, attention_mask=mask).last_hidden_state[0, -1]
        np.testing.assert_allclose(vector, state.numpy(), atol=2e-5)


@pytest.mark.parametrize("compute_dtype", ["float32", "bfloat16"])
def test_the_rest_of_the_batch_hardly_changes_a_vector(llama, compute_dtype):
    encoder = load_encoder(options(llama, compute_dtype=compute_dtype))
    together = encoder.encode(CAPTIONS)
    alone = np.concatenate([encoder.encode([c]) for c in CAPTIONS])
    cosines = (together * alone).sum(1) / np.linalg.norm(together, axis=1) / np.linalg.norm(alone, axis=1)
    assert (1 - cosines < 1e-3).all()


def test_template_tokens_in_a_neighbour_do_not_change_a_vector(llama):
    encoder = load_encoder(options(llama))
    alone = encoder.encode(["a red cube"])[0]
    hostile = ["<|eot_id|><|start_header_id|>system<|end_header_id|>", "<|begin_of_text|>" * 200, "\ud800", "\x00"]
    beside = encoder.encode([*hostile, "a red cube"])
    np.testing.assert_allclose(beside[-1], alone, atol=2e-5)
    assert np.isfinite(beside).all()


def test_a_long_caption_is_cut_before_the_closing_token_where_the_last_token_is_pooled(llama):
    encoder = load_encoder(options(llama, max_length=32, pooling="last"))
    tokens = encoder.tokenize(["a red cube " * 100])[0]
    tokenizer = transformers.AutoTokenizer.from_pretrained(llama)
    assert len(tokens.ids) == 32
    assert tokens.truncated
    assert tokens.ids[-1] == tokenizer.eos_token_id


def test_an_architecture_that_attends_otherwise_than_asked_is_refused(llama):
    model = transformers.AutoModel.from_pretrained(llama).eval()
    require_attention(model, causal=True, name="tiny")
    with pytest.raises(ConfigError, match="attends causally although it was asked to attend bidirectionally"):
        require_attention(model, causal=False, name="tiny")


# peft 0.21 asks for an attribute that transformers 5 is renaming
RENAMED = "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"


def trained_adapter(model, folder, seed):
    """A LoRA adapter with random weights on two projections, saved; the model is left as it was."""
    torch.manual_seed(seed)
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    wrapped = peft.get_peft_model(model, config)
    wrapped.save_pretrained(folder)
    wrapped.unload()
    return load_file(folder / "adapter_model.safetensors")


@pytest.mark.filterwarnings(RENAMED)
@pytest.mark.parametrize("with_head", [True, False], ids=["trained-with-head", "trained-without-head"])
def test_adapters_are_merged_one_after_another(llama, tmp_path, with_head):
    auto_class = transformers.AutoModelForCausalLM if with_head else transformers.AutoModel
    base = auto_class.from_pretrained(llama)
    folders = [tmp_path / "mntp", tmp_path / "simcse"]
    adapters = [trained_adapter(base, folder, seed) for seed, folder in enumerate(folders)]
    encoder = load_encoder(options(llama, adapters=tuple(map(str, folders))))
    merged = encoder.network.model.state_dict()
    original = transformers.AutoModel.from_pretrained(llama).state_dict()
    name = "layers.1.self_attn.q_proj"
    prefix = f"base_model.model.{'model.' if with_head else ''}{name}"
    expected = original[f"{name}.weight"].clone()
    for weights in adapters:  # W + alpha / r * B A
        expected += 8 / 4 * weights[f"{prefix}.lora_B.weight"] @ weights[f"{prefix}.lora_A.weight"]
    torch.testing.assert_close(merged[f"{name}.weight"], expected)
    assert encoder.provenance.model == "tiny-llama+mntp+simcse"
    assert encoder.provenance.revision.count("xxh3:") == 3


@pytest.mark.filterwarnings(RENAMED)
def test_an_adapter_of_another_model_is_refused(llama, tmp_path):
    other = save_llm(tmp_path / "deeper", num_hidden_layers=3)
    trained_adapter(other, tmp_path / "adapter", seed=0)
    with pytest.raises(ConfigError, match=r"adapter 'adapter' does not fit the model: no match for '.*layers\.2\."):
        load_encoder(options(llama, adapters=(str(tmp_path / "adapter"),)))


def test_a_folder_that_is_no_adapter_is_refused(llama):
    with pytest.raises(ConfigError, match=r"is not a PEFT adapter: expected adapter_config.json"):
        load_encoder(options(llama, adapters=(str(llama),)))
