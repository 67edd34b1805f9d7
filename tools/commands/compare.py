"""``keyclip compare``: the arms of the paper side by side, with equal budgets, from one store."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typing_extensions import TypedDict

from store.common.checked import read_json
from store.common.errors import ConfigError
from store.common.files import write_json
from tools.compare import reuse
from tools.compare.chain import keyclip
from tools.compare.draws import Draws
from tools.compare.experiment import Experiment, Sources
from tools.compare.grid import Point, make_grid
from tools.compare.settings import SuiteSettings
from tools.evaluate.caption_sets import caption_sets
from tools.report.material.inputs import load_result
from tools.report.pages.terminal import uses_text
from trainer.checkpoint.folder import differing_settings, plain
from trainer.data.samples import ShardSamples
from trainer.evaluation.sets.class_names import read_classes


class Begun(TypedDict):
    """The record of a comparison that was begun."""

    settings: dict[str, Any]
    vectors_before: dict[str, int]


MAY_DIFFER = {"output", "arms", "seeds", "ranks"}  # more arms and seeds can be added later


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(SuiteSettings):
    """Compare ways to tune a CLIP over seeds, with equal budgets, all reading the same vectors from one store.

    The arms: CLIP as it is, LiT (image encoder locked), LLM2CLIP (stage 2 alone), stage 1 only, and stage 2 after
    stage 1 without self-distillation, without structure loss (in neither stage), with a fixed teacher, and with the
    moving average (ProCLIP). All share one adapter, and captions are embedded once. --arms takes groups named after the
    paper's tables too, and arms with settings of their own. Every command is shown; started again, what is done is
    kept, and a run that was cut off continues; further arms and seeds can be added. Ends in a table and a report.

    Example, narrow data: fine-tune on photos of dogs, evaluate on all test photos and on both parts of them
        keyclip compare --output runs/dogs --clip openai/clip-vit-base-patch32 --model BAAI/bge-small-en-v1.5
            --store captions.store --finetune-shards 'train-*.tar' --keys dogs.txt --test-shards 'test-*.tar'
            --caption-fields captions.0 captions.1 --eval-captions all=captions.0,captions.1
            --test-parts dogs=test-dogs.txt others=test-others.txt --seeds 0 1 2

    Example, table 6 of the paper: the arms on two base models
        keyclip compare --output runs/table6 --arms table6 --recipe proclip-3m --epochs 4 --ranks 8
            --clip vitb32=openai/clip-vit-base-patch32 vitl14=openai/clip-vit-large-patch14 --embedder llama
            --store cc3m.store --finetune-shards 'cc3m/*.tar' --test-shards 'coco-test/*.tar'
    """

    output: Path
    """Folder for runs, results and report."""
    clip: tuple[str, ...]
    """The CLIP to tune: a folder or hub id. Several base models are compared as NAME=CLIP each, where NAME also names
    the fields of its own text features."""
    finetune_shards: tuple[str, ...]
    """Shards for both stages: paths, globs, brace ranges or @FILE lists."""
    test_shards: tuple[str, ...]
    """Shards to evaluate on."""
    store: Path | None = None
    """Store of the vectors, which other experiments may share; by default OUTPUT/captions.store."""
    model: tuple[str, ...] = ()
    """Folder or hub id of the caption embedder; without it nothing is embedded and the store must hold all vectors.
    Several embedders are compared as NAME=MODEL each, where NAME also names their fields."""
    embedder: tuple[str, ...] = ("llm",)
    """Name of the embedder: its fields are EMBEDDER/CAPTION_FIELD. Several are compared, where the store holds them."""
    teacher: str = "clip"
    """Name of the teacher: CLIP's own text features are TEACHER/CAPTION_FIELD."""

    def __post_init__(self) -> None:
        SuiteSettings.__post_init__(self)
        self.points()
        if self.store is None and not self.model:
            raise ConfigError("give --store with all vectors in it, or --model to embed the captions, or both")

    def points(self) -> list[Point]:
        """Every combination of base model, embedder and data size."""
        return make_grid(self.clip, self.model, self.embedder, self.teacher, self.finetune_samples)


def run(config: Config) -> None:
    """Run what is not done yet, print the tables, name the report."""
    start = time.monotonic()
    path, points = config.store or config.output / "captions.store", config.points()
    before = _begin(config, path)
    sources = Sources(store=path, finetune=config.finetune_shards, test=config.test_shards)
    experiments = []
    for point in points:
        draws = Draws(config.output / point.folder, config, config.finetune_shards, point.num_samples)
        experiments.append(Experiment(config.output, config, sources, point, draws))
    for experiment in experiments:  # before anything is embedded or trained
        experiment.check()
    largest = max(experiments, key=lambda experiment: experiment.draws.num_drawn or len(experiment.draws.keys))
    models = {point.embedder: point.model for point in points if point.model is not None}
    largest.embed(models | {point.teacher: point.clip for point in points} if models else {})
    for experiment in experiments:
        experiment.run()
    runs = [run for experiment in experiments for run in experiment.runs()]
    results = list(dict.fromkeys(file for experiment in experiments for file in experiment.results()))
    uses = reuse.field_uses(path, before, runs, _evaluations(config, experiments))
    ledger, report = config.output / "reuse.json", config.output / "report.html"
    write_json(ledger, reuse.as_json(uses))
    print(f"\nHeld-out results ({time.monotonic() - start:.0f} s in all):\n")
    keyclip("report", *runs, *results, ledger, "--output", report, "--overwrite", True)
    print(f"\n{uses_text(uses)}\n\nreport: {report}")


def _begin(config: Config, store: Path) -> dict[str, int]:
    """Vectors that each field held when this comparison was begun.

    Raises:
        ConfigError: the folder holds trainings or results of a comparison with other settings.
    """
    file, settings = config.output / "compare.json", plain(config)
    if file.exists():
        begun = read_json(file, Begun, "the record of a comparison", "give another --output")
        differing = differing_settings(begun["settings"], settings)
        texts = [text for name, text in differing.items() if name not in MAY_DIFFER]
        if texts and any(config.output.glob("**/checkpoints/step-*")):
            raise ConfigError(
                f"{str(config.output)!r} holds a comparison with other settings ({'; '.join(texts)}); "
                "give the same settings to continue it, or another --output"
            )
        if not texts:
            return dict(begun["vectors_before"])
    config.output.mkdir(parents=True, exist_ok=True)
    before = reuse.vectors_in(store)
    write_json(file, {"settings": settings, "vectors_before": before})
    return before


def _evaluations(config: Config, experiments: Sequence[Experiment]) -> dict[str, reuse.Reads]:
    """Which fields the evaluations have read: the caption sets and class prompts of each arm's own text side, and for
    the drift probe the teacher's captions.
    """
    num_keys = len(ShardSamples(config.test_shards, config.test_keys).keys)
    num_prompts = len(list(read_classes(config.zeroshot).prompts())) if config.zeroshot else 0
    captions = [field for fields in caption_sets(config.eval_captions).values() for field in fields]
    reads: dict[str, reuse.Reads] = {}
    point_of = {file: experiment.point for experiment in experiments for file in experiment.results()}
    for file, point in point_of.items():
        prefix = point.teacher if load_result(file).checkpoint is None else point.embedder
        for field, count in Counter(
            f"{name}/{field}" for name in (prefix, point.teacher) for field in captions
        ).items():
            reads.setdefault(field, []).append(count * num_keys)
        if num_prompts:
            reads.setdefault(f"{prefix}/prompt", []).append(num_prompts)
    return reads
