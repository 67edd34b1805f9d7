"""Layer-wise decay of the learning rate over an image tower, as EVA-CLIP's and LLM2CLIP's scripts have it."""

from collections.abc import Callable

from trainer.tower_base import ImageTower

# what stands before the blocks: patch, class and position embeddings, and the norm after them
_EARLY = ("embed", "cls_token", "reg_token", "conv1", "pre_layrnorm", "ln_pre", "norm_pre")


def layer_scale(tower: ImageTower, decay: float) -> Callable[[str], float]:
    """How much of the learning rate a parameter of the tower gets, by its name.

    With L blocks, block i (from 0) gets ``decay ** (L - i)``, what stands before the blocks ``decay ** (L + 1)``, and
    what stands after them (norm, pooling head, projection) all of it: with decay 0.5 and 2 blocks, 0.125 before,
    0.25 and 0.5 in the blocks, 1 after.
    """
    depths = _depths(tower)
    last = len(tower.blocks) + 1
    return lambda name: decay ** (last - depths[name])


def _depths(tower: ImageTower) -> dict[str, int]:
    """0 for parameters before the blocks, 1 to L in them, L + 1 after them; of every parameter."""
    block_of = {id(p): number for number, block in enumerate(tower.blocks, 1) for p in block.parameters()}
    depths = {}
    for name, parameter in tower.named_parameters():
        outside = 0 if any(part in name for part in _EARLY) else len(tower.blocks) + 1
        depths[name] = block_of.get(id(parameter), outside)
    return depths
