"""CLIP's own text tower: the teacher field."""

from typing import Any

import torch
from torch import nn

from embedder.encoder import Provenance
from embedder.folder import CLIP_TYPES, ModelFolder
from embedder.networks import ClipText, load_weights
from embedder.options import ModelOptions
from store.errors import ConfigError


def load_clip_text(
    folder: ModelFolder, options: ModelOptions, dtype: torch.dtype, tokenizer: Any
) -> tuple[nn.Module, Provenance]:
    from transformers import AutoConfig, CLIPTextModelWithProjection

    if folder.config["model_type"] not in CLIP_TYPES:
        raise ConfigError(
            f"model {folder.model!r} is a {folder.config['model_type']!r}, not a CLIP; choose another --kind"
        )
    if options.pooling is not None:
        raise ConfigError("--pooling does not apply to a CLIP text tower, which pools at its end token")
    config = AutoConfig.from_pretrained(folder.path)
    if hasattr(config, "text_config"):  # a whole CLIP: its own width of the joint space counts, not the tower's
        config.text_config.projection_dim = config.projection_dim
        config = config.text_config
    model = load_weights(CLIPTextModelWithProjection, folder, dtype, unused=(), config=config)
    eos = model.config.eos_token_id
    # 2 is a historic mistake in CLIP configs, which transformers reads as "the largest id", the end token's
    if eos != 2 and eos != tokenizer.eos_token_id:
        raise ConfigError(
            f"the text tower of {folder.model!r} pools at token {eos}, but its tokenizer ends texts with "
            f"{tokenizer.eos_token_id}; set text_config.eos_token_id in its config.json"
        )
    normalize = bool(options.normalize)
    provenance = Provenance(
        model=folder.model,
        revision=folder.revision,
        kind="clip-text",
        template=options.frame(),
        pooling="eos",
        max_length=options.length(model.config.max_position_embeddings),
        normalize=normalize,
        dim=model.config.projection_dim,
    )
    return ClipText(model, normalize), provenance
