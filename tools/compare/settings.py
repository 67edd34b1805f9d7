"""Settings that ``keyclip compare`` and ``keyclip demo`` share."""

from dataclasses import dataclass
from pathlib import Path

from store.common.command import read_settings
from store.common.errors import ConfigError
from store.common.settings import Count, Few, Layers, settings_of
from tools.compare import arms
from trainer.settings.config import require
from trainer.settings.recipes import recipe_settings

ADAPTER = ("num_blocks", "expansion")


@dataclass(frozen=True, kw_only=True, slots=True)
class SuiteSettings:
    """What is trained, on how much, and what it is measured by."""

    arms: tuple[str, ...] = ("paper",)
    """Arms to compare: clip, lit, llm2clip, stage1, no-distillation, no-structure, fixed, proclip; an arm with settings
    of its own, as proclip@lambda_reg=2e-4 or proclip@num_blocks=12,stage2.layer_decay=1; or a group: paper (all eight),
    table5 (components), table6 (base models, with several --clip), table7 (lambda_reg), table14 (data and adapter
    scale, with several --finetune-samples), figure6 (embedders, with several --model). Those that begin with the same
    stage 1 share it; CLIP itself is evaluated once."""
    seeds: tuple[int, ...] = (0,)
    """Each seed draws samples, initial weights and order anew; CLIP and embeddings are made once."""
    stage1_steps: Count = 250
    """Optimiser steps of stage 1."""
    stage2_steps: Count = 140
    """Optimiser steps of stage 2, the same for every arm."""
    epochs: Few | None = None
    """Passes over the samples in both stages, in place of the steps: for data sizes, or the paper's 4."""
    recipe: str = "demo"
    """Recipe of both stages; see `keyclip train --help`."""
    num_blocks: Layers | None = None
    """Residual blocks of the adapter in every arm; by default the recipe's."""
    expansion: Layers | None = None
    """Expansion of the adapter's blocks in every arm; by default the recipe's."""
    stage1_config: Path | None = None
    """Further settings of stage 1, YAML: they override the recipe's."""
    stage2_config: Path | None = None
    """Further settings of stage 2 in every arm, YAML: they override the recipe's."""
    ranks: Few = 2
    """Processes that train together."""
    finetune_samples: tuple[int, ...] = ()
    """Draw this many of the fine-tuning samples, others for each seed; by default all. Several numbers compare data
    sizes: every arm is trained at each, a larger draw holding the smaller ones."""
    keys: Path | None = None
    """Key list, one sample key a line: fine-tune on these samples only."""
    caption_fields: tuple[str, ...] = ("shortSV_captions", "raw_caption", "longSV_captions")
    """Captions to learn from: stage 1 uses all (structure of the first), stage 2 draws among them."""
    stage1_fields: tuple[str, ...] = ()
    """Captions that stage 1 learns from instead of caption_fields."""
    stage1_texts: Path | None = None
    """File of captions without images (jsonl, csv, parquet; a column key) that stage 1 learns from as well; it holds
    the captions of stage 1."""
    eval_captions: tuple[str, ...] = ("short=shortSV_captions", "long=longSV_captions")
    """Caption sets to evaluate on, NAME=CAPTION_FIELD[,CAPTION_FIELD...]."""
    test_keys: Path | None = None
    """Key list, one sample key a line: evaluate on these samples only."""
    test_parts: tuple[str, ...] = ()
    """Parts of the test samples to evaluate on their own too, NAME=KEY_LIST."""
    zeroshot: Path | None = None
    """Classes file for zero-shot classification."""

    def __post_init__(self) -> None:
        for name in ("arms", "seeds", "caption_fields", "eval_captions"):
            values = getattr(self, name)
            require(bool(values), name, values, "at least one")
            if len(set(values)) < len(values):
                raise ConfigError(f"{name} names one twice: {', '.join(map(str, values))}")
        arms.expand(self.arms)
        for name in ADAPTER:
            for file in filter(None, (self.stage1_config, self.stage2_config)):
                if name in read_settings(file):
                    flag = f"--{name.replace('_', '-')}"
                    raise ConfigError(f"{str(file)!r} sets {name}, but all arms share one adapter; give {flag} instead")
        for name in ("ranks", "stage1_steps", "stage2_steps"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.epochs is None or self.epochs >= 1, "epochs", self.epochs, "at least 1")
        if len(set(self.finetune_samples)) < len(self.finetune_samples) or min(self.finetune_samples, default=1) < 1:
            raise ConfigError(f"finetune_samples is {self.finetune_samples}; expected numbers of at least 1, each once")

    def captions_of(self, stage: str) -> tuple[str, ...]:
        """The caption fields that a stage learns from."""
        return (stage == "stage1" and self.stage1_fields) or self.caption_fields

    def adapter(self) -> dict[str, int]:
        """The shape of the adapter that all arms share, as settings of both stages."""
        from trainer.stage2 import Stage2Config

        of_recipe = recipe_settings(self.recipe, "stage2")
        default = {name: setting.default for name, setting in settings_of(Stage2Config).items()}
        given = {name: getattr(self, name) for name in ADAPTER}
        return {name: of_recipe.get(name, default[name]) if value is None else value for name, value in given.items()}
