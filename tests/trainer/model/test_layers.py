"""Layer-wise rates and weight decay by name, and gradient checkpointing that changes nothing."""

import pytest
import torch

from tests.embedder.small_models import save_siglip
from trainer.engine.deepspeed_engine import parameter_groups
from trainer.model.layers import layer_scale
from trainer.model.lora import Lora, add_lora
from trainer.model.open_clip_tower import OpenClipTower
from trainer.model.towers import load_image_tower


@pytest.fixture(scope="module")
def folders(clip_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    save_siglip(folder / "siglip")
    save_siglip(folder / "siglip2")
    return {"clip": clip_folder, "siglip": folder / "siglip", "siglip2": folder / "siglip2"}


def scales(tower, decay: float) -> dict[str, float]:
    scale = layer_scale(tower, decay)
    return {name.removeprefix("vision."): scale(name) for name, _ in tower.named_parameters()}


def parameters(**shapes: tuple[int, ...]) -> torch.nn.Module:
    """A module with these parameters; ``__`` stands for the dots of a name."""
    module = torch.nn.Module()
    for name, shape in shapes.items():
        *path, last = name.split("__")
        at = module
        for part in path:
            if not hasattr(at, part):
                at.add_module(part, torch.nn.Module())
            at = getattr(at, part)
        at.register_parameter(last, torch.nn.Parameter(torch.zeros(shape)))
    return module


def blocks(*names: str) -> torch.nn.ModuleList:
    return torch.nn.ModuleList([parameters(**dict.fromkeys(names, (2, 2))) for _ in range(2)])


def openai_of_open_clip() -> OpenClipTower:
    """The names of open_clip's own transformer, which LLM2CLIP's script sees for OpenAI's weights."""
    vision = parameters(
        class_embedding=(2,), positional_embedding=(5, 2), proj=(2, 2), conv1__weight=(2, 3, 1, 1), ln_pre__weight=(2,),
        ln_post__weight=(2,), transformer__empty=(1,),
    )  # fmt: skip
    vision.get_submodule("transformer").add_module("resblocks", blocks("mlp__c_fc__weight"))
    return OpenClipTower(vision)


def timm_trunk(**more: tuple[int, ...]) -> OpenClipTower:
    """The names of a timm trunk in open_clip: EVA02 has a class token, SigLIP a pooling head."""
    names = {"trunk__pos_embed": (1, 5, 2), "trunk__patch_embed__proj__weight": (2, 3, 1, 1)}
    vision = parameters(**names, trunk__norm__weight=(2,), **more)
    vision.get_submodule("trunk").add_module("blocks", blocks("attn__proj__weight"))
    return OpenClipTower(vision)


# (name, share of the rate at a decay of 0.5, whether it has weight decay)
CLIP_NAMES = [
    # by OpenAI's names in open_clip: layer 0 is conv1 and positional_embedding alone
    ("embeddings.class_embedding", 1.0, False),
    ("embeddings.patch_embedding.weight", 0.125, True),
    ("embeddings.position_embedding.weight", 0.125, False),
    ("pre_layrnorm.weight", 1.0, False),
    ("layers.0.mlp.fc1.weight", 0.25, True),
    ("layers.1.mlp.fc1.bias", 0.5, False),
    ("post_layernorm.weight", 1.0, False),
    ("visual_projection.weight", 1.0, True),
]
SIGLIP_NAMES = [
    ("embeddings.patch_embedding.weight", 0.0625, True),
    ("embeddings.position_embedding.weight", 0.0625, False),
    ("encoder.layers.0.mlp.fc1.weight", 0.125, True),
    ("encoder.layers.2.mlp.fc1.weight", 0.5, True),
    ("post_layernorm.weight", 1.0, False),
    ("head.probe", 1.0, True),
    ("head.mlp.fc1.weight", 1.0, True),
]
OPENAI_NAMES = [
    ("class_embedding", 1.0, False),
    ("conv1.weight", 0.125, True),
    ("positional_embedding", 0.125, False),
    ("ln_pre.weight", 1.0, False),
    ("transformer.resblocks.0.mlp.c_fc.weight", 0.25, True),
    ("transformer.resblocks.1.mlp.c_fc.weight", 0.5, True),
    ("ln_post.weight", 1.0, False),
    ("proj", 1.0, True),
]
EVA_NAMES = [
    ("trunk.cls_token", 0.125, False),
    ("trunk.pos_embed", 0.125, False),
    ("trunk.patch_embed.proj.weight", 0.125, True),
    ("trunk.blocks.0.attn.proj.weight", 0.25, True),
    ("trunk.blocks.1.attn.proj.weight", 0.5, True),
    ("trunk.norm.weight", 1.0, False),
    ("trunk.head.weight", 1.0, True),
]
TIMM_SIGLIP_NAMES = [("trunk.pos_embed", 0.125, False), ("trunk.attn_pool.latent", 1.0, True)]


def assert_as_in_the_script(tower, expected) -> None:
    """Every name at its rate, in AdamW's groups with or without weight decay."""
    groups = parameter_groups(tower.named_parameters(), 0.05, layer_scale(tower, 0.5))
    names = {id(parameter): name for name, parameter in tower.named_parameters()}
    found = {names[id(parameter)]: group for group in groups for parameter in group["params"]}
    for name, rate, decays in expected:
        (group,) = [group for there, group in found.items() if f".{there}".endswith(f".{name}")]
        assert (group["lr_scale"], group["weight_decay"]) == (rate, 0.05 if decays else 0.0), name


def test_a_clip_of_two_blocks(folders):
    assert_as_in_the_script(load_image_tower(str(folders["clip"])).model, CLIP_NAMES)


@pytest.mark.parametrize("kind", ["siglip", "siglip2"])
def test_a_siglip_of_three_blocks(folders, kind):
    assert_as_in_the_script(load_image_tower(str(folders[kind])).model, SIGLIP_NAMES)


@pytest.mark.parametrize(
    ("tower", "expected"),
    [
        (openai_of_open_clip(), OPENAI_NAMES),
        (timm_trunk(trunk__cls_token=(1, 1, 2), trunk__head__weight=(2, 2)), EVA_NAMES),
        (timm_trunk(trunk__attn_pool__latent=(1, 1, 2)), TIMM_SIGLIP_NAMES),
    ],
    ids=["openai", "eva02", "siglip"],
)
def test_towers_by_their_names_in_open_clip(tower, expected):
    assert_as_in_the_script(tower, expected)


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
