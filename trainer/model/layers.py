"""Layer-wise decay of the learning rate over an image tower, and which parameters decay, as LLM2CLIP's script has them.

The script (EVA-CLIP's) decides by names: ``patch_embed``, ``conv1``, ``pos_embed``, ``positional_embedding``,
``cls_token`` and ``mask_token`` count as layer 0, ``blocks.N.`` as layer N + 1, everything else as the last one. So
OpenAI's ``class_embedding`` and ``ln_pre`` learn at the whole rate, EVA's ``cls_token`` at the lowest. A tower of
transformers gets what its counterpart there gets.
"""

from collections.abc import Callable

from torch import nn

from trainer.model.tower_base import ImageTower

# layer 0 by the script's names, as open_clip has them, and by the names of transformers
_FIRST = {"patch_embed", "conv1", "pos_embed", "positional_embedding", "cls_token", "mask_token"}
_FIRST |= {"patch_embedding", "position_embedding"}
# what the script's towers list as free of weight decay, by the same two sets of names
_FREE = {"pos_embed", "positional_embedding", "cls_token", "class_embedding", "position_embedding"}


def has_weight_decay(name: str, parameter: nn.Parameter) -> bool:
    """False for vectors (biases, norms, the temperature) and for positional and class embeddings."""
    return parameter.ndim >= 2 and not _FREE.intersection(name.split("."))


def layer_scale(tower: ImageTower, decay: float) -> Callable[[str], float]:
    """A function from the name of a parameter of the tower to its share of the learning rate.

    With L blocks, block i (from 0) gets ``decay ** (L - i)``; patch and position embeddings and EVA's class token get
    ``decay ** (L + 1)``; everything else gets 1, also OpenAI's class embedding and the norm before the blocks: with
    decay 0.5 and 2 blocks, 0.125, then 0.25 and 0.5 in the blocks, then 1.
    """
    last = len(tower.blocks) + 1
    block_of = {id(p): number for number, block in enumerate(tower.blocks, 1) for p in block.parameters()}
    depths = {
        name: block_of.get(id(parameter), 0 if _FIRST.intersection(name.split(".")) else last)
        for name, parameter in tower.named_parameters()
    }
    return lambda name: decay ** (last - depths[name])
