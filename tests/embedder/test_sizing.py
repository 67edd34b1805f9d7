"""The sizing page's numbers follow from the model's true shape."""

import pytest
import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

from tests import ROOT

PAGE = (ROOT / "docs" / "sizing.md").read_text()
MATRIX_PARAMETERS = 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336)
CAPTIONS = 30e6


def flop_per_token(length):
    return 2 * MATRIX_PARAMETERS + 4 * 32 * 4096 * length  # scores and weighted sums of every layer


@pytest.fixture(scope="module")
def llama3_8b():
    """Llama-3-8B's decoder stack at its true shape, without memory behind it."""
    config = transformers.LlamaConfig(
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        vocab_size=128256,
    )
    config.is_causal = False
    with torch.device("meta"):
        return transformers.LlamaModel(config)


def test_the_formula_counts_what_the_real_architecture_computes(llama3_8b):
    assert f"2 x {MATRIX_PARAMETERS:,} + 524,288 L" in PAGE
    assert f"{sum(p.numel() for p in llama3_8b.parameters()):,}" in PAGE
    for batch, length in ((1, 64), (8, 128), (1, 512)):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            llama3_8b(input_ids=torch.zeros(batch, length, dtype=torch.long, device="meta"), use_cache=False)
        assert counter.get_total_flops() == batch * length * flop_per_token(length)


@pytest.mark.parametrize(("name", "length"), [("short", 26), ("long", 121)])
def test_work_and_time_follow_from_the_formula(name, length):
    tokens = CAPTIONS * length
    flop = tokens * flop_per_token(length)
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| {name} (")]
    assert f"{length} | {tokens / 1e9:.2f} G | {flop:.2e}".replace("e+", "e") in row
    for gpu, peak in (("H100", 989e12), ("A100", 312e12)):
        (times,) = [line.split("|")[3:5] for line in PAGE.splitlines() if line.startswith(f"| {gpu}")]
        hours = flop / (8 * 0.4 * peak) / 3600
        assert times[name == "long"].strip() == f"{hours:.1f} h"


def test_bytes_follow_from_the_shape():
    assert f"{CAPTIONS * 4096 * 2 / 1e9:.0f} GB" in PAGE
    assert f"{CAPTIONS * (4096 + 4) / 1e9:.0f} GB" in PAGE
    vectors_per_second = 8 * 0.4 * 989e12 / (26 * flop_per_token(26))
    assert f"{vectors_per_second * 4096 * 2 / 1e6:.0f} MB/s" in PAGE
