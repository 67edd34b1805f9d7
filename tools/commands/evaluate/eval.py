"""``keyclip eval``: retrieval, classification, composition, probes and drift, with texts from the store."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from store.common.errors import ConfigError
from store.common.outputs import Kind, Outputs
from store.common.settings import Rounds, Seed
from tools.evaluate.caption_sets import caption_sets
from tools.evaluate.keyed_texts import TEXT_FIELD
from tools.evaluate.result import Result
from tools.evaluate.subject import (
    Subject,
    TextSide,
    chosen,
    evaluate_sets,
    evaluate_shards,
    files_of_sets,
    parts_of,
)
from tools.prepare.downloaded import files_of
from tools.report.material.queries import intervals, measurements
from tools.report.pages.terminal import text_table
from tools.report.results.intervals import interval_table
from trainer.checkpoint.folder import read_checkpoint_info
from trainer.data.samples import ShardSamples
from trainer.evaluation.sets.definition import read_definitions
from trainer.evaluation.uncertainty import Bootstrap

FORMAT = "keyclip-eval/1"
RESULT = Kind(name="an evaluation result", start=f'{{\n  "format": "{FORMAT}"'.encode())
ROOM = 2**21  # bytes: a result with examples and the ranks of some sets


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Evaluate CLIP itself, or a checkpoint of stage 1 or stage 2, on evaluation sets or on image shards.

    Captions and class prompts are not encoded here: their vectors come from the store, embedded once for each model
    and used by every checkpoint. Without --checkpoint, CLIP's own text features (the teacher fields) are used. The
    drift probe compares the tuned image tower with the original CLIP's text features.

    Example, the sets that a YAML file defines:
        keyclip eval-captions --sets evaluation.yaml --output eval.jsonl
        keyclip embed --captions eval.jsonl --caption-fields caption --model LLM --field-prefix llama --store eval.store
        keyclip embed --captions eval.jsonl --caption-fields caption --model CLIP --field-prefix clip --store eval.store
        keyclip eval --clip openai/clip-vit-large-patch14 --checkpoint runs/stage2 --sets evaluation.yaml
            --store eval.store --embedder llama --teacher clip --output results/proclip.json

    Example, captions in the shards' json:
        keyclip eval --clip openai/clip-vit-large-patch14 --checkpoint runs/stage2 --shards 'coco-test/*.tar'
            --store coco.store --embedder llama --teacher clip --captions all=captions.0,captions.1,captions.2
            --output results/proclip.json
    """

    clip: str
    """The CLIP or SigLIP that was tuned: a folder or hub id, or a name of open_clip's."""
    checkpoint: Path | None = None
    """Run or checkpoint to evaluate; without it, CLIP itself."""
    sets: Path | None = None
    """YAML file of evaluation sets; see docs/evaluation.md."""
    only: tuple[str, ...] = ()
    """Names of the sets to evaluate on; all by default."""
    shards: tuple[str, ...] = ()
    """Image shards to evaluate on instead: paths, globs, brace ranges or @FILE lists."""
    store: Path
    """The store with the vectors of their captions."""
    captions: tuple[str, ...] = ()
    """Caption sets of the shards, NAME=CAPTION_FIELD[,CAPTION_FIELD...]; the captions of a set are pooled, as in COCO's
    five."""
    embedder: str
    """Name of the embedder: its fields are EMBEDDER/CAPTION_FIELD."""
    teacher: str
    """Name of the teacher: CLIP's own text features are TEACHER/CAPTION_FIELD."""
    zeroshot: Path | None = None
    """Classes file for zero-shot classification of the shards; its prompts are EMBEDDER/prompt and TEACHER/prompt."""
    keys: Path | None = None
    """Key list, one sample key a line: evaluate on these samples of the shards only."""
    parts: tuple[str, ...] = ()
    """Parts of the samples to evaluate on their own too, NAME=KEY_LIST; in tables a part is the set `SET, NAME`."""
    name: str | None = None
    """Name of the model in tables; by default the checkpoint's or CLIP's path."""
    examples: Rounds = 6
    """Captions for which the retrieved images are kept, for the report."""
    resamples: Rounds = 1000
    """Bootstrap resamples of the queries behind each 95 % interval; 0 computes none."""
    seed: Seed = 0
    """Seed of the bootstrap; results that are compared must share it."""
    features: Path | None = None
    """Folder to keep image features in, by weights and set, so that each is computed once; the original CLIP's too."""
    linear_probe: bool = False
    """Fit linear probes on the image features of the sets that have a train split."""
    cka: bool = True
    """Compare the tuned image features with the original CLIP's, which encodes the retrieval images once more."""
    output: Path | None = None
    """Result file (json) for `keyclip report`."""
    overwrite: bool = False
    """Replace a result that is there."""
    check_clip: bool = True
    """Refuse a CLIP whose text space is not the one that the checkpoint was trained for, or not the teacher fields'."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:1."""
    json: bool = False
    """Print the result as json, without examples and ranks."""

    def __post_init__(self) -> None:
        if bool(self.sets) == bool(self.shards):
            raise ConfigError("give either --sets, a YAML file of evaluation sets, or --shards with --captions")
        if self.sets and (self.captions or self.zeroshot or self.keys or self.parts):
            raise ConfigError("--captions, --zeroshot, --keys and --parts belong to --shards, not to --sets")
        if (self.only or self.linear_probe) and not self.sets:
            raise ConfigError(f"{'--only names' if self.only else '--linear-probe fits on'} sets of --sets")


def run(config: Config) -> None:
    """Evaluate, write the result, print the table."""
    with Outputs(_inputs(config), config.overwrite) as outputs:
        part = outputs.claim(config.output, RESULT, ROOM) if config.output else None
        entries = evaluate(config)
        found, level = measurements(entries), entries["bootstrap"]["level"]
        result = entries | {"intervals": intervals(found, level)}
        if part:
            outputs.write(part, json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    if config.json:
        print(json.dumps({key: value for key, value in result.items() if key not in ("examples", "queries")}, indent=2))
    else:
        print(f"{text_table([result])}\n\nwith {100 * level:.0f} % intervals, recalls and accuracies in %:")
        print(interval_table(found, level))
        if found_cka := result["cka"]:
            values = ", ".join(f"{name} {entry['cka']:.3f}" for name, entry in found_cka.items())
            print(f"\nCKA of tuned and original image features: {values}")


def _inputs(config: Config) -> list[Path | str | None]:
    """Files and folders that the command reads and its output must not replace."""
    parts = [part.partition("=")[2] for part in config.parts]
    sets = files_of_sets(read_definitions(config.sets)) if config.sets else []
    named = [config.clip, config.checkpoint, config.sets, config.store, config.zeroshot, config.keys]
    return [*named, *parts, *sets, *files_of(config.shards)]


def evaluate(config: Config) -> dict[str, Any]:
    """The entries of the result file except the intervals, which follow from the ranks among them."""
    subject = Subject(
        config.clip, config.checkpoint, config.device, config.features, config.cka, check_clip=config.check_clip
    )

    def text_sides(caption_fields: Sequence[str]) -> tuple[TextSide, TextSide]:
        own, original = ([f"{made_by}/{f}" for f in caption_fields] for made_by in (config.embedder, config.teacher))
        return subject.text_sides(config.store, own, original)

    if config.sets:
        result, sides = Result(subject.device), text_sides([TEXT_FIELD])
        definitions = chosen(read_definitions(config.sets), config.only)
        if config.linear_probe and not any(definition.train for definition in definitions):
            raise ConfigError(
                f"no set of {str(config.sets)!r} has a train split to fit a linear probe on; give a set one with "
                "'train', such as {split: train}"
            )
        examples = evaluate_sets(definitions, subject, sides, result, config.linear_probe, config.examples)
        sources = [source for definition in definitions for source in definition.images]
        num_images = sum(entry["num_images"] for entry in result.sets.values())
    else:
        captions, samples = caption_sets(config.captions), ShardSamples(config.shards, config.keys)
        result = Result(subject.device, parts_of(config.parts, samples))
        examples = evaluate_shards(samples, captions, config.zeroshot, subject, text_sides, result, config.examples)
        sources, num_images = list(samples.shards), len(samples)
    checkpoint = subject.model.checkpoint
    return {
        "format": FORMAT,
        "name": config.name or str(config.checkpoint or config.clip),
        "checkpoint": str(checkpoint) if checkpoint else None,
        "clip": config.clip,
        "training": _training(checkpoint) if checkpoint else None,
        "shards": sources,
        "num_images": num_images,
        "examples": examples,
        "bootstrap": dataclasses.asdict(Bootstrap(resamples=config.resamples, seed=config.seed)),
        **result.entries(),
    }


def _training(checkpoint: Path) -> dict[str, Any]:
    """Arm, recipe, adapter, embedder and data of a checkpoint's training."""
    info = read_checkpoint_info(checkpoint)
    found = {name: info.get(name) for name in ("stage", "arm", "recipe", "step", "adapter", "embedder", "datasets")}
    return found | {"lambda_reg": info.get("config", {}).get("lambda_reg")}
