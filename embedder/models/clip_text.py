"""The text towers of CLIP, SigLIP and SigLIP2, which make the teacher field.

SigLIP's towers were trained on lower-cased captions padded to the tower's whole length (64 tokens), without an
attention mask: the pooled output is the output at the last position, padding or not.
"""

import re
import string
from typing import Any

import torch
from tokenizers import Regex, normalizers

from embedder.models.encoder import Description, Provenance
from embedder.models.folder import CLIP_TYPES, SIGLIP_TYPES, ModelFolder
from embedder.models.networks import TextTower, load_weights
from embedder.models.options import ModelOptions
from store.common.errors import ConfigError


def describe_clip_text(folder: ModelFolder, options: ModelOptions, config: Any, tokenizer: Any) -> Provenance:
    """How the text tower makes vectors; ``config``: of the whole model or of the tower.

    Raises:
        ConfigError: another kind of model, a pooling was asked for, or tower and tokenizer end texts differently.
    """
    model_type, siglip = folder.config["model_type"], folder.is_siglip()
    if model_type not in CLIP_TYPES + SIGLIP_TYPES:
        raise ConfigError(f"model {folder.model!r} is a {model_type!r}, not a CLIP; choose another --kind")
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


def load_clip_text(model: Description, dtype: torch.dtype) -> TextTower:
    """The tower that was described."""
    import transformers

    tower, siglip = _tower(model.config), model.folder.is_siglip()
    name = "CLIPTextModelWithProjection"
    if siglip:
        name = "Siglip2TextModel" if tower.model_type.startswith("siglip2") else "SiglipTextModel"
    weights = load_weights(getattr(transformers, name), model.folder, dtype, unused=(), config=tower)
    return TextTower(weights, model.provenance.normalize, siglip)


def _tower(config: Any) -> Any:
    """The text tower's config; of a whole CLIP its own width of the joint space counts, not the tower's."""
    tower = getattr(config, "text_config", config)
    if tower is not config and hasattr(config, "projection_dim"):
        tower.projection_dim = config.projection_dim
    return tower


def load_siglip_tokenizer(folder: ModelFolder) -> Any:
    """The tokenizer of ``tokenizer.json``; transformers' own for SigLIP is a slow one, in need of SentencePiece.

    SigLIP (not SigLIP2, whose tokenizer is Gemma's) takes captions without punctuation.

    Raises:
        ConfigError: the folder has no ``tokenizer.json``.
    """
    import transformers

    if not (folder.path / "tokenizer.json").is_file():
        raise ConfigError(f"model {folder.model!r} has no tokenizer.json; save it with a fast tokenizer")
    settings = folder.settings("tokenizer_config.json", dict[str, Any]) or {}
    if settings.get("tokenizer_class") != "SiglipTokenizer":
        return transformers.AutoTokenizer.from_pretrained(folder.path)
    tokens = {"eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>"}
    for name in tokens:
        token = settings.get(name)  # text, or a mapping with the text
        tokens[name] = (token.get("content") if isinstance(token, dict) else token) or tokens[name]
    untyped: Any = transformers.PreTrainedTokenizerFast
    tokenizer = untyped(
        tokenizer_file=str(folder.path / "tokenizer.json"),
        padding_side=settings.get("padding_side", "right"),
        **tokens,
    )
    backend = tokenizer.backend_tokenizer
    steps = [
        normalizers.Replace(Regex(f"[{re.escape(string.punctuation)}]"), ""),
        normalizers.Replace(Regex(r"\s+"), " "),
        normalizers.Strip(),
    ]
    backend.normalizer = normalizers.Sequence([*steps, *([backend.normalizer] if backend.normalizer else [])])
    return tokenizer
