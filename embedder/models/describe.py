"""How a model makes vectors, told by its small files: config, tokenizer and settings, without loading the weights."""

from dataclasses import dataclass
from typing import Any

from embedder.models.clip_text import describe_clip_text, is_siglip
from embedder.models.encoder import Provenance
from embedder.models.folder import Kind, ModelFolder, find_model
from embedder.models.llm import describe_llm
from embedder.models.options import ModelOptions
from embedder.models.sentence import describe_sentence
from embedder.models.siglip_text import load_siglip_tokenizer
from store.common.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A model's folder, what transformers reads of it, and how the model makes vectors."""

    folder: ModelFolder
    config: Any
    """Of transformers."""
    tokenizer: Any
    """Of transformers."""
    siglip: bool
    provenance: Provenance


def describe(options: ModelOptions, at_hand: bool = False) -> Description:
    """Read the small files of a model.

    ``at_hand``: of a hub id take what is in the hub's cache, and download nothing.

    Raises:
        ConfigError, InvalidDataError: no such model, a damaged file, or options that do not fit the model.
    """
    from transformers import AutoConfig

    folder = find_model(options.model, options.revision, options.trust_remote_code, at_hand)
    kind: Kind = folder.kind() if options.kind == "auto" else options.kind
    if kind != "llm" and (options.adapters or options.attention != "auto"):
        raise ConfigError(f"--adapters and --attention are for decoder LLMs (--kind llm), not for kind {kind!r}")
    siglip = kind == "clip-text" and is_siglip(folder)
    tokenizer = _tokenizer(folder, options, siglip)
    with folder.loading("config.json"):
        config = AutoConfig.from_pretrained(folder.path, trust_remote_code=options.trust_remote_code)
        tell = {"clip-text": describe_clip_text, "llm": describe_llm, "sentence": describe_sentence}[kind]
        provenance = tell(folder, options, config, tokenizer)
    return Description(folder=folder, config=config, tokenizer=tokenizer, siglip=siglip, provenance=provenance)


def _tokenizer(folder: ModelFolder, options: ModelOptions, siglip: bool) -> Any:
    from transformers import AutoTokenizer

    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"):
        folder.settings(name, dict[str, Any])
    with folder.loading("tokenizer.json and tokenizer_config.json"):
        tokenizer: Any
        if siglip:
            tokenizer = load_siglip_tokenizer(folder)
        else:
            tokenizer = AutoTokenizer.from_pretrained(folder.path, trust_remote_code=options.trust_remote_code)
        if not tokenizer.model_max_length >= 1:
            raise ValueError(f"model_max_length is {tokenizer.model_max_length}, not at least 1")
        return tokenizer
