"""The MLP ``h`` that carries caption embeddings into CLIP's joint space.

Legend: B batch, D embedder width, E joint width.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from typing_extensions import TypedDict

from store.common.checked import InvalidDataError, check
from store.common.errors import CheckpointError
from store.common.settings import Layers
from trainer.settings.config import require_least


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterConfig:
    """The shape of a fresh adapter."""

    num_blocks: Layers = 4
    """Residual blocks of a fresh adapter; the paper has 4 for both methods, and 12 in table 14."""
    expansion: Layers = 2
    """Expansion of each block of a fresh adapter; 2 as LLM2CLIP released it, on which the paper builds."""

    def __post_init__(self) -> None:
        require_least(self, 0, "num_blocks")
        require_least(self, 1, "expansion")


class AdapterShape(TypedDict):
    """The arguments of an adapter, as files hold them."""

    dim_in: int
    dim_out: int
    num_blocks: int
    expansion: int


class Block(nn.Module):
    """Residual block at constant width: ``x + W2 GELU(W1 LayerNorm(x))``."""

    def __init__(self, width: int, expansion: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, width * expansion)
        self.down = nn.Linear(width * expansion, width)

    def forward(self, x_BD: torch.Tensor) -> torch.Tensor:
        return x_BD + self.down(F.gelu(self.up(self.norm(x_BD))))


class Adapter(nn.Module):
    """``h(t') = W LayerNorm(blocks(t' / |t'|)) + b``: (B, D) float -> (B, E) float, not normalised.

    LLM2CLIP released 4 blocks with expansion 2; ProCLIP's paper uses the same for both methods, and 12 blocks in table
    14. The default of ProCLIP's public code (1 block, expansion 8) is not what the paper reports.

    Attributes:
        shape: the arguments that make an adapter of this shape.
    """

    def __init__(self, dim_in: int, dim_out: int, num_blocks: int = 4, expansion: int = 2) -> None:
        super().__init__()
        self.shape = AdapterShape(dim_in=dim_in, dim_out=dim_out, num_blocks=num_blocks, expansion=expansion)
        self.blocks = nn.Sequential(*(Block(dim_in, expansion) for _ in range(num_blocks)))
        self.norm = nn.LayerNorm(dim_in)
        self.projection = nn.Linear(dim_in, dim_out)

    def forward(self, caption_BD: torch.Tensor) -> torch.Tensor:
        caption_BD = F.normalize(caption_BD.float(), dim=-1).to(self.projection.weight.dtype)
        return self.projection(self.norm(self.blocks(caption_BD)))


def restored_adapter(shape: object, weights: Mapping[str, torch.Tensor], what: str) -> Adapter:
    """An adapter with the weights of a file, float32, in evaluation mode and without gradients.

    ``shape`` and ``weights`` are as the file holds them; ``what`` names the checkpoint or export, for errors.

    Raises: CheckpointError: the shape is none, or the weights are not of this shape.
    """
    try:
        known = check(shape, AdapterShape, f"the adapter's shape in {what}")
    except InvalidDataError as error:
        raise CheckpointError(str(error)) from error
    projection = weights.get("projection.weight")
    blocks = {name.split(".")[1] for name in weights if name.startswith("blocks.")}
    if projection is None or tuple(projection.shape) != (known["dim_out"], known["dim_in"]):
        raise CheckpointError(f"{what} holds no projection of the adapter for its shape {known}")
    if len(blocks) != known["num_blocks"]:
        raise CheckpointError(f"{what} holds {len(blocks)} blocks of an adapter, its shape says {known['num_blocks']}")
    try:
        with torch.device("meta"):
            adapter = Adapter(**known)
        adapter.load_state_dict({name: value.float() for name, value in weights.items()}, assign=True)
    except (RuntimeError, TypeError, ValueError) as error:
        reason = str(error).strip().split("\n")[-1].strip()
        raise CheckpointError(f"the adapter's weights in {what} do not fit its shape {known}: {reason}") from error
    return adapter.eval().requires_grad_(False)
