"""How a result's checkpoint was trained: arm, point of a grid, base model, data scale, adapter, weight, embedder."""

import re
from pathlib import PurePath
from typing import Any

from tools.compare.arms import ARMS
from tools.report.material.average import split_seed
from tools.report.material.inputs import Result

_MODELS = (
    ("ViT-B/32", r"base-?patch32|vit-?b-?32"),
    ("ViT-B/16", r"base-?patch16|vit-?b-?16"),
    ("EVA02-CLIP ViT-L", r"eva0?2.*l-?14"),
    ("ViT-L/14", r"large-?patch14|vit-?l-?14"),
    ("SigLIP2 SO/14@224", r"siglip-?2.*so400m"),
)
_SCALE = re.compile(r"-(\d+m)(?:-|$)")


def arm_of(result: Result) -> str | None:
    """The arm as ``keyclip compare`` names it, such as ``proclip@lambda_reg=2e-4``; None where nothing says so."""
    if result.checkpoint is None:
        return "clip"
    if arm := training(result).get("arm"):
        return str(arm)
    title = split_seed(result.name)[0].lower()
    return next((arm.name for arm in ARMS.values() if title in (arm.title.lower(), arm.name)), None)


def point_of(result: Result) -> str:
    """What follows the arm in a result's name: ``vitb32, 1000 samples``; empty outside of grids."""
    base, _, settings = str(arm_of(result)).partition("@")
    title = ARMS[base].title if base in ARMS else ""
    full = f"{title} ({settings.replace(',', ', ')}), " if settings else f"{title}, "
    name = split_seed(result.name)[0]
    return name.removeprefix(full) if name.startswith(full) else ""


def base_model(result: Result) -> str | None:
    """The base model as the paper names it; None for one that the paper does not have."""
    return next((name for name, pattern in _MODELS if re.search(pattern, result.clip.lower())), None)


def scale_of(result: Result) -> str | None:
    """The data scale of the recipe, ``3M`` for ``proclip-3m``; None where no recipe says so."""
    match = _SCALE.search(str(training(result).get("recipe") or ""))
    return match[1].upper() if match else None


def num_samples(result: Result) -> int | None:
    """Samples of the datasets that the checkpoint was trained on."""
    counts = [entry.get("samples") for entry in (training(result).get("datasets") or {}).values()]
    return sum(counts) if counts and None not in counts else None


def num_blocks(result: Result) -> int | None:
    """Residual blocks of the adapter."""
    return (training(result).get("adapter") or {}).get("num_blocks")


def lambda_reg(result: Result) -> float | None:
    """The weight of the self-distillation."""
    return training(result).get("lambda_reg")


def embedder_of(result: Result) -> str | None:
    """The name of the caption embedder: the last part of its model's path or id."""
    model = (training(result).get("embedder") or {}).get("model")
    return PurePath(model).name if model else None


def training(result: Result) -> dict[str, Any]:
    """The entry ``training`` of the result file; empty for CLIP itself and in older files."""
    return result.data.get("training") or {}
