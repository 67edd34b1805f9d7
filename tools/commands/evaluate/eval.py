"""``keyclip eval``: retrieval, classification, composition, probes and drift, with texts from the store."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from embedder.models.load import pick_device
from store.common.errors import ConfigError
from store.common.outputs import Kind, Outputs
from store.common.settings import Rounds, Seed
from store.sources.keylist import read_key_list
from tools.evaluate.caption_sets import TEXT_FIELD, caption_sets
from tools.evaluate.evaluation import Result, Subject, chosen, evaluate_set, files_of_sets
from tools.evaluate.examples import retrieval_examples, spread
from tools.evaluate.measuring import Texts
from tools.prepare.downloaded import files_of
from tools.report.material.queries import intervals, measurements
from tools.report.pages.terminal import text_table
from tools.report.results.intervals import interval_table
from trainer.checkpoint.folder import read_checkpoint_info
from trainer.checkpoint.model import Model, load_model
from trainer.data.join import Join
from trainer.data.pairs import carried_caption
from trainer.data.samples import ShardSamples
from trainer.evaluation.cache import Encoder
from trainer.evaluation.features import caption_features
from trainer.evaluation.sets.annotations import Caption
from trainer.evaluation.sets.class_names import find_classes
from trainer.evaluation.sets.definition import read_definitions
from trainer.evaluation.uncertainty import Bootstrap
from trainer.evaluation.zeroshot import class_vectors, sample_labels
from trainer.settings.config import require

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

    Example, captions that stand in the shards' json:
        keyclip eval --clip openai/clip-vit-large-patch14 --checkpoint runs/stage2 --shards 'coco-test/*.tar'
            --store coco.store --embedder llama --teacher clip --captions all=captions.0,captions.1,captions.2
            --output results/proclip.json
    """

    clip: str
    """The CLIP or SigLIP that was tuned: a folder or hub id, or a name of open_clip's."""
    checkpoint: Path | None = None
    """Run or checkpoint to evaluate; without it, CLIP itself."""
    sets: Path | None = None
    """YAML file of evaluation sets; see the README."""
    only: tuple[str, ...] = ()
    """Of these sets, the ones to evaluate on; all by default."""
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
    """Parts of the samples to evaluate on their own too, NAME=KEY_LIST; they appear as caption sets `SET, NAME`."""
    name: str | None = None
    """What to call the model in tables; by default the checkpoint's or CLIP's path."""
    examples: Rounds = 6
    """Captions for which the retrieved images are kept, for the report."""
    resamples: Rounds = 1000
    """Bootstrap resamples of the queries behind each 95 % interval; 0 computes none."""
    seed: Seed = 0
    """Seed of the bootstrap; results that are compared must share it."""
    features: Path | None = None
    """Folder to keep image features in, by weights and set: computed once, also those of the original CLIP."""
    linear_probe: bool = False
    """Fit linear probes on the image features of the sets that have a train split."""
    cka: bool = True
    """Compare the tuned image features with the original CLIP's, which encodes the retrieval images once more."""
    output: Path | None = None
    """Result file (json) for `keyclip report`."""
    overwrite: bool = False
    """Replace a result that is there."""
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
        for name in ("examples", "resamples", "seed"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "at least 0")


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
    """What the command reads, and its output must not replace."""
    parts = [part.partition("=")[2] for part in config.parts]
    sets = files_of_sets(read_definitions(config.sets)) if config.sets else []
    named = [config.clip, config.checkpoint, config.sets, config.store, config.zeroshot, config.keys]
    return [*named, *parts, *sets, *files_of(config.shards)]


def evaluate(config: Config) -> dict[str, Any]:
    """The entries of the result file but for the intervals, which follow from the ranks among them."""
    model = load_model(config.clip, config.checkpoint)
    result = Result(_device(config))
    encoders = _encoders(config, model)
    sources, num_images, examples = (_of_sets if config.sets else _of_shards)(config, model, encoders, result)
    return {
        "format": FORMAT,
        "name": config.name or str(config.checkpoint or config.clip),
        "checkpoint": str(model.checkpoint) if model.checkpoint else None,
        "clip": config.clip,
        "training": _training(model),
        "shards": sources,
        "num_images": num_images,
        "examples": examples,
        "bootstrap": dataclasses.asdict(Bootstrap(resamples=config.resamples, seed=config.seed)),
        **result.entries(),
    }


Encoders = tuple[Encoder, Encoder | None]
"""The model's image tower, and the original one where CKA is measured: the same where the tower was not tuned."""


def _training(model: Model) -> dict[str, Any] | None:
    """What the checkpoint says of its training: arm, recipe, adapter, embedder, data; None for CLIP itself."""
    if model.checkpoint is None:
        return None
    info = read_checkpoint_info(model.checkpoint)
    found = {name: info.get(name) for name in ("stage", "arm", "recipe", "step", "adapter", "embedder", "datasets")}
    return found | {"lambda_reg": info.get("config", {}).get("lambda_reg")}


def _of_sets(
    config: Config, model: Model, encoders: Encoders, result: Result
) -> tuple[list[str], int, list[dict[str, Any]]]:
    """The sets of the YAML file; examples come from the first retrieval set."""
    assert config.sets is not None
    subject = Subject(model, *_joins(config, model, [TEXT_FIELD]), *encoders, config.linear_probe)
    sources: list[str] = []
    examples: list[dict[str, Any]] = []
    definitions = chosen(read_definitions(config.sets), config.only)
    if config.linear_probe and not any(definition.train for definition in definitions):
        raise ConfigError(
            f"no set of {str(config.sets)!r} has a train split to fit a linear probe on; give a set one with "
            "'train', such as {split: train}"
        )
    for definition in tqdm(definitions, "sets", unit="set", leave=False, disable=len(definitions) < 2):
        found = evaluate_set(definition, subject, result)
        sources += definition.images
        if found and not examples:
            images, captions, image_IE = found
            captions = [caption for caption in captions if caption.language == captions[0].language]
            examples = retrieval_examples(
                config.examples, images, captions, image_IE, subject.join, f"{definition.name}/", model
            )
    return sources, sum(entry["num_images"] for entry in result.sets.values()), examples


def _of_shards(
    config: Config, model: Model, encoders: Encoders, result: Result
) -> tuple[list[str], int, list[dict[str, Any]]]:
    """Caption sets in the json of shards; all have the same images."""
    sets = caption_sets(config.captions)
    samples = ShardSamples(config.shards, config.keys)
    parts = dict(_part(part, samples) for part in config.parts)
    if len(parts) < len(config.parts):
        raise ConfigError("two parts have one name; give each its own: --parts NAME=KEY_LIST")
    keys = [key.decode() for key in samples.keys]
    joins = {name: _joins(config, model, fields) for name, fields in sets.items()}
    texts = {
        name: [_pooled(join, samples, keys, of) for join, of in zip(pair, (model, model.original()), strict=True)]
        for name, pair in joins.items()
    }
    encoder, original_encoder = encoders
    image_IE = encoder.features("shards", samples)
    original_IE = original_encoder.features("shards", samples) if original_encoder else None
    for name, (own, original) in texts.items():
        result.add_retrieval(name, image_IE, keys, [own], [original])
        if original_IE is not None:
            result.add_cka(name, image_IE, original_IE)
        for part, kept in parts.items():
            part_keys = [keys[i] for i in kept.tolist()]
            own_part, original_part = own.of_images(kept), original.of_images(kept)
            result.add_retrieval(f"{name}, {part}", image_IE[kept], part_keys, [own_part], [original_part], part=True)
    if config.zeroshot:
        classes = find_classes(config.zeroshot)
        join = _joins(config, model, ["prompt"])[0]
        prompts = list(classes.prompts())
        join.check_captions([key for _, key, _ in prompts], [prompt for *_, prompt in prompts], 0)
        vectors = class_vectors(classes, join, model.adapter)
        labels = sample_labels(classes, samples)
        name = config.zeroshot.stem
        result.add_zeroshot(name, image_IE, keys, vectors, labels, classes.primary)
        for part, kept in parts.items():
            part_keys = [keys[i] for i in kept.tolist()]
            of_part = image_IE[kept], part_keys, vectors, labels[kept], classes.primary
            result.add_zeroshot(f"{name}, {part}", *of_part, part=True)
    first, field = next(iter(joins.values()))[0], next(iter(sets.values()))[0]
    positions = spread(config.examples, len(samples))
    captions = [Caption(keys[i], _carried(samples, i, field) or "", (i,)) for i in positions]
    return (
        list(samples.shards),
        len(samples),
        retrieval_examples(len(positions), samples, captions, image_IE, first, "", model),
    )


def _pooled(join: Join, samples: ShardSamples, keys: Sequence[str], model: Model) -> Texts:
    """Raises: StaleCaptionError: a vector is of another caption than the one that the shards carry."""
    for which in range(len(join.fields)):
        captions = [_carried(samples, i, join.caption_field(which)) for i in range(len(samples))]
        join.check_captions(keys, captions, which)
    features = caption_features(join, keys, model.adapter)
    images = [(i,) for _ in join.fields for i in range(len(keys))]
    return Texts(
        features.flatten(0, 1),
        images,
        [f"{key}/{join.caption_field(i)}" for i in range(len(join.fields)) for key in keys],
    )


def _carried(samples: ShardSamples, position: int, field: str) -> str | None:
    return carried_caption(samples.json(position) if samples.has_json(position) else None, field)


def _part(argument: str, samples: ShardSamples) -> tuple[str, torch.Tensor]:
    """The name of a part and the positions of its samples, ascending."""
    name, equals, file = argument.partition("=")
    if not (name and equals and file):
        raise ConfigError(f"part {argument!r}; expected NAME=KEY_LIST")
    kept = torch.from_numpy(np.flatnonzero(np.isin(samples.keys, read_key_list(Path(file)))))
    if not len(kept):
        raise ConfigError(f"none of the {len(samples)} samples is in the key list {file!r} of part {name!r}")
    return name, kept


def _joins(config: Config, model: Model, caption_fields: Sequence[str]) -> tuple[Join, Join]:
    """The vectors that the model's text side takes (the embedder's for an adapter), and CLIP's own text features."""
    original = Join(config.store, [f"{config.teacher}/{field}" for field in caption_fields])
    model.original().require_fit(original)
    if not model.adapter:
        return original, original
    own = Join(config.store, [f"{config.embedder}/{field}" for field in caption_fields])
    model.require_fit(own)
    return own, original


def _encoders(config: Config, model: Model) -> Encoders:
    own = Encoder(model.tower, _device(config), config.features)
    if not config.cka or model.checkpoint is None:
        return own, None
    original = Encoder(load_model(config.clip, None).tower, _device(config), config.features)
    return own, own if original.identity == own.identity else original


def _device(config: Config) -> torch.device:
    auto = "cuda" if torch.cuda.is_available() else "cpu"
    return pick_device(auto if config.device == "auto" else config.device)
