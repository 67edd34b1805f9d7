"""The networks: token ids in, one float32 vector per caption out.

Shapes: B captions, L tokens after padding, D width of the vectors.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NotRequired

import torch
from pydantic import Field
from torch import Tensor, nn
from typing_extensions import TypedDict

from embedder.models.folder import ModelFolder
from embedder.models.pooling import pool
from store.common.errors import ConfigError


class TokenStates(nn.Module):
    """An encoder or a decoder LLM whose token states are pooled, then passed through ``after`` (dense layers)."""

    def __init__(self, model: nn.Module, pooling: str, after: nn.Module, normalize: bool, with_positions: bool) -> None:
        super().__init__()
        self.model = model
        self.pooling = pooling
        self.after = after
        self.normalize = normalize
        self.with_positions = with_positions

    def forward(self, ids_BL: Tensor, mask_BL: Tensor, text_BL: Tensor) -> Tensor:
        """(B, D) float32; ``mask_BL``: not padding; ``text_BL``: the caption and what follows it."""
        extra: dict[str, Any] = {}
        if self.with_positions:  # positions count from the caption's own first token, not from the padding
            extra = {"position_ids": (mask_BL.long().cumsum(dim=1) - 1).clamp(min=0), "use_cache": False}
        states_BLD = self.model(input_ids=ids_BL, attention_mask=mask_BL.long(), **extra).last_hidden_state
        vectors_BD: Tensor = self.after(pool(states_BLD, mask_BL, text_BL, self.pooling))
        return nn.functional.normalize(vectors_BD, dim=-1) if self.normalize else vectors_BD


class TextTower(nn.Module):
    """The text tower of a CLIP, with its projection, or of a SigLIP, which sees padding, as it did in training.

    Attributes:
        pad_to: tokens of every text of a SigLIP, padding included; else None.
    """

    def __init__(self, model: Any, normalize: bool, siglip: bool) -> None:
        super().__init__()
        self.model = model
        self.normalize = normalize
        self.pad_to = int(model.config.max_position_embeddings) if siglip else None

    def forward(self, ids_BL: Tensor, mask_BL: Tensor, text_BL: Tensor) -> Tensor:
        """(B, D) float32 features of the joint image-text space."""
        vectors_BD: Tensor
        if self.pad_to is not None:
            vectors_BD = self.model(input_ids=ids_BL).pooler_output.float()
        else:
            vectors_BD = self.model(input_ids=ids_BL, attention_mask=mask_BL.long()).text_embeds.float()
        return nn.functional.normalize(vectors_BD, dim=-1) if self.normalize else vectors_BD


def load_weights(
    auto_class: Any, folder: ModelFolder, dtype: torch.dtype, unused: tuple[str, ...], **options: Any
) -> Any:
    """``auto_class.from_pretrained`` that refuses a model with weights missing, which would come out random.

    ``unused``: parts of parameter names that may be missing because the vectors do not depend on them.

    Raises:
        ConfigError: the folder cannot be loaded, or lacks weights.
    """
    folder.check_weights()
    # transformers' report names every weight that is not needed, such as CLIP's whole image tower
    with folder.loading("config.json and weights"), _quiet_loading():
        model, info = auto_class.from_pretrained(
            folder.path, dtype=dtype, use_safetensors=True, output_loading_info=True, **options
        )
    missing = sorted(k for k in info["missing_keys"] if not any(part in k for part in unused))
    if missing:
        raise ConfigError(
            f"the weights of model {folder.model!r} lack {len(missing)} parameters, such as {missing[0]!r}; "
            "is this a complete model of the kind that its config.json names?"
        )
    return model.eval().requires_grad_(False)


@contextmanager
def _quiet_loading() -> Iterator[None]:
    from transformers.utils import logging as untyped

    logging: Any = untyped
    verbosity, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bar:
            logging.enable_progress_bar()


class DenseSettings(TypedDict):
    """The ``config.json`` of a Dense module."""

    in_features: Annotated[int, Field(gt=0)]
    out_features: Annotated[int, Field(gt=0)]
    bias: NotRequired[bool]
    activation_function: str


def dense_settings(folder: ModelFolder, path: str) -> DenseSettings:
    """The settings of the Dense module in the sub-folder ``path``. Raises: ConfigError: it has none."""
    settings = folder.settings(f"{path}/config.json", DenseSettings)
    if settings is None:
        raise ConfigError(f"the dense layer {str(folder.path / path)!r} has no config.json")
    return settings


def dense_layers(folder: ModelFolder, paths: list[str]) -> nn.Sequential:
    """The Dense modules of a sentence-transformers folder, in float32.

    Raises:
        ConfigError: an activation that is not known, or weights that are not there as safetensors or do not fit.
    """
    from safetensors.torch import load_file

    layers: list[nn.Module] = []
    for path in paths:
        settings = dense_settings(folder, path)
        weights = folder.path / path / "model.safetensors"
        activation = settings["activation_function"].rsplit(".", 1)[-1]
        if activation not in ("Identity", "Tanh", "ReLU", "GELU", "Sigmoid") or not weights.is_file():
            raise ConfigError(f"the dense layer {str(weights.parent)!r} lacks safetensors or has an unknown activation")
        with folder.loading(f"{path}/config.json and {path}/model.safetensors"):
            loaded = {name.removeprefix("linear."): value.float() for name, value in load_file(weights).items()}
            with torch.device("meta"):
                layer = nn.Linear(settings["in_features"], settings["out_features"], settings.get("bias", True))
            layer.load_state_dict(loaded, assign=True)
        layers += [layer, getattr(nn, activation)()]
    return nn.Sequential(*layers).eval().requires_grad_(False)
