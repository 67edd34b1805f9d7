"""A whole comparison, as the paper has it: results with ranks for every table, of three seeds and several arms.

``python -m tests.tools.report.whole FOLDER`` writes the files of a report that fills every table.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from tests.tools.report.fixtures import directions, examples_for, log_lines, result, scene_pictures, write_run
from tools.compare.arms import GROUPS, expand
from tools.evaluate.packed_ranks import WAYS, pack, unpack
from tools.report.material.inputs import parse_result
from tools.report.results.paper import RETRIEVAL, ROBUSTNESS, ZERO_SHOT
from trainer.evaluation.metrics import rank_summary

QUERIES = 120
KINDS = ("add_obj", "add_att", "replace_obj", "replace_att", "replace_rel", "swap_obj", "swap_att")
PATTERNS = (
    "Orientation and Direction",
    "Presence of Specific Features",
    "State and Condition",
    "Quantity and Count",
    "Positional and Relational Context",
    "Color and Appearance",
    "Structural Characteristics",
    "Texts",
    "Viewpoint and Perspective",
)
LANGUAGES = (
    "ar bn cs da de el en es fa fi fil fr he hi hr hu id it ja ko mi nl no pl pt quz ro ru sv sw te th tr uk vi zh"
)
SKILL = {"clip": (0.3, 0.6), "llm2clip": (0.6, 0.35), "stage1": (0.4, 0.5), "lit": (0.4, 0.4)}  # retrieval, classes


def whole_result(arm, seed, **changes):
    """A result with every table; LLM2CLIP and ProCLIP retrieve best, and classify worse than CLIP."""
    random = np.random.default_rng([seed, *arm.name.encode()])
    retrieving, classifying = SKILL.get(arm.name.partition("@")[0], (0.62, 0.45))
    retrieval, queries, sets = (
        {},
        {"retrieval": {}, "zeroshot": {}, "robustness": {}, "linear_probe": {}, "drift": {}},
        {},
    )
    for name in [n for n in RETRIEVAL if n != "xm3600"]:
        retrieval[name], queries["retrieval"][name] = _retrieval(random, retrieving)
        sets[name] = {"table": "retrieval", "num_images": QUERIES, "part": False}
    drift, queries["drift"]["coco"] = _retrieval(random, 0.3 if arm.name == "clip" else 0.2)
    scores = {}
    for table, names in (("zeroshot", ZERO_SHOT), ("robustness", ROBUSTNESS), ("linear_probe", ZERO_SHOT)):
        better = 0.2 if table == "linear_probe" else 0
        scores[table] = {}
        for name in names:
            scores[table][name], queries[table][name] = _classes(random, classifying + better)
    queries |= {"composition": {"sugarcrepe": _contrasts(random, KINDS)}}
    queries |= {"fine_grained": {"mmvp": _contrasts(random, PATTERNS)}}
    languages = {code: directions(float(0.3 * random.random()), 20) for code in LANGUAGES.split()}
    title = arm.title if arm.name == "clip" else f"{arm.title} (seed {seed})"
    settings = dict(part.split("=") for part in arm.name.partition("@")[2].split(",") if part)
    training = {
        "arm": arm.name,
        "recipe": "proclip-3m",
        "stage": "stage1" if arm.name.startswith("stage1") else "stage2",
        "step": 200,
        "adapter": {"num_blocks": int(settings.get("num_blocks", 4))},
        "embedder": {"model": "models/Llama-3-8B-CC"},
        "datasets": {"cc3m": {"samples": 3000}},
        "lambda_reg": float(settings.get("lambda_reg", 4e-4)) if arm.name.startswith("proclip") else 0.0,
    }
    data = result(
        title,
        clip="openai/clip-vit-base-patch32",
        checkpoint=None if arm.name == "clip" else f"runs/{arm.name}/seed-{seed}",
        training=None if arm.name == "clip" else training,
        retrieval=retrieval | {"xm3600": directions(0.2, 9)},
        sets=sets,
        drift=drift,
        zeroshot=_means(scores["zeroshot"].values()),
        zeroshot_sets=scores["zeroshot"],
        robustness=scores["robustness"],
        linear_probe=scores["linear_probe"],
        composition={"sugarcrepe": _answers(queries["composition"]["sugarcrepe"])},
        fine_grained={"mmvp": _answers(queries["fine_grained"]["mmvp"])},
        cka={} if arm.name == "clip" else {"coco": {"cka": float(0.8 + 0.1 * random.random())}},
        languages={"xm3600": languages},
        queries=queries,
        bootstrap={"resamples": 100, "level": 0.95, "seed": 0},
    )
    return data | changes


def write_whole(folder):
    """Every table of the paper, its ablations, examples and runs; returns the paths of a report's inputs."""
    arms = {arm.name: arm for arm in expand(["paper", "table5", "table7", "table14"])}
    pictures, paths = scene_pictures(24), []
    (folder / "results").mkdir(parents=True)
    for seed in range(3):
        for stage, name in enumerate(("stage1", "llm2clip", "proclip")):
            config = {"stage": "stage1" if stage == 0 else "stage2", "lambda_reg": 4e-4 * (stage == 2), "seed": seed}
            paths.append(write_run(folder / f"seed-{seed}" / name, config, log_lines(60, 10 * seed + stage)))
        for number, arm in enumerate(arms.values()):
            if arm.name == "clip" and seed:
                continue
            examples = examples_for(arm.name, pictures) if arm.name in GROUPS["table6"] else []
            images = {key: image for key, _, image in pictures}
            examples = [example | {"image": images[example["key"]]} for example in examples]
            path = folder / "results" / f"{number}-{seed}.json"
            path.write_text(json.dumps(whole_result(arm, seed, examples=examples)))
            paths.append(path)
    return paths


def parsed(name, seed=0, **changes):
    """A whole result as it is read."""
    (arm,) = expand([name])
    return parse_result(whole_result(arm, seed, **changes), Path(f"{name}.json"))


def _retrieval(random, skill):
    found, entry = {}, {"images": "aa", "texts": "bb", "num_images": QUERIES, "part": False}
    for way in WAYS:
        ranks = np.where(random.random(QUERIES) < skill, 1, random.integers(2, QUERIES, QUERIES))
        found[way] = rank_summary(torch.from_numpy(ranks))
        entry[way] = {"ranks": pack(ranks), "groups": pack(np.arange(QUERIES))}
    return found, entry


def _classes(random, skill):
    ranks = np.where(random.random(QUERIES) < skill, 1, random.integers(2, 30, QUERIES))
    right, five = float((ranks == 1).mean()), float((ranks <= 5).mean())
    entry = {"accuracy": right, "primary": "top1", "top1": right, "top5": five, "mean_per_class": right}
    queries = {"images": "aa", "primary": "top1", "ranks": pack(ranks), "labels": pack(np.arange(QUERIES) % 30)}
    return entry, queries


def _contrasts(random, kinds):
    groups = pack(np.arange(QUERIES))
    answers = {kind: {"right": pack(random.random(QUERIES) < 0.7), "groups": groups} for kind in kinds}
    return {"images": "aa", "num_images": QUERIES, "kinds": answers}


def _answers(queries):
    kinds = {kind: {"accuracy": float(unpack(of["right"]).mean())} for kind, of in queries["kinds"].items()}
    return {"accuracy": float(np.mean([of["accuracy"] for of in kinds.values()])), "kinds": kinds}


def _means(entries):
    return {name: float(np.mean([entry[name] for entry in entries])) for name in ("top1", "top5")} | {"num_classes": 30}


if __name__ == "__main__":
    print(*write_whole(Path(sys.argv[1])), sep="\n")  # noqa: T201
