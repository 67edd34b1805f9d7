"""The text towers of CLIP, SigLIP and SigLIP2: the teacher field."""

from typing import Any

import torch

from embedder.models.encoder import Provenance
from embedder.models.folder import CLIP_TYPES, SIGLIP_TYPES, ModelFolder
from embedder.models.networks import ClipText, SiglipText, load_weights
from embedder.models.options import ModelOptions
from store.common.errors import ConfigError


def is_siglip(folder: ModelFolder) -> bool:
    """Whether the folder holds a SigLIP or SigLIP2, or the text tower of one."""
    return folder.config["model_type"] in SIGLIP_TYPES


def describe_clip_text(folder: ModelFolder, options: ModelOptions, config: Any, tokenizer: Any) -> Provenance:
    """How the text tower makes vectors; ``config``: of the whole model or of the tower.

    Raises:
        ConfigError: another kind of model, a pooling was asked for, or tower and tokenizer end texts differently.
    """
    model_type = folder.config["model_type"]
    if model_type not in CLIP_TYPES + SIGLIP_TYPES:
        raise ConfigError(f"model {folder.model!r} is a {model_type!r}, not a CLIP; choose another --kind")
    siglip = is_siglip(folder)
    if options.pooling is not None:
        name, place = ("SigLIP", "last position") if siglip else ("CLIP", "end token")
        raise ConfigError(f"--pooling does not apply to a {name} text tower, which pools at its {place}")
    tower = _tower(config)
    # 2 is a historic mistake in CLIP configs, which transformers reads as "the largest id", the end token's
    if not siglip and tower.eos_token_id not in (2, tokenizer.eos_token_id):
        raise ConfigError(
            f"the text tower of {folder.model!r} pools at token {tower.eos_token_id}, but its tokenizer ends texts "
            f"with {tokenizer.eos_token_id}; set text_config.eos_token_id in its config.json"
        )
    return Provenance(
        model=folder.model,
        revision=folder.revision,
        kind="clip-text",
        template=options.frame(),
        pooling="last" if siglip else "eos",
        max_length=options.length(tower.max_position_embeddings),
        normalize=bool(options.normalize),
        dim=tower.projection_size if siglip else tower.projection_dim,
    )


def load_clip_text(
    folder: ModelFolder, provenance: Provenance, config: Any, dtype: torch.dtype
) -> ClipText | SiglipText:
    """The tower, described by ``provenance``."""
    import transformers

    siglip = is_siglip(folder)
    tower = _tower(config)
    class_name = "CLIPTextModelWithProjection"
    if siglip:
        class_name = "Siglip2TextModel" if tower.model_type.startswith("siglip2") else "SiglipTextModel"
    model = load_weights(getattr(transformers, class_name), folder, dtype, unused=(), config=tower)
    return (SiglipText if siglip else ClipText)(model, provenance.normalize)


def _tower(config: Any) -> Any:
    """The text tower's config; of a whole CLIP its own width of the joint space counts, not the tower's."""
    tower = getattr(config, "text_config", config)
    if tower is not config and hasattr(config, "projection_dim"):
        tower.projection_dim = config.projection_dim
    return tower
