"""SigLIP's and SigLIP2's own text towers: the teacher field of stage 2 on their image towers.

They were trained on lower-cased captions padded to the tower's whole length (64 tokens), without an attention mask: the
pooled output is that of the last position, padding or not.
"""

import re
import string
from typing import Any

import torch
from tokenizers import Regex, normalizers

from embedder.encoder import Provenance
from embedder.folder import SIGLIP_TYPES, ModelFolder
from embedder.networks import SiglipText, load_weights
from embedder.options import ModelOptions
from store.errors import ConfigError


def load_siglip_text(folder: ModelFolder, options: ModelOptions, dtype: torch.dtype) -> tuple[SiglipText, Provenance]:
    import transformers

    if options.pooling is not None:
        raise ConfigError("--pooling does not apply to a SigLIP text tower, which pools at its last position")
    config = transformers.AutoConfig.from_pretrained(folder.path)
    config = getattr(config, "text_config", config)
    class_name = "Siglip2TextModel" if config.model_type.startswith("siglip2") else "SiglipTextModel"
    model = load_weights(getattr(transformers, class_name), folder, dtype, unused=(), config=config)
    normalize = bool(options.normalize)
    provenance = Provenance(
        model=folder.model,
        revision=folder.revision,
        kind="clip-text",
        template=options.frame(),
        pooling="last",
        max_length=options.length(config.max_position_embeddings),
        normalize=normalize,
        dim=config.projection_size,
    )
    return SiglipText(model, normalize), provenance


def is_siglip(folder: ModelFolder) -> bool:
    """Whether the folder holds a SigLIP or SigLIP2, or the text tower of one."""
    return folder.config["model_type"] in SIGLIP_TYPES


def load_siglip_tokenizer(folder: ModelFolder) -> Any:
    """The tokenizer of ``tokenizer.json``; transformers' own for SigLIP is a slow one, in need of SentencePiece.

    SigLIP (not SigLIP2, whose tokenizer is Gemma's) takes captions without punctuation.

    Raises:
        ConfigError: the folder has no ``tokenizer.json``.
    """
    import transformers

    if not (folder.path / "tokenizer.json").is_file():
        raise ConfigError(f"model {folder.model!r} has no tokenizer.json; save it with a fast tokenizer")
    if (folder.settings("tokenizer_config.json") or {}).get("tokenizer_class") != "SiglipTokenizer":
        return transformers.AutoTokenizer.from_pretrained(folder.path)
    settings = folder.settings("tokenizer_config.json")
    names = ("unk_token", "eos_token", "pad_token")
    tokens = {name: token for name in names if (token := _text(settings.get(name)))}
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder.path / "tokenizer.json"),
        padding_side=settings.get("padding_side", "right"),
        **{"eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>"} | tokens,
    )
    backend = tokenizer.backend_tokenizer
    steps = [
        normalizers.Replace(Regex(f"[{re.escape(string.punctuation)}]"), ""),
        normalizers.Replace(Regex(r"\s+"), " "),
        normalizers.Strip(),
    ]
    backend.normalizer = normalizers.Sequence([*steps, *([backend.normalizer] if backend.normalizer else [])])
    return tokenizer


def _text(token: Any) -> str | None:
    """A special token as the settings file writes it: text, or a mapping with its content."""
    return token.get("content") if isinstance(token, dict) else token
