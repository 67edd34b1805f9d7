"""Decoder LLMs as caption embedders, with LLM2Vec semantics.

The decoder runs bidirectionally (only padding is masked), a chat template surrounds the caption, batches are padded on
the left, and the vector is the mean of the last states over the caption and the tokens that close it.
:class:`~embedder.models.tokens.CaptionTokenizer` says how captions with leading blanks or too many tokens are treated,
and names the one difference from LLM2Vec: special tokens that a caption spells out.
"""

import importlib.util
import warnings
from typing import Any

import torch
from torch import nn

from embedder.models.encoder import Description, Provenance
from embedder.models.folder import ModelFolder, find_model
from embedder.models.networks import TokenStates, load_weights
from embedder.models.options import CAPTION, ModelOptions
from store.common.errors import ConfigError

LLAMA3_TEMPLATE = "<|start_header_id|>user<|end_header_id|>\n\n{caption}<|eot_id|>"
LLAMA3_TOKENS = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
MAX_LENGTH = 512


def describe_llm(folder: ModelFolder, options: ModelOptions, config: Any, tokenizer: Any) -> Provenance:
    """How the decoder, its adapters merged, makes vectors."""
    models = [folder, *map(find_model, options.adapters)]
    pooling = options.pooling or "mean-text"
    vocabulary = tokenizer.get_vocab()
    template = LLAMA3_TEMPLATE if all(token in vocabulary for token in LLAMA3_TOKENS) else CAPTION
    limit = min(getattr(config, "max_position_embeddings", tokenizer.model_max_length), tokenizer.model_max_length)
    return Provenance(
        model="+".join(model.model for model in models),
        revision="+".join(model.revision for model in models),
        kind="llm",
        template=options.frame(template),
        pooling=f"{pooling}, causal" if options.attention == "causal" else pooling,
        max_length=options.length(limit, MAX_LENGTH),
        normalize=bool(options.normalize),
        dim=config.hidden_size,
    )


def load_llm(model: Description, options: ModelOptions, dtype: torch.dtype, device: torch.device) -> nn.Module:
    """The decoder stack without its language-model head, adapters merged.

    Raises:
        ConfigError: weights are missing, an adapter does not fit, or the architecture cannot attend as asked.
    """
    from transformers import AutoModel

    causal = options.attention == "causal"
    model.config.is_causal = causal
    more: dict[str, Any] = {"config": model.config, "trust_remote_code": options.trust_remote_code}
    # with accelerate, weights do not pass through the memory of the host, which several GPUs share
    if device.type == "cuda" and importlib.util.find_spec("accelerate") is not None:
        more["device_map"] = {"": device}
    decoder = load_weights(AutoModel, model.folder, dtype, (), **more)
    for adapter in options.adapters:
        decoder = merge_adapter(decoder, find_model(adapter))
    decoder = decoder.to(device).eval().requires_grad_(False)
    require_attention(decoder, causal, model.folder.model)
    return TokenStates(decoder, options.pooling or "mean-text", nn.Identity(), bool(options.normalize), True)


def merge_adapter(model: Any, adapter: ModelFolder) -> Any:
    """The model with the weights of a PEFT adapter (LoRA and its kin) added to its own, at no cost at run time.

    Adapters trained on a model with a language-model head name their weights one level deeper; both fit.

    Raises:
        ConfigError: peft is not installed, the folder holds no safetensors adapter, or weights of it find no place.
    """
    try:
        import peft
    except ImportError as error:
        raise ConfigError("--adapters needs the package peft; install keyclip[llm]") from error
    from safetensors.torch import load_file

    file = adapter.path / "adapter_model.safetensors"
    if not file.is_file() or adapter.settings("adapter_config.json", dict[str, Any]) is None:
        raise ConfigError(
            f"{str(adapter.path)!r} is not a PEFT adapter: expected adapter_config.json and adapter_model.safetensors"
        )
    with adapter.loading("adapter_config.json and adapter_model.safetensors"):
        config = peft.PeftConfig.from_pretrained(str(adapter.path))
        config.inference_mode = True
        with warnings.catch_warnings():  # peft asks for attributes that transformers is renaming
            warnings.simplefilter("ignore", FutureWarning)
            wrapped = peft.get_peft_model(model, config)
        weights = load_file(file)
    deeper = "base_model.model.model."
    if all(name.startswith(deeper) for name in weights):
        weights = {"base_model.model." + name.removeprefix(deeper): value for name, value in weights.items()}
    outcome: Any = peft.set_peft_model_state_dict(wrapped, weights)
    absent = [name for name in outcome.missing_keys if "lora_" in name or "modules_to_save" in name]
    if wrong := outcome.unexpected_keys or absent:
        raise ConfigError(f"adapter {adapter.model!r} does not fit the model: no match for {wrong[0]!r}")
    return wrapped.merge_and_unload()


@torch.inference_mode()
def require_attention(model: nn.Module, causal: bool, name: str) -> None:
    """Check on a few tokens that the model attends as asked, with padding and without.

    Libraries choose the mask in several places (config, layer, kernel), so only a trial shows it.

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
