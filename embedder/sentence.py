"""Sentence encoders: sentence-transformers folders, or any encoder whose token states are pooled."""

import dataclasses
from typing import Any

import torch
from torch import nn

from embedder.encoder import Provenance
from embedder.folder import ModelFolder
from embedder.networks import TokenStates, dense_layers, load_weights
from embedder.options import ModelOptions
from embedder.pooling import pooling_of_folder
from embedder.text import CAPTION
from store.errors import ConfigError


def load_sentence(
    folder: ModelFolder, options: ModelOptions, dtype: torch.dtype, tokenizer: Any
) -> tuple[nn.Module, Provenance]:
    from transformers import AutoModel

    model = load_weights(AutoModel, folder, dtype, unused=("pooler.",), trust_remote_code=options.trust_remote_code)
    pooling, dense, normalize = _modules(folder)
    prompt = _default_prompt(folder)
    if options.instruction is None and options.template is None and prompt:
        options = dataclasses.replace(options, instruction=prompt)
    if pooling == "mean-text" and options.frame() == CAPTION:
        pooling = "mean"  # a folder that leaves its prompt out of the mean counts all tokens where there is none
    pooling = options.pooling or pooling
    normalize = normalize if options.normalize is None else options.normalize
    after = dense_layers(folder, dense)
    linear = [layer for layer in after if isinstance(layer, nn.Linear)]
    dim = linear[-1].out_features if linear else model.config.hidden_size
    limit = min(
        tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", tokenizer.model_max_length)
    )
    own_length = (folder.settings("sentence_bert_config.json") or {}).get("max_seq_length")
    provenance = Provenance(
        model=folder.model,
        revision=folder.revision,
        kind="sentence",
        template=options.frame(),
        pooling=pooling,
        max_length=options.length(limit, own_length),
        normalize=normalize,
        dim=dim,
    )
    return TokenStates(model, pooling, after, normalize, with_positions=False), provenance


def _default_prompt(folder: ModelFolder) -> str:
    """The text that the folder wants before every caption, if any."""
    settings = folder.settings("config_sentence_transformers.json") or {}
    name = settings.get("default_prompt_name")
    return str((settings.get("prompts") or {}).get(name) or "") if name else ""


def _modules(folder: ModelFolder) -> tuple[str, list[str], bool]:
    """Pooling, folders of dense layers, and whether vectors are normalised, as ``modules.json`` says.

    Without that file: mean pooling over all tokens, nothing else.
    """
    pooling, dense, normalize = "mean", [], False
    for module in folder.settings("modules.json") or []:
        name = str(module["type"]).rsplit(".", 1)[-1]
        if name == "Pooling":
            pooling = pooling_of_folder(folder.settings(f"{module['path']}/config.json") or {})
        elif name == "Dense":
            dense.append(str(module["path"]))
        elif name == "Normalize":
            normalize = True
        elif name != "Transformer":
            raise ConfigError(f"module {name!r} in the modules.json of {folder.model!r} is not implemented here")
    return pooling, dense, normalize
