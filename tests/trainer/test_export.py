"""What leaves: folders that transformers loads, and the names that LLM2CLIP and ProCLIP use."""

import pytest
import torch

from store.errors import CheckpointError
from trainer.adapter import Adapter
from trainer.export import from_llm2clip, load_adapter, shape_of, to_llm2clip


@pytest.mark.parametrize(("num_blocks", "expansion"), [(1, 8), (4, 2), (0, 1)])
def test_an_adapter_comes_back_from_llm2clip_names_as_it_was(num_blocks, expansion):
    adapter = Adapter(6, 3, num_blocks, expansion)
    weights = to_llm2clip(adapter) | {"visual.conv1.weight": torch.zeros(1), "logit_scale": torch.zeros(())}
    back = from_llm2clip({f"module.{name}": value for name, value in weights.items()})
    x = torch.randn(5, 6)
    torch.testing.assert_close(back(x), adapter(x), rtol=0, atol=0)
    assert shape_of(back) == {"dim_in": 6, "dim_out": 3, "num_blocks": num_blocks, "expansion": expansion}


def test_the_names_are_those_of_one_sequence():
    assert set(to_llm2clip(Adapter(4, 2, 1, 2))) == {
        *(f"text.text_adaptor.0.{layer}.{kind}" for layer in ("ln", "fn.0", "fn.3") for kind in ("weight", "bias")),
        *(f"text.text_adaptor.{number}.{kind}" for number in (1, 2) for kind in ("weight", "bias")),
    }


def test_the_sequence_computes_what_the_adapter_computes():
    """The published module, rebuilt from its names: blocks x + fn(ln(x)), LayerNorm, Linear, after L2 normalisation."""
    adapter = Adapter(4, 2, 2, 3)
    weights = {name.removeprefix("text.text_adaptor."): value for name, value in to_llm2clip(adapter).items()}
    x = torch.randn(3, 4)
    h = torch.nn.functional.normalize(x, dim=-1)
    linear, norm = torch.nn.functional.linear, torch.nn.functional.layer_norm
    for i in range(2):
        inner = norm(h, (4,), weights[f"{i}.ln.weight"], weights[f"{i}.ln.bias"])
        inner = torch.nn.functional.gelu(linear(inner, weights[f"{i}.fn.0.weight"], weights[f"{i}.fn.0.bias"]))
        h = h + linear(inner, weights[f"{i}.fn.3.weight"], weights[f"{i}.fn.3.bias"])
    h = linear(norm(h, (4,), weights["2.weight"], weights["2.bias"]), weights["3.weight"], weights["3.bias"])
    torch.testing.assert_close(h, adapter(x))


def test_weights_without_an_adapter_are_refused():
    with pytest.raises(CheckpointError, match="no adapter of the form"):
        from_llm2clip({"visual.proj": torch.zeros(2, 2)})


def test_a_folder_that_is_no_export_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="make one with `keyclip export`"):
        load_adapter(tmp_path)
