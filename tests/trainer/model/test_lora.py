"""LoRA on towers: what it trains, what it computes, and that PEFT merges it as we do."""

import sys

import pytest
import torch

from store.common.errors import CheckpointError, ConfigError
from tests.embedder.small_models import save_siglip
from trainer.model.lora import Lora, add_lora, merge_lora, trained_weights, weight_changes
from trainer.model.tower_base import Tower
from trainer.model.towers import load_image_tower

LORA = Lora(rank=3, alpha=6.0)


@pytest.fixture(scope="module", params=["clip", "siglip", "siglip2"])
def folder(request, clip_folder, tmp_path_factory):
    if request.param == "clip":
        return clip_folder
    folder = tmp_path_factory.mktemp("models") / request.param
    save_siglip(folder)
    return folder


def pixels() -> torch.Tensor:
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def with_lora(folder, lora: Lora = LORA) -> Tower:
    torch.manual_seed(0)
    tower = load_image_tower(str(folder))
    add_lora(tower.model, lora)
    return tower


def trained(tower: Tower) -> dict[str, torch.Tensor]:
    return {name: p for name, p in tower.model.named_parameters() if p.requires_grad}


def move(tower: Tower) -> None:
    """B away from zero."""
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in trained(tower).values():
            parameter += 0.1 * torch.randn(parameter.shape, generator=random)


def test_the_tower_starts_as_it_was(folder):
    """Up to rounding: torch may choose another kernel for weights that require a gradient than for frozen ones."""
    with torch.no_grad():
        ours, original = with_lora(folder).model, load_image_tower(str(folder)).model
        torch.testing.assert_close(ours.normalized(pixels()), original.normalized(pixels()), atol=1e-5, rtol=0)


def test_only_the_small_matrices_of_the_blocks_linear_layers_are_trained(folder):
    tower = with_lora(folder)
    names = trained(tower)
    blocks = len(tower.model.blocks)
    assert len(names) == blocks * 6 * 2  # query, key, value, output and two layers of the MLP; A and B each
    assert all("lora_" in name and ".layers." in name for name in names)
    assert all(min(p.shape) == 3 for p in names.values())
    tower.model(pixels()).square().sum().backward()
    assert all(p.grad is not None for p in names.values())
    assert all(p.grad is None for name, p in tower.model.named_parameters() if name not in names)


def test_targets_choose_the_layers(folder):
    names = trained(with_lora(folder, Lora(rank=2, alpha=2.0, targets=("q_proj", "v_proj"))))
    assert {name.split(".lora_")[0].rsplit(".", 1)[-1] for name in names} == {"q_proj", "v_proj"}


def test_an_unknown_target_is_refused_naming_those_there_are(clip_folder):
    with pytest.raises(ConfigError, match=r"lora_targets names qkv; the blocks' .* are fc1, fc2, k_proj, out_proj"):
        with_lora(clip_folder, Lora(rank=2, alpha=2.0, targets=("qkv", "v_proj")))


def test_what_the_matrices_add_is_scaled_by_alpha_over_rank():
    a, b = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0], [0.0], [-1.0]])
    changes = weight_changes({"x.lora_A.default.weight": a, "x.lora_B.default.weight": b}, Lora(rank=1, alpha=2.0))
    assert changes["x.weight"].tolist() == [[6.0, 12.0], [0.0, 0.0], [-2.0, -4.0]]


def test_a_tower_with_merged_matrices_computes_the_same_as_they_and_as_pefts_own_merge(folder):
    tower = with_lora(folder)
    move(tower)
    plain = load_image_tower(str(folder))
    merge_lora(plain.model, {name: p.detach() for name, p in trained(tower).items()}, LORA)
    with torch.no_grad():
        features = plain.model(pixels())
        torch.testing.assert_close(features, tower.model(pixels()), atol=1e-5, rtol=1e-5)
        for module in tower.model.modules():
            if hasattr(module, "base_layer"):
                module.merge()
        torch.testing.assert_close(features, tower.model(pixels()), atol=1e-6, rtol=1e-6)
    original = load_image_tower(str(folder))
    assert (features - original.model(pixels())).abs().max() > 0.01


def test_the_weights_that_are_trained_are_the_merged_ones_under_their_plain_names(folder):
    tower = with_lora(folder)
    move(tower)
    plain = load_image_tower(str(folder))
    merge_lora(plain.model, {name: p.detach() for name, p in trained(tower).items()}, LORA)
    made = trained_weights(tower.model, LORA)
    assert len(made) == len(trained(tower)) / 2
    for name, value in made.items():
        torch.testing.assert_close(value, plain.model.get_parameter(name).detach())


def test_equal_seeds_draw_equal_matrices(clip_folder):
    one, other = trained(with_lora(clip_folder)), trained(with_lora(clip_folder))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert any(value.any() for name, value in one.items() if "lora_A" in name)


def test_matrices_that_fit_no_layer_are_refused(clip_folder):
    tower = load_image_tower(str(clip_folder)).model
    a, b = torch.zeros(2, 5), torch.zeros(7, 2)
    with pytest.raises(CheckpointError, match=r"for 'x\.weight' fit no layer"):
        merge_lora(tower, {"x.lora_A.default.weight": a, "x.lora_B.default.weight": b}, LORA)
    with pytest.raises(CheckpointError, match="but not"):
        merge_lora(tower, {"x.lora_A.default.weight": a}, LORA)
    with pytest.raises(CheckpointError, match="there are no LoRA matrices"):
        merge_lora(tower, {}, LORA)


def test_a_description_survives_json():
    for lora in (LORA, Lora(rank=8, alpha=16.0, targets=("q_proj",))):
        assert Lora.from_dict(lora.to_dict()) == lora


def test_merging_needs_no_peft(clip_folder, monkeypatch):
    tower = with_lora(clip_folder)
    move(tower)
    plain = load_image_tower(str(clip_folder)).model
    monkeypatch.setitem(sys.modules, "peft", None)  # what an import meets where it is not installed
    merge_lora(plain, {name: p.detach() for name, p in trained(tower).items()}, LORA)
    with torch.no_grad():
        torch.testing.assert_close(plain(pixels()), tower.model(pixels()), atol=1e-5, rtol=1e-5)


def test_without_peft_the_extra_is_named(clip_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ConfigError, match=r"needs PEFT; install it with `pip install keyclip\[lora\]`"):
        with_lora(clip_folder)
