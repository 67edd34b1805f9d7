"""Tiny real SigLIPs of transformers, with random weights."""

from pathlib import Path

import torch
import transformers
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil

TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
TEXT = TOWER | {"vocab_size": 64, "max_position_embeddings": 16}


def save_siglip(folder: Path, seed: int = 0) -> transformers.SiglipModel:
    """A SigLIP for images of 32 pixels, 32-wide joint space, saved with its image processor."""
    torch.manual_seed(seed)
    vision = TOWER | {"image_size": 32, "patch_size": 8}
    model = transformers.SiglipModel(transformers.SiglipConfig(text_config=TEXT, vision_config=vision)).eval()
    model.save_pretrained(folder)
    SiglipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return model


def save_siglip2(folder: Path, seed: int = 0) -> transformers.Siglip2Model:
    """A NaFlex SigLIP2 of 16 patches of 8 pixels, 32-wide joint space, saved with its image processor."""
    torch.manual_seed(seed)
    vision = TOWER | {"num_patches": 16, "patch_size": 8}
    model = transformers.Siglip2Model(transformers.Siglip2Config(text_config=TEXT, vision_config=vision)).eval()
    model.save_pretrained(folder)
    Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16).save_pretrained(folder)
    return model
