"""Describes a model by its small files, and loads it as an :class:`~embedder.models.encoder.Encoder`."""

from typing import Any

import torch

from embedder.models.clip_text import describe_clip_text, load_clip_text, load_siglip_tokenizer
from embedder.models.encoder import Description, Encoder
from embedder.models.folder import ModelFolder, find_model
from embedder.models.llm import describe_llm, load_llm
from embedder.models.options import ModelOptions
from embedder.models.sentence import describe_sentence, load_sentence, lower_cases
from embedder.models.tokens import CaptionTokenizer
from store.common.errors import ConfigError, first_line
from store.core.spec import Kind


def describe(options: ModelOptions, at_hand: bool = False) -> Description:
    """How a model makes vectors, as its config, tokenizer and settings say, without loading the weights.

    ``at_hand``: of a hub id take what is in the hub's cache, and download nothing.

    Raises:
        ConfigError, InvalidDataError: no such model, a damaged file, or options that do not fit the model.
    """
    from transformers import AutoConfig

    folder = find_model(options.model, options.revision, options.trust_remote_code, at_hand)
    kind: Kind = folder.kind() if options.kind == "auto" else options.kind
    if kind != "llm" and (options.adapters or options.attention != "auto"):
        raise ConfigError(f"--adapters and --attention are for decoder LLMs (--kind llm), not for kind {kind!r}")
    tokenizer = _tokenizer(folder, options, kind == "clip-text" and folder.is_siglip())
    with folder.loading("config.json"):
        config = AutoConfig.from_pretrained(folder.path, trust_remote_code=options.trust_remote_code)
        tell = {"clip-text": describe_clip_text, "llm": describe_llm, "sentence": describe_sentence}[kind]
        provenance = tell(folder, options, config, tokenizer)
    return Description(folder=folder, config=config, tokenizer=tokenizer, provenance=provenance)


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


def load_encoder(options: ModelOptions, local_rank: int = 0) -> Encoder:
    """Load the model; weights only from safetensors, code of the model's folder only if trusted.

    ``local_rank`` is the number of the GPU that ``auto`` takes.

    Raises:
        ConfigError: no such model, a model that lacks weights, or options that do not fit it.
        InvalidDataError: a file of the model is damaged.
    """
    device = pick_device(options.device, local_rank)
    model = describe(options)
    folder, tokenizer, made = model.folder, model.tokenizer, model.provenance
    siglip = made.kind == "clip-text" and folder.is_siglip()
    with folder.loading("tokenizer.json and tokenizer_config.json"):
        captions = CaptionTokenizer(
            tokenizer,
            made.template,
            made.max_length,
            lower_case=siglip or (made.kind == "sentence" and lower_cases(folder)),
            like_llm2vec=made.kind == "llm" and made.pooling.startswith("mean"),
        )
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    network = _network(model, options, device)
    encoder = Encoder(
        network,
        captions,
        made,
        short_name=folder.short_name,
        device=device,
        pad_id=pad_id or 0,
        batch_tokens=options.batch_tokens or (1024 if device.type == "cpu" else 32768),
        pad_left=made.kind == "llm" or (siglip and tokenizer.padding_side == "left"),
        pad_to=getattr(network, "pad_to", None),
    )
    with folder.loading("config.json, tokenizer and weights, which do not fit each other"):
        encoder.encode(["a", "two captions"])  # tokens beyond the vocabulary, layers of other widths
    return encoder


def _network(model: Description, options: ModelOptions, device: torch.device) -> torch.nn.Module:
    name = options.compute_dtype
    if name == "auto":
        name = "bfloat16" if device.type == "cuda" else "float32"
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]
    if model.provenance.kind == "clip-text":
        return load_clip_text(model, dtype)
    if model.provenance.kind == "llm":
        return load_llm(model, options, dtype, device)
    return load_sentence(model, options, dtype)


def pick_device(name: str, local_rank: int = 0) -> torch.device:
    """``auto`` is the CUDA device of this rank, else Apple's, else the CPU. Raises: ConfigError: it is not there."""
    if name == "auto":
        cuda = f"cuda:{local_rank % max(torch.cuda.device_count(), 1)}"
        name = cuda if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {name!r} cannot be used: {first_line(error)}") from error
    return device
