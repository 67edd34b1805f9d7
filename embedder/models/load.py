"""Loads a model folder or hub id as an :class:`~embedder.models.encoder.Encoder`."""

import torch

from embedder.models.clip_text import load_clip_text
from embedder.models.describe import Description, describe
from embedder.models.encoder import Encoder
from embedder.models.llm import load_llm
from embedder.models.networks import SiglipText
from embedder.models.options import ModelOptions
from embedder.models.sentence import load_sentence, lower_cases
from embedder.models.tokens import CaptionTokenizer
from store.common.errors import ConfigError


def load_encoder(options: ModelOptions, local_rank: int = 0) -> Encoder:
    """Load the model; weights only from safetensors, code of the model's folder only if trusted.

    ``local_rank`` is the number of the GPU that ``auto`` takes.

    Raises:
        ConfigError: no such model, a model that lacks weights, or options that do not fit it.
        InvalidDataError: a file of the model is damaged.
    """
    device = pick_device(options.device, local_rank)
    model = describe(options)
    with model.folder.loading("tokenizer.json and tokenizer_config.json"):
        captions = _caption_tokenizer(model)
    network = _network(model, options, device)
    tokenizer = model.tokenizer
    pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    encoder = Encoder(
        network,
        captions,
        model.provenance,
        short_name=model.folder.short_name,
        device=device,
        pad_id=pad_id or 0,
        batch_tokens=options.batch_tokens or (1024 if device.type == "cpu" else 32768),
        pad_left=model.provenance.kind == "llm" or (model.siglip and tokenizer.padding_side == "left"),
        pad_to=network.length if isinstance(network, SiglipText) else None,
    )
    with model.folder.loading("config.json, tokenizer and weights, which do not fit each other"):
        encoder.encode(["a", "two captions"])  # tokens beyond the vocabulary, layers of other widths
    return encoder


def _network(model: Description, options: ModelOptions, device: torch.device) -> torch.nn.Module:
    dtype = _compute_dtype(options.compute_dtype, device)
    if model.provenance.kind == "clip-text":
        return load_clip_text(model.folder, model.provenance, model.config, dtype)
    if model.provenance.kind == "llm":
        return load_llm(model.folder, options, model.config, dtype, device)
    return load_sentence(model.folder, options, model.provenance, model.config, dtype)


def _caption_tokenizer(model: Description) -> CaptionTokenizer:
    made = model.provenance
    return CaptionTokenizer(
        model.tokenizer,
        made.template,
        made.max_length,
        lower_case=model.siglip or (made.kind == "sentence" and lower_cases(model.folder)),
        like_llm2vec=made.kind == "llm" and made.pooling.startswith("mean"),
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
