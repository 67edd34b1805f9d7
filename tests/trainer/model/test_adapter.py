"""The adapter by hand, and the shapes of both papers."""

import math

import pytest
import torch

from trainer.model.adapter import Adapter


def test_without_blocks_it_normalises_twice_and_projects():
    """(3, 4) becomes (0.6, 0.8) by length, then (-1, 1) by LayerNorm: the mean is 0.7 and the deviation 0.1."""
    adapter = Adapter(dim_in=2, dim_out=1, num_blocks=0)
    with torch.no_grad():
        adapter.projection.weight.copy_(torch.tensor([[2.0, 5.0]]))
        adapter.projection.bias.copy_(torch.tensor([0.25]))
    assert adapter(torch.tensor([[3.0, 4.0]])).item() == pytest.approx(-2 + 5 + 0.25, abs=5e-3)  # LayerNorm's epsilon


def test_a_block_adds_to_what_goes_into_it():
    """x = (0.6, 0.8); the block adds W2 GELU(W1 (-1, 1)) = (GELU(1), 0)."""
    adapter = Adapter(dim_in=2, dim_out=2, num_blocks=1, expansion=1)
    adapter.norm = torch.nn.Identity()
    with torch.no_grad():
        block = adapter.blocks[0]
        block.up.weight.copy_(torch.tensor([[0.0, 1.0], [0.0, 0.0]]))
        block.down.weight.copy_(torch.eye(2))
        adapter.projection.weight.copy_(torch.eye(2))
        for bias in (block.up.bias, block.down.bias, adapter.projection.bias):
            bias.zero_()
    gelu_of_1 = 0.5 * (1 + math.erf(1 / math.sqrt(2)))
    assert adapter(torch.tensor([[3.0, 4.0]]))[0].tolist() == pytest.approx([0.6 + gelu_of_1, 0.8], abs=1e-3)


def test_the_length_of_a_caption_vector_does_not_matter():
    torch.manual_seed(0)
    adapter, vectors = Adapter(6, 4), torch.randn(3, 6)
    torch.testing.assert_close(adapter(vectors), adapter(vectors * 100))


def test_a_caption_vector_of_zeros_gives_finite_features():
    assert Adapter(6, 4)(torch.zeros(1, 6)).isfinite().all()


@pytest.mark.parametrize(("num_blocks", "expansion"), [(1, 8), (4, 2)])
def test_the_shapes_of_both_papers(num_blocks, expansion):
    adapter = Adapter(16, 8, num_blocks, expansion)
    hidden = 16 * expansion
    block = 2 * 16 + (16 * hidden + hidden) + (hidden * 16 + 16)  # norm, up, down
    assert sum(p.numel() for p in adapter.parameters()) == num_blocks * block + 2 * 16 + (16 * 8 + 8)
    assert adapter(torch.randn(2, 3, 16)).shape == (2, 3, 8)


def test_in_half_precision_it_takes_float32_vectors_and_stays_close():
    torch.manual_seed(0)
    adapter, vectors = Adapter(32, 8), torch.randn(5, 32)
    full = adapter(vectors)
    half = adapter.bfloat16()(vectors)
    assert half.dtype == torch.bfloat16
    assert torch.nn.functional.cosine_similarity(full, half.float()).min() > 0.999
