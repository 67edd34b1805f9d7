"""LoRA on an image tower: small trained matrices added to the linear layers of its blocks (arXiv 2106.09685).

A layer with weight W computes ``W x + scale * B (A x)`` with ``scale = alpha / rank``; W is frozen, and B starts at
zero, so that the tower starts as it was. PEFT makes the layers; a checkpoint holds A and B alone, and reading them
needs no PEFT.

Legend: R rank, I and O a layer's inputs and outputs.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from store.common.checked import InvalidDataError, parse_json
from store.common.errors import CheckpointError, ConfigError
from store.common.settings import Rounds
from trainer.model.tower_base import ImageTower
from trainer.settings.config import require

_A, _B = ".lora_A.default.weight", ".lora_B.default.weight"


@dataclass(frozen=True, kw_only=True, slots=True)
class Lora:
    """Rank, scale and layers of LoRA."""

    rank: Rounds = 0
    """Train the image tower by LoRA of this rank, its own weights staying as they are; 0 trains all of them."""
    alpha: float | None = None
    """LoRA's matrices add alpha / rank times their product; by default the rank, > 0."""
    targets: tuple[str, ...] | None = None
    """Linear layers that LoRA is put on, such as q_proj v_proj; by default all in the tower's blocks."""

    def __post_init__(self) -> None:
        require(self.rank >= 0, "lora_rank", self.rank, "at least 0")
        require(self.alpha is None or self.alpha > 0, "lora_alpha", self.alpha, "above 0")
        if not self.rank and (self.alpha is not None or self.targets is not None):
            raise ConfigError("lora_alpha and lora_targets say how LoRA is done; give lora_rank too")

    @property
    def scale(self) -> float:
        return 1.0 if self.alpha is None else self.alpha / self.rank

    def to_dict(self) -> dict[str, Any]:
        """The description in ``checkpoint.json``."""
        alpha = float(self.rank) if self.alpha is None else self.alpha
        return {"rank": self.rank, "alpha": alpha, "targets": list(self.targets) if self.targets else None}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Lora":
        """Inverse of :meth:`to_dict`. Raises: CheckpointError: something is absent or of another type."""
        try:
            return parse_json(json.dumps(values), cls, "a checkpoint's description of its LoRA")
        except InvalidDataError as error:
            raise CheckpointError(str(error)) from error


def add_lora(tower: ImageTower, lora: Lora) -> None:
    """Put LoRA's matrices into the tower and freeze everything else. A is drawn from torch's random state.

    Raises: ConfigError: PEFT is not installed, or a target is no linear layer of the blocks.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ConfigError("--lora-rank needs PEFT; install it with `pip install keyclip[lora]`") from error
    layers = _layers(tower, lora.targets)
    alpha: Any = lora.to_dict()["alpha"]  # PEFT declares an int, and computes with floats
    settings = LoraConfig(r=lora.rank, lora_alpha=alpha, lora_dropout=0.0, bias="none", target_modules=layers)
    tower.requires_grad_(False)
    inject_adapter_in_model(settings, tower.vision)
    for name, parameter in tower.named_parameters():
        parameter.requires_grad_(name.endswith((_A, _B)))


def _layers(tower: ImageTower, targets: tuple[str, ...] | None) -> list[str]:
    """Names, within ``tower.vision``, of the blocks' linear layers that the targets name."""
    blocks = {id(module) for module in tower.blocks.modules()}
    for attention in tower.blocks.modules():
        if isinstance(attention, nn.MultiheadAttention):  # takes its layers' weights without calling them
            blocks -= {id(module) for module in attention.modules()}
    linear = [n for n, m in tower.vision.named_modules() if isinstance(m, nn.Linear) and id(m) in blocks]
    there = sorted({name.rsplit(".", 1)[-1] for name in linear})
    if unknown := sorted(set(targets or ()) - set(there)):
        raise ConfigError(f"lora_targets names {', '.join(unknown)}; the blocks' linear layers are {', '.join(there)}")
    return [name for name in linear if targets is None or name.rsplit(".", 1)[-1] in targets]


@torch.no_grad()
def weight_changes(weights: Mapping[str, torch.Tensor], lora: Lora) -> dict[str, torch.Tensor]:
    """What the matrices among ``weights`` add to the weights of their layers: ``{name of the weight: (O, I) float32}``.

    Raises: CheckpointError: there is an A without its B, or their shapes do not fit.
    """
    changes = {}
    for name, a_RI in weights.items():
        if name.endswith(_A):
            layer = name.removesuffix(_A)
            if layer + _B not in weights:
                raise CheckpointError(f"the weights hold {name!r} but not {layer + _B!r}")
            b_OR = weights[layer + _B]
            if a_RI.ndim != 2 or b_OR.ndim != 2 or a_RI.shape[0] != b_OR.shape[1]:
                raise CheckpointError(f"the LoRA matrices for {layer!r} do not fit each other")
            changes[f"{layer}.weight"] = lora.scale * (b_OR.float() @ a_RI.float())
    return changes


@torch.no_grad()
def merge_lora(tower: ImageTower, weights: Mapping[str, torch.Tensor], lora: Lora) -> None:
    """Add trained matrices to the weights of a plain tower.

    Raises: CheckpointError: they are not matrices for layers of this tower.
    """
    parameters = dict(tower.named_parameters())
    changes = weight_changes(weights, lora)
    if not changes:
        raise CheckpointError("there are no LoRA matrices among the image tower's weights")
    for name, change in changes.items():
        if name not in parameters or parameters[name].shape != change.shape:
            raise CheckpointError(f"the LoRA matrices for {name!r} fit no layer of the image tower")
        parameters[name].add_(change.to(parameters[name]))


def trained_weights(tower: ImageTower, lora: Lora | None) -> dict[str, torch.Tensor]:
    """The tower's weights that training changes, as a plain tower names them; float32 where LoRA makes them."""
    parameters = dict(tower.named_parameters())
    if lora is None:
        return {name: parameter for name, parameter in parameters.items() if parameter.requires_grad}
    frozen = {name.replace(".base_layer.weight", ".weight"): value.detach() for name, value in parameters.items()}
    return {name: frozen[name].float() + change for name, change in weight_changes(parameters, lora).items()}
