"""Layer-wise decay by hand, and gradient checkpointing that changes nothing."""

import pytest
import torch

from tests.embedder.models import save_siglip
from trainer.layers import layer_scale
from trainer.lora import Lora, add_lora
from trainer.towers import load_image_tower


@pytest.fixture(scope="module")
def folders(clip_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    save_siglip(folder / "siglip")
    save_siglip(folder / "siglip2")
    return {"clip": clip_folder, "siglip": folder / "siglip", "siglip2": folder / "siglip2"}


def scales(tower, decay: float) -> dict[str, float]:
    scale = layer_scale(tower, decay)
    return {name.removeprefix("vision."): scale(name) for name, _ in tower.named_parameters()}


def test_a_clip_of_two_blocks(folders):
    found = scales(load_image_tower(str(folders["clip"])).model, 0.5)
    expected = {"embeddings": 0.125, "pre_layrnorm": 0.125, "layers.0": 0.25, "layers.1": 0.5, "post_layernorm": 1.0}
    expected |= {"visual_projection": 1.0}
    for name, scale in found.items():
        (part,) = [part for part in expected if part in name]
        assert scale == expected[part], name


@pytest.mark.parametrize("kind", ["siglip", "siglip2"])
def test_a_siglip_of_three_blocks(folders, kind):
    found = scales(load_image_tower(str(folders[kind])).model, 0.5)
    expected = {"embeddings": 0.0625, "encoder.layers.0": 0.125, "encoder.layers.1": 0.25, "encoder.layers.2": 0.5}
    expected |= {"post_layernorm": 1.0, "head": 1.0}
    for name, scale in found.items():
        (scale_of,) = [value for part, value in expected.items() if name.startswith(part)]
        assert scale == scale_of, name


def test_loras_matrices_learn_at_the_rate_of_their_block(folders):
    tower = load_image_tower(str(folders["clip"])).model
    add_lora(tower, Lora(rank=2, alpha=2.0))
    found = {name: scale for name, scale in scales(tower, 0.5).items() if "lora_" in name}
    assert {scale for name, scale in found.items() if ".layers.0." in name} == {0.25}
    assert {scale for name, scale in found.items() if ".layers.1." in name} == {0.5}


def test_without_decay_every_parameter_gets_the_whole_rate(folders):
    assert set(scales(load_image_tower(str(folders["siglip"])).model, 1.0).values()) == {1.0}


@pytest.mark.parametrize("kind", ["clip", "siglip", "siglip2"])
@pytest.mark.parametrize("with_lora", [False, True])
def test_checkpointed_gradients_are_the_same_bit_for_bit(folders, kind, with_lora):
    tower = load_image_tower(str(folders[kind])).model
    if with_lora:
        torch.manual_seed(0)
        add_lora(tower, Lora(rank=2, alpha=2.0))
    pixels = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    calls = []
    tower.blocks[0].self_attn.register_forward_hook(lambda *_: calls.append(1))

    def gradients() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        tower.zero_grad(set_to_none=True)
        loss = tower.normalized(pixels)[:, ::2].sum()
        loss.backward()
        return loss.detach(), {name: p.grad for name, p in tower.named_parameters() if p.grad is not None}

    loss, kept = gradients()
    assert len(calls) == 1
    tower.checkpoint_gradients()
    same_loss, anew = gradients()
    assert len(calls) == 3  # once forward, once more for the backward pass
    assert torch.equal(loss, same_loss)
    assert kept
    assert all(torch.equal(kept[name], anew[name]) for name in kept)
    assert set(kept) == set(anew)
