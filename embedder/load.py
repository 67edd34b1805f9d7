"""Loads a model folder or hub id as an :class:`~embedder.encoder.Encoder`."""

from typing import Any

import torch

from embedder.clip_text import load_clip_text
from embedder.encoder import Encoder
from embedder.folder import Kind, ModelFolder, find_model
from embedder.llm import load_llm
from embedder.options import ModelOptions
from embedder.sentence import load_sentence
from embedder.siglip_text import is_siglip, load_siglip_text, load_siglip_tokenizer
from embedder.tokens import CaptionTokenizer
from store.errors import ConfigError


def load_encoder(options: ModelOptions, local_rank: int = 0) -> Encoder:
    """Load the model; weights only from safetensors, code of the model's folder only if trusted.

    ``local_rank`` is the number of the GPU that ``auto`` takes.

    Raises:
        ConfigError: no such model, a model that lacks weights, or options that do not fit it.
    """
    folder = find_model(options.model, options.revision, options.trust_remote_code)
    kind: Kind = folder.kind() if options.kind == "auto" else options.kind
    device = pick_device(options.device, local_rank)
    dtype = _compute_dtype(options.compute_dtype, device)
    siglip = kind == "clip-text" and is_siglip(folder)
    tokenizer = _load_tokenizer(folder, options, siglip)
    network: torch.nn.Module
    lower_case = siglip
    pad_to: int | None = None
    if kind != "llm" and (options.adapters or options.attention != "auto"):
        raise ConfigError(f"--adapters and --attention are for decoder LLMs (--kind llm), not for kind {kind!r}")
    if siglip:
        siglip_text, provenance = load_siglip_text(folder, options, dtype)
        network, pad_to = siglip_text, siglip_text.length
    elif kind == "clip-text":
        network, provenance = load_clip_text(folder, options, dtype, tokenizer)
    elif kind == "llm":
        network, provenance = load_llm(folder, options, dtype, device, tokenizer)
    else:
        network, provenance = load_sentence(folder, options, dtype, tokenizer)
        lower_case = bool((folder.settings("sentence_bert_config.json") or {}).get("do_lower_case", False))
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    return Encoder(
        network,
        CaptionTokenizer(
            tokenizer,
            provenance.template,
            provenance.max_length,
            lower_case,
            like_llm2vec=kind == "llm" and provenance.pooling.startswith("mean"),
        ),
        provenance,
        short_name=folder.short_name,
        device=device,
        pad_id=pad_id or 0,
        batch_tokens=options.batch_tokens or (1024 if device.type == "cpu" else 32768),
        pad_left=kind == "llm" or (siglip and tokenizer.padding_side == "left"),
        pad_to=pad_to,
    )


def pick_device(name: str, local_rank: int = 0) -> torch.device:
    """``auto`` is the CUDA device of this rank, else Apple's, else the CPU.

    Raises:
        ConfigError: the device is not there.
    """
    if name == "auto":
        cuda = f"cuda:{local_rank % max(torch.cuda.device_count(), 1)}"
        name = cuda if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from error
    return device


def _compute_dtype(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        name = "bfloat16" if device.type == "cuda" else "float32"
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]


def _load_tokenizer(folder: ModelFolder, options: ModelOptions, siglip: bool) -> Any:
    from transformers import AutoTokenizer

    try:
        if siglip:
            return load_siglip_tokenizer(folder)
        return AutoTokenizer.from_pretrained(folder.path, trust_remote_code=options.trust_remote_code)
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(f"the tokenizer of model {folder.model!r} cannot be loaded: {reason}") from error
