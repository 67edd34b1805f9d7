"""Named recipes: settings per stage, for ``--recipe NAME``. Paths and fields are given beside it; flags override it.

The papers do not publish epochs, learning rates of stage 1, EMA momentum or ``w``; what stands here for the large runs
follows LLM2CLIP's public script where it says something (AdamW, weight decay 0.05, batch 4,096, gradient clip 5,
learning rate 1e-5, cosine, layer-wise decay 0.85, gradient checkpointing) and is otherwise this project's choice, to
be tuned.
"""

from collections.abc import Callable
from typing import Any

from store.errors import ConfigError

Recipe = dict[str, dict[str, Any]]


def demo() -> Recipe:
    """``keyclip demo``: small CLIP, scenes or photos of 64 pixels, 2 CPU ranks, minutes.

    Chosen on the dev split of the generated scenes. Expected there: ProCLIP drifts less than LLM2CLIP and beats it in
    mean rank.
    """
    bookkeeping = {"workers": 0, "log_every": 5, "checkpoint_every": 50}
    return {
        "pretrain": {"batch_size": 128, "learning_rate": 1e-3, "warmup_steps": 50, "patch_size": 16, **bookkeeping},
        "stage1": {"batch_size": 256, "learning_rate": 1e-3, "warmup_steps": 10, "epochs": 1_000_000, **bookkeeping},
        "stage2": {
            "batch_size": 64,
            "learning_rate": 2e-4,
            "warmup_steps": 10,
            "epochs": 1_000_000,  # the budget is in steps: --max-steps
            "min_crop": 0.8,
            "ema_momentum": 0.99,
            **bookkeeping,
        },
    }


def cc3m_vitl14_llama3() -> Recipe:
    """CC3M (2.87 M pairs), CLIP ViT-L/14, Llama-3-8B-CC vectors, 8 GPUs of 80 GB.

    The paper's table to compare with (ViT-L/14, 3M): Flickr30k R@1 92.8 / 81.1, COCO 66.4 / 51.9, zero-shot average
    over 11 sets 64.9. Not run by this project, which has no such machine.
    """
    large = {"batch_size": 4096, "precision": "bf16", "zero_stage": 1, "grad_clip": 5.0, "workers": 8}
    return {
        "stage1": {**large, "learning_rate": 1e-3, "warmup_steps": 200, "epochs": 10, "workers": 4},
        "stage2": {
            **large,
            "learning_rate": 1e-5,
            "warmup_steps": 200,
            "epochs": 4,
            "layer_decay": 0.85,
            "gradient_checkpointing": True,
        },
    }


def cc12m_vitl14_llama3() -> Recipe:
    """CC12M (10.0 M pairs), otherwise as ``cc3m-vitl14-llama3``. Not run by this project."""
    recipe = cc3m_vitl14_llama3()
    return {"stage1": recipe["stage1"] | {"epochs": 4}, "stage2": recipe["stage2"] | {"epochs": 2}}


def _30m_vitl14_llama3() -> Recipe:
    """CC3M, CC12M and YFCC15M together (28 to 30 M pairs), otherwise as ``cc3m-vitl14-llama3``. Not run here either.

    The three go in as one run whose weights count samples, so that none is oversampled; their keys repeat, so each has
    its own store.
    """
    recipe = cc3m_vitl14_llama3()
    return {"stage1": recipe["stage1"] | {"epochs": 2}, "stage2": recipe["stage2"] | {"epochs": 1}}


RECIPES: dict[str, Callable[[], Recipe]] = {
    "demo": demo,
    "cc3m-vitl14-llama3": cc3m_vitl14_llama3,
    "cc12m-vitl14-llama3": cc12m_vitl14_llama3,
    "30m-vitl14-llama3": _30m_vitl14_llama3,
}


def recipe_settings(name: str, stage: str) -> dict[str, Any]:
    """The settings of a recipe for one stage.

    Raises:
        ConfigError: no such recipe, or it has no such stage.
    """
    if name not in RECIPES:
        raise ConfigError(f"no recipe {name!r}; there are {', '.join(RECIPES)}")
    recipe = RECIPES[name]()
    if stage not in recipe:
        raise ConfigError(f"recipe {name!r} has no {stage}; it has {', '.join(recipe)}")
    return recipe[stage]
