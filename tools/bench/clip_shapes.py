"""CLIPs of well-known shapes with random weights: the same arithmetic as the real ones, which need a download."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

Shape = Literal["ViT-B/32", "ViT-B/16", "ViT-L/14", "tiny"]

_B_TEXT = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 8}
_L_TEXT = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
_B_VISION = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
_L_VISION = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
_TINY = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}

# shape -> (text tower, image tower, width of the joint space), as in the configs that OpenAI's CLIPs come with
_SHAPES: dict[str, tuple[dict[str, int], dict[str, int], int]] = {
    "ViT-B/32": (_B_TEXT, _B_VISION | {"patch_size": 32, "image_size": 224}, 512),
    "ViT-B/16": (_B_TEXT, _B_VISION | {"patch_size": 16, "image_size": 224}, 512),
    "ViT-L/14": (_L_TEXT, _L_VISION | {"patch_size": 14, "image_size": 224}, 768),
    "tiny": (_TINY, _TINY | {"patch_size": 16, "image_size": 32}, 16),
}
VOCABULARY = 49408
CONTEXT_LENGTH = 77


def joint_width(shape: Shape) -> int:
    """Numbers per feature."""
    return _SHAPES[shape][2]


def save_clip(folder: Path, shape: Shape, part: Literal["text", "image"], captions: Iterable[str]) -> str:
    """Write a transformers folder whose one tower has the shape, the other next to nothing; returns its path.

    The tokenizer is learnt from ``captions``, since CLIP's own is not at hand.
    """
    import torch
    from transformers import CLIPConfig, CLIPModel

    from trainer.pretrain import learn_tokenizer

    tokenizer = learn_tokenizer(iter(captions), 4096)
    text, vision, joint = _SHAPES[shape]
    small_text, small_vision, _ = _SHAPES["tiny"]
    ids: dict[str, Any] = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = CLIPConfig(
        text_config={
            **(text if part == "text" else small_text),
            **ids,
            "vocab_size": VOCABULARY if part == "text" else len(tokenizer),
            "max_position_embeddings": CONTEXT_LENGTH,
            "projection_dim": joint,
        },
        vision_config=(vision if part == "image" else small_vision) | {"projection_dim": joint},
        projection_dim=joint,
    )
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
