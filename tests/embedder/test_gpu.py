"""On a GPU: the same vectors in bfloat16, memory that runs out, and the rate of a Llama at its true shape."""

import time

import numpy as np
import pytest
import torch
import transformers
from torch import nn

from embedder.models.load import load_encoder
from embedder.models.networks import TokenStates
from embedder.models.options import ModelOptions
from tests.embedder.small_models import save_llm
from tests.embedder.test_sizing import flop_per_token

pytestmark = pytest.mark.gpu

# dense bfloat16 of the chips by name, in TFLOP/s
PEAK = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L4": 121e12, "4090": 165e12}


def cosines(a, b):
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_bfloat16_vectors_are_close_to_those_of_the_cpu(tmp_path):
    save_llm(tmp_path / "llama")
    captions = [f"picture {i} " + "of a red cube " * (i % 9) for i in range(200)]
    exact = load_encoder(ModelOptions(model=str(tmp_path / "llama"), device="cpu")).encode(captions)
    encoder = load_encoder(ModelOptions(model=str(tmp_path / "llama"), device="cuda"))
    assert next(encoder.network.parameters()).dtype == torch.bfloat16
    assert cosines(encoder.encode(captions), exact).min() > 0.999


def test_full_memory_halves_the_batches(tmp_path):
    save_llm(tmp_path / "llama")
    encoder = load_encoder(ModelOptions(model=str(tmp_path / "llama"), device="cuda"))
    captions = [f"{i} " + "a red cube " * 60 for i in range(2000)]
    expected = encoder.encode(captions)
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_allocated() + 64 * 2**20) / total)
    try:
        encoder.batch_tokens = 10_000_000
        assert cosines(encoder.encode(captions), expected).min() > 0.999
        assert encoder.batch_tokens < 10_000_000
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.parametrize("length", [26, 121, 512])
def test_llama_3_8b_at_its_true_shape(length, capsys):
    """Random weights; prints tokens per second and, for known chips, the fraction of the peak."""
    config = transformers.LlamaConfig(
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        vocab_size=128256,
        dtype=torch.bfloat16,
    )
    config.is_causal = False
    with torch.device("cuda"):
        model = transformers.LlamaModel._from_config(config, dtype=torch.bfloat16).eval()
    network = TokenStates(model, "mean-text", nn.Identity(), normalize=False, with_positions=True)
    batch = 32768 // length
    ids = torch.randint(0, 128256, (batch, length), device="cuda")
    mask = torch.ones(batch, length, dtype=torch.bool, device="cuda")
    seconds = []
    with torch.inference_mode():
        for _ in range(6):
            torch.cuda.synchronize()
            started = time.perf_counter()
            vectors = network(ids, mask, mask)
            torch.cuda.synchronize()
            seconds.append(time.perf_counter() - started)
    assert vectors.shape == (batch, 4096)
    assert torch.isfinite(vectors).all()
    rate = batch * length / min(seconds)
    name = torch.cuda.get_device_name(0)
    peak = next((p for chip, p in PEAK.items() if chip in name), None)
    fraction = f", {rate * flop_per_token(length) / peak:.2f} of the peak" if peak else ""
    with capsys.disabled():
        print(f"\n{name}, {length} tokens a caption: {rate:,.0f} tokens/s{fraction}")  # noqa: T201
