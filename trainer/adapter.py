"""The MLP ``h`` that carries caption embeddings into CLIP's joint space.

Legend: B batch, D embedder width, E joint width.
"""

import torch
import torch.nn.functional as F
from torch import nn


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
    """

    def __init__(self, dim_in: int, dim_out: int, num_blocks: int = 4, expansion: int = 2) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(Block(dim_in, expansion) for _ in range(num_blocks)))
        self.norm = nn.LayerNorm(dim_in)
        self.projection = nn.Linear(dim_in, dim_out)

    def forward(self, caption_BD: torch.Tensor) -> torch.Tensor:
        caption_BD = F.normalize(caption_BD.float(), dim=-1).to(self.projection.weight.dtype)
        return self.projection(self.norm(self.blocks(caption_BD)))
