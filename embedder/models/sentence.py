"""Sentence encoders: sentence-transformers folders, or any encoder whose token states are pooled."""

import dataclasses
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn
from typing_extensions import TypedDict

from embedder.models.encoder import Description, Provenance
from embedder.models.folder import ModelFolder
from embedder.models.networks import TokenStates, dense_layers, dense_settings, load_weights
from embedder.models.options import CAPTION, ModelOptions
from embedder.models.pooling import pooling_of_folder
from store.common.errors import ConfigError


class ModuleSettings(TypedDict):
    """One module of ``modules.json``."""

    type: str
    path: str


class SentenceSettings(TypedDict, total=False):
    """``sentence_bert_config.json``."""

    max_seq_length: Annotated[int, Field(gt=0)] | None
    do_lower_case: bool


class PromptSettings(TypedDict, total=False):
    """What is used of ``config_sentence_transformers.json``."""

    prompts: dict[str, str | None] | None
    default_prompt_name: str | None


def describe_sentence(folder: ModelFolder, options: ModelOptions, config: Any, tokenizer: Any) -> Provenance:
    """How the encoder makes vectors, as the folder's own files and ``options`` say."""
    pooling, dense, normalize = _modules(folder)
    prompts = folder.settings("config_sentence_transformers.json", PromptSettings) or {}
    prompt_name = prompts.get("default_prompt_name")
    if options.instruction is None and options.template is None and prompt_name:
        prompt = (prompts.get("prompts") or {}).get(prompt_name)
        options = dataclasses.replace(options, instruction=prompt or None)
    if pooling == "mean-text" and options.frame() == CAPTION:
        pooling = "mean"  # a folder that leaves its prompt out of the mean counts all tokens where there is none
    limit = min(tokenizer.model_max_length, getattr(config, "max_position_embeddings", tokenizer.model_max_length))
    return Provenance(
        model=folder.model,
        revision=folder.revision,
        kind="sentence",
        template=options.frame(),
        pooling=options.pooling or pooling,
        max_length=options.length(limit, _settings(folder).get("max_seq_length")),
        normalize=normalize if options.normalize is None else options.normalize,
        dim=dense_settings(folder, dense[-1])["out_features"] if dense else config.hidden_size,
    )


def load_sentence(model: Description, options: ModelOptions, dtype: torch.dtype) -> nn.Module:
    """The encoder that was described, with its dense layers."""
    from transformers import AutoModel

    more = {"config": model.config, "trust_remote_code": options.trust_remote_code}
    encoder = load_weights(AutoModel, model.folder, dtype, unused=("pooler.",), **more)
    after = dense_layers(model.folder, _modules(model.folder)[1])
    return TokenStates(encoder, model.provenance.pooling, after, model.provenance.normalize, with_positions=False)


def lower_cases(folder: ModelFolder) -> bool:
    """Whether the folder wants captions in lower case."""
    return bool(_settings(folder).get("do_lower_case", False))


def _settings(folder: ModelFolder) -> SentenceSettings:
    return folder.settings("sentence_bert_config.json", SentenceSettings) or {}


def _modules(folder: ModelFolder) -> tuple[str, list[str], bool]:
    """Pooling, folders of dense layers, and whether vectors are normalised, as ``modules.json`` says.

    Without that file: mean pooling over all tokens, nothing else.
    """
    pooling, dense, normalize = "mean", [], False
    for module in folder.settings("modules.json", list[ModuleSettings]) or []:
        name = module["type"].rsplit(".", 1)[-1]
        if name == "Pooling":
            settings = folder.settings(f"{module['path']}/config.json", dict[str, Any]) or {}
            pooling = pooling_of_folder(settings, str(folder.path))
        elif name == "Dense":
            dense.append(module["path"])
        elif name == "Normalize":
            normalize = True
        elif name != "Transformer":
            raise ConfigError(f"module {name!r} in the modules.json of {folder.model!r} is not implemented here")
    return pooling, dense, normalize
