"""On a GPU: half precisions under the real launcher, and what gradient checkpointing saves."""

import json

import pytest
import torch
import transformers

from tests.trainer.launching import deepspeed
from trainer.checkpoint.folder import list_checkpoints, read_checkpoint_info
from trainer.model.lora import Lora, add_lora
from trainer.model.teacher import Teacher
from trainer.model.towers import ClipTower

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("more", [{}, {"lora_rank": 2, "layer_decay": 0.85, "gradient_checkpointing": True}])
def test_stage_2_trains_and_counts_the_steps_that_overflow(precision, more, settings):
    settings |= {"precision": precision, "epochs": 4, "checkpoint_every": 1, "log_every": 1, "keep_checkpoints": 99}
    words = []
    for name, value in (settings | more | {"learning_rate": 1e-3, "workers": 1}).items():
        words += [f"--{name.replace('_', '-')}", *(value if isinstance(value, tuple) else [value])]
    done = deepspeed("trainer", "stage2", *words, ranks=1)
    assert done.returncode == 0, done.stdout + done.stderr
    infos = [read_checkpoint_info(folder) for folder in list_checkpoints(settings["output"])]
    skipped = [int((info["loss_scale"] or {"skipped_steps": 0})["skipped_steps"]) for info in infos]
    assert [info["adam_step"] + left for info, left in zip(infos, skipped, strict=True)] == list(range(1, 13))
    assert (skipped[-1] > 0) == (precision == "fp16")  # a scale of 65,536 is too large at first
    rows = [json.loads(line) for line in (settings["output"] / "log.jsonl").read_text().splitlines()]
    assert len({row["loss"] for row in rows}) > 3


def large_tower() -> ClipTower:
    """A CLIP ViT-L/14 of random weights."""
    config = transformers.CLIPVisionConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, image_size=224,
        patch_size=14, projection_dim=768,
    )  # fmt: skip
    return ClipTower(transformers.CLIPVisionModelWithProjection(config))


@pytest.mark.parametrize("lora", [None, Lora(rank=16, alpha=16.0)])
def test_a_teacher_of_equal_weights_gives_equal_features_at_vit_l_14(lora):
    torch.manual_seed(0)
    tower = large_tower().eval()
    teacher = Teacher(tower, torch.bfloat16, 0.9996)
    if lora is not None:
        add_lora(tower, lora)
    tower.to("cuda", torch.bfloat16)
    teacher.to(torch.device("cuda"))
    pixels = torch.randn(8, 3, 224, 224, device="cuda")
    with torch.no_grad():
        assert torch.equal(teacher.features(pixels), tower.normalized(pixels))
    teacher.follow(tower, lora)
    assert teacher.average is not None
    assert {value.device.type for value in teacher.average.values()} == {"cuda"}


def test_gradient_checkpointing_takes_less_than_half_of_the_memory_at_vit_l_14():
    tower = large_tower().to("cuda", torch.bfloat16)
    pixels = torch.randn(32, 3, 224, 224, device="cuda")

    def peak() -> int:
        tower.zero_grad(set_to_none=True)
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        tower.normalized(pixels).sum().backward()
        return torch.cuda.max_memory_allocated() - before

    whole = peak()
    tower.checkpoint_gradients()
    assert peak() < 0.5 * whole
