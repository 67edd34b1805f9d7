"""Settings that ``keyclip compare`` and ``keyclip demo`` share."""

from dataclasses import dataclass
from pathlib import Path

from store.errors import ConfigError
from tools.suite.arms import ARMS, ArmName
from trainer.config import require


@dataclass(frozen=True, kw_only=True, slots=True)
class SuiteSettings:
    """What is trained, on how much, and what it is measured by."""

    arms: tuple[ArmName, ...] = tuple(ARMS)
    """Arms to compare. Those that begin with the same stage 1 share it; CLIP itself is evaluated once."""
    seeds: tuple[int, ...] = (0,)
    """Each seed draws samples, initial weights and order anew; CLIP and embeddings are made once."""
    stage1_steps: int = 250
    """Optimiser steps of stage 1."""
    stage2_steps: int = 140
    """Optimiser steps of stage 2, the same for every arm."""
    recipe: str = "demo"
    """Recipe of both stages; see `keyclip train --help`."""
    stage1_config: Path | None = None
    """Further settings of stage 1, YAML: they override the recipe's."""
    stage2_config: Path | None = None
    """Further settings of stage 2 in every arm, YAML: they override the recipe's."""
    ranks: int = 2
    """Processes that train together."""
    finetune_samples: int | None = None
    """Draw this many of the fine-tuning samples, others for each seed; by default all."""
    keys: Path | None = None
    """Key list, one sample key a line: fine-tune on these samples only."""
    caption_fields: tuple[str, ...] = ("shortSV_captions", "raw_caption", "longSV_captions")
    """Captions to learn from: stage 1 uses all (structure of the first), stage 2 draws among them."""
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
        for name in ("ranks", "stage1_steps", "stage2_steps"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.finetune_samples is None or self.finetune_samples >= 1, "finetune_samples", self.finetune_samples,
                "at least 1")  # fmt: skip
