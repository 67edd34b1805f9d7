"""Named recipes: settings per stage, for ``--recipe NAME``. Paths and fields are given by flags, which override it.

``proclip-3m`` and its family are the paper's runs (ProCLIP, arXiv 2510.18795 v3, table 8 in the appendix). A name is
``METHOD-SIZE[-TOWER][-12blocks]``: ``proclip-3m`` tunes CLIP ViT-L/14 with an adapter of 4 blocks on CC3M,
``llm2clip-15m-vitb32-12blocks`` ViT-B/32 without stage 1 and self-distillation, with 12 blocks, on CC3M and CC12M. The
paper gives every size the same settings; the data are named by flags. ``SETTINGS`` says where each value comes from.

The paper's results (ViT-L/14, 3M): Flickr30k R@1 92.8 / 81.1, COCO 66.4 / 51.9, zero-shot average over 11 sets 64.9;
1.5 hours on 8 H100. This project has not run these recipes, since it has no such machine.
"""

from dataclasses import dataclass
from itertools import product
from typing import Any

from store.common.errors import ConfigError

Recipe = dict[str, dict[str, Any]]

PAPER = "paper, table 8"
EQUATIONS = "paper, equations 2 and 3"
ADAPTER = "paper, appendix: four linear layers, as LLM2CLIP has them"
SCRIPT = "LLM2CLIP's public script"
OURS = "ours"


@dataclass(frozen=True, slots=True)
class Setting:
    """A value of the paper's runs and its source; the value None leaves a setting out of that stage."""

    name: str
    stage1: Any
    stage2: Any
    source: str


SETTINGS = (
    Setting("batch_size", 1024, 4096, PAPER),
    Setting("epochs", 4, 4, PAPER),
    Setting("learning_rate", 1e-5, 1e-5, PAPER),
    Setting("beta1", 0.9, 0.9, PAPER),
    Setting("beta2", 0.98, 0.98, PAPER),
    Setting("epsilon", 1e-6, 1e-6, PAPER),
    Setting("weight_decay", 0.05, 0.05, PAPER),
    Setting("ema_momentum", None, 0.999, PAPER),
    Setting("lambda_reg", None, 4e-4, PAPER),
    Setting("teacher", None, "ema", PAPER),
    Setting("structure", True, True, EQUATIONS),
    Setting("num_blocks", 4, 4, ADAPTER),
    Setting("expansion", 2, 2, ADAPTER),
    Setting("warmup_steps", 0, 0, SCRIPT),
    Setting("grad_clip", 5.0, 5.0, SCRIPT),
    Setting("layer_decay", None, 0.85, SCRIPT),
    Setting("gradient_checkpointing", None, True, SCRIPT),
    Setting("zero_stage", 1, 1, SCRIPT),
    Setting("precision", "bf16", "bf16", OURS),  # the script has fp16, which needs loss scaling
    Setting("scaling", "invariant", "invariant", OURS),
    Setting("workers", 4, 8, OURS),
)
"""The paper's runs on 8 GPUs: stage 1 on 8 x 128 samples a step, stage 2 on 8 x 512; the rate decays by a cosine."""

METHODS = {"proclip": "stage 1, then stage 2 with self-distillation", "llm2clip": "stage 2 alone, without it"}
SIZES = {
    "1m": "1 million samples of CC3M, drawn at random",
    "3m": "CC3M",
    "15m": "CC3M and CC12M",
    "30m": "CC3M, CC12M and YFCC15M",
}
TOWERS = {
    "vitl14": "openai/clip-vit-large-patch14",
    "vitb32": "openai/clip-vit-base-patch32",
    "vitb16": "openai/clip-vit-base-patch16",
    "eva02l": "open_clip:EVA02-L-14:merged2b_s4b_b131k",
    "so400m": "google/siglip2-so400m-patch14-224",
}
DEFAULT_TOWER, DEEP = "vitl14", "12blocks"


_BOOKKEEPING = {"workers": 0, "log_every": 5, "checkpoint_every": 50}
_LONG = {"epochs": 1_000_000, **_BOOKKEEPING}  # the budget is in steps: --max-steps
_PHOTOS: Recipe = {
    "pretrain": {"batch_size": 128, "learning_rate": 1e-3, "warmup_steps": 50, "patch_size": 16, **_BOOKKEEPING},
    "stage1": {"batch_size": 256, "learning_rate": 1e-3, "warmup_steps": 10, **_LONG},
    "stage2": {
        "batch_size": 64, "learning_rate": 2e-4, "warmup_steps": 10, "min_crop": 0.8, "ema_momentum": 0.99, **_LONG,
    },
}  # fmt: skip
"""``keyclip demo`` on small photos such as Flickr8k's: a small CLIP, images of 64 pixels, 2 CPU ranks, minutes."""
_TOWER = {"batch_size": 64, "min_crop": 1.0, "patch_size": 32, "image_layers": 3, "text_layers": 1}
_DEMO = _PHOTOS | {
    "pretrain": _PHOTOS["pretrain"] | _TOWER,
    "stage2": _PHOTOS["stage2"] | {"batch_size": 128, "min_crop": 1.0},
}
"""``keyclip demo`` on generated scenes.

The learning rates, batches and the EMA's momentum fit hundreds of steps where the paper has thousands; lambda_reg and
the adapter are the paper's. Chosen on the dev split of the scenes.
"""


def _published(method: str, tower: str, more: dict[str, Any]) -> Recipe:
    """A run of the paper; LLM2CLIP has no stage 1 and no self-distillation."""
    stages = {
        stage: {s.name: value for s in SETTINGS if (value := getattr(s, stage)) is not None} | more
        for stage in ("stage1", "stage2")
    }
    stages["stage2"]["clip"] = TOWERS[tower]  # stage 1 knows its CLIP by the teacher fields
    if method == "llm2clip":
        return {"stage2": stages["stage2"] | {"lambda_reg": 0.0}}
    return stages


def _all() -> dict[str, Recipe]:
    found = {"demo": _DEMO, "photos": _PHOTOS}
    for method, size, tower, deep in product(METHODS, SIZES, TOWERS, ("", DEEP)):
        name = "-".join(part for part in (method, size, tower if tower != DEFAULT_TOWER else "", deep) if part)
        found[name] = _published(method, tower, {"num_blocks": 12} if deep else {})
    return found


RECIPES = _all()


def recipe_settings(name: str, stage: str) -> dict[str, Any]:
    """The settings of a recipe for one stage. Raises: ConfigError: no such recipe, or it has no such stage."""
    if name not in RECIPES:
        raise ConfigError(f"no recipe {name!r}; there are {describe_names()}")
    recipe = RECIPES[name]
    if stage not in recipe:
        raise ConfigError(f"recipe {name!r} has no {stage}; it has {', '.join(recipe)}")
    return dict(recipe[stage])


def describe_names() -> str:
    """The names of the recipes, in one line."""
    towers = "|".join(tower for tower in TOWERS if tower != DEFAULT_TOWER)
    return f"demo, photos and {'|'.join(METHODS)}-{'|'.join(SIZES)}[-{towers}][-{DEEP}], such as proclip-3m"


def describe() -> str:
    """The recipes and the sources of the values of the paper's runs, as text for people."""
    rows = [("setting", "stage 1", "stage 2", "source")]
    rows += [(s.name, _shown(s.stage1), _shown(s.stage2), s.source) for s in SETTINGS]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    table = ["  " + "  ".join([*(c.ljust(w) for c, w in zip(row, widths, strict=False)), row[3]]) for row in rows]
    parts = {**METHODS, **SIZES, **TOWERS, DEEP: "num_blocks 12, as in the paper's table 14"}
    names = [f"  {name:9} {what}" for name, what in parts.items()]
    return "\n".join([f"  {describe_names()}", "", *names, "", "settings of the paper's runs:", *table])


def _shown(value: Any) -> str:
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
