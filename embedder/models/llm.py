"""Decoder LLMs as caption embedders, with LLM2Vec semantics.

The decoder runs bidirectionally (only padding is masked), a chat template surrounds the caption, batches are padded on
the left, and the vector is the mean of the last states over the caption and the tokens that close it. How captions with
leading blanks or too many tokens are treated, and the one difference from LLM2Vec (special tokens that a caption spells
out), is told by :class:`~embedder.models.tokens.CaptionTokenizer`.
"""

import importlib.util
from typing import Any

import torch
from torch import nn

from embedder.models.adapters import merge_adapter
from embedder.models.encoder import Provenance
from embedder.models.folder import ModelFolder, find_model
from embedder.models.networks import TokenStates, load_weights
from embedder.models.options import ModelOptions
from embedder.models.text import CAPTION
from store.common.errors import ConfigError

LLAMA3_TEMPLATE = "<|start_header_id|>user<|end_header_id|>\n\n{caption}<|eot_id|>"
MAX_LENGTH = 512


def describe_llm(folder: ModelFolder, options: ModelOptions, config: Any, tokenizer: Any) -> Provenance:
    """How the decoder, its adapters merged, makes vectors."""
    adapters = [find_model(adapter) for adapter in options.adapters]
    pooling = options.pooling or "mean-text"
    limit = min(getattr(config, "max_position_embeddings", tokenizer.model_max_length), tokenizer.model_max_length)
    return Provenance(
        model="+".join([folder.model, *(a.model for a in adapters)]),
        revision="+".join([folder.revision, *(a.revision for a in adapters)]),
        kind="llm",
        template=options.frame(_own_template(tokenizer)),
        pooling=f"{pooling}, causal" if options.attention == "causal" else pooling,
        max_length=options.length(limit, MAX_LENGTH),
        normalize=bool(options.normalize),
        dim=config.hidden_size,
    )


def load_llm(
    folder: ModelFolder, options: ModelOptions, config: Any, dtype: torch.dtype, device: torch.device
) -> nn.Module:
    """The decoder stack without its language-model head, adapters merged.

    Raises:
        ConfigError: weights are missing, an adapter does not fit, or the architecture cannot attend as asked.
    """
    from transformers import AutoModel

    causal = options.attention == "causal"
    config.is_causal = causal
    # with accelerate, weights need not pass through the memory of the host, which has that of several GPUs to feed
    direct = device.type == "cuda" and importlib.util.find_spec("accelerate") is not None
    extra = {"device_map": {"": device}} if direct else {}
    model = load_weights(
        AutoModel, folder, dtype, (), config=config, trust_remote_code=options.trust_remote_code, **extra
    )
    for adapter in options.adapters:
        model = merge_adapter(model, find_model(adapter))
    model = model.to(device).eval().requires_grad_(False)
    require_attention(model, causal, folder.model)
    return TokenStates(model, options.pooling or "mean-text", nn.Identity(), bool(options.normalize), True)


def _own_template(tokenizer: Any) -> str:
    """Llama-3's chat header where the vocabulary has its tokens, else the caption alone."""
    vocabulary = tokenizer.get_vocab()
    tokens = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
    return LLAMA3_TEMPLATE if all(token in vocabulary for token in tokens) else CAPTION


@torch.inference_mode()
def require_attention(model: nn.Module, causal: bool, name: str) -> None:
    """Check on a few tokens that the model attends as asked, with padding and without.

    Libraries choose the mask in several places (config, layer, kernel), so only trying tells.

    Raises:
        ConfigError: the last token reaches the first one's state although causal, or does not although bidirectional.
    """
    device = next(model.parameters()).device
    ids = torch.tensor([[2, 3, 4, 5], [2, 3, 4, 5]], device=device)
    changed = ids.clone()
    changed[:, -1] = 6
    for padded in (False, True):
        mask = torch.ones_like(ids)
        mask[1, 0] = 0 if padded else 1
        before, after = (
            model(input_ids=i, attention_mask=mask).last_hidden_state[0, 0].float() for i in (ids, changed)
        )
        sees_last = bool((before - after).abs().max() > 1e-4 * before.abs().max())
        if sees_last == causal:
            wanted, found = ("causally", "bidirectionally") if causal else ("bidirectionally", "causally")
            raise ConfigError(
                f"model {name!r} ({type(model).__name__}) attends {found} although it was asked to attend {wanted}; "
                "this architecture needs another --attention"
            )
