"""Small runs and results, made by hand, in the formats that training and evaluation write.

``python -m tests.tools.report.fixtures FOLDER`` writes them, to look at a report in a browser.
"""

import base64
import io
import json
import math
import sys
from pathlib import Path
from random import Random

from PIL import Image

from tools.scenes.dataset import sample
from tools.scenes.scene import THEMES
from tools.scenes.splits import iter_scenes

ARMS = ("CLIP", "LLM2CLIP", "stage 1 only", "ProCLIP")
RANKS = {"CLIP": 40.0, "LLM2CLIP": 55.5, "stage 1 only": 41.0, "ProCLIP": 33.25}


def directions(recall, mean_rank, median_rank=7.0):
    """Both directions: R@1 ``recall``, R@5 twice and R@10 three times as much; text to image ranks one later."""
    return {
        way: {
            "R@1": recall,
            "R@5": 2 * recall,
            "R@10": 3 * recall,
            "mean_rank": mean_rank + later,
            "median_rank": median_rank,
        }
        for later, way in enumerate(("image_to_text", "text_to_image"))
    }


def result(name="ProCLIP", **changes):
    """A json result whose numbers follow from ``RANKS``."""
    rank = RANKS.get(name, 50.0)
    return {
        "format": "keyclip-eval/1",
        "name": name,
        "checkpoint": None if name == "CLIP" else f"runs/{name}/checkpoint",
        "clip": "runs/clip",
        "shards": ["data/test/90000.tar"],
        "num_images": 500,
        "retrieval": {"short": directions(4 / rank, rank), "long": directions(5 / rank, rank - 8)},
        "drift": directions(0.1, {"LLM2CLIP": 70.0, "ProCLIP": 42.5}.get(name, 40.0)),
        "zeroshot": {"top1": 0.3 if name == "CLIP" else 9 / rank, "top5": 20 / rank, "num_classes": 120},
        "examples": [],
        **changes,
    }


def log_lines(steps=60, seed=0, every=10):
    """A training log whose loss falls from about 4 to about 1."""
    random = Random(seed)
    for index in range(1, steps + 1):
        loss = 1 + 3 * math.exp(-4 * index / steps) + random.gauss(0, 0.08)
        yield {
            "step": every * index,
            "epoch": round(10 * index / steps, 2),
            "samples": 2560 * index,
            "lr": 1e-4 * 0.5 * (1 + math.cos(math.pi * index / steps)),
            "loss": loss,
            "loss/contrastive": 0.8 * loss,
            "loss/distill": 0.2 * loss + 0.1 * random.random(),
            "temperature": 0.07 - 0.04 * index / steps,
            "grad_norm": 2 * math.exp(-index / steps) + 0.1 * random.random(),
            "samples_per_second": 800 + random.gauss(0, 30),
            "data_wait_share": 0.02 + 0.01 * random.random(),
        }


def write_run(folder, config=None, lines=None):
    """Write a run folder; returns it."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(
        json.dumps(config or {"stage": 2, "batch_size": 256, "optimizer": {"lr": 1e-4}})
    )
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines or log_lines()))
    return folder


def write_result(folder, name="ProCLIP", **changes):
    """Write a result file; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name.replace(' ', '-')}.json"
    path.write_text(json.dumps(result(name, **changes)))
    return path


def scene_pictures(count):
    """``count`` scenes as (key, short caption, data URI)."""
    scenes = iter_scenes("test", 0, THEMES["any"])
    pictures = []
    for index in range(count):
        members = sample(next(scenes), f"90000{index:04d}", 0, 64)
        uri = "data:image/jpeg;base64," + base64.b64encode(members["jpg"]).decode()
        pictures.append((f"90000{index:04d}", json.loads(members["json"])["shortSV_captions"], uri))
    return pictures


def examples_for(name, pictures, queries=6):
    """Retrieval examples: each arm finds the sought picture at another rank."""
    random = Random(name)
    examples = []
    for key, caption, image in pictures[:queries]:
        others = random.sample([picture for picture in pictures if picture[0] != key], 5)
        rank = random.randint(1, {"ProCLIP": 4, "CLIP": 8}.get(name, 14))
        retrieved = [(other[0], other[2]) for other in others]
        if rank <= 5:
            retrieved[rank - 1] = (key, image)
        hits = [
            {"key": hit, "score": 0.4 - 0.03 * place, "correct": hit == key, "image": uri}
            for place, (hit, uri) in enumerate(retrieved)
        ]
        examples.append({"query": caption, "key": key, "rank": rank, "retrieved": hits})
    return examples


def transparent_pixel():
    """The smallest picture as a data URI."""
    stream = io.BytesIO()
    Image.new("RGBA", (1, 1)).save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def write_all(folder):
    """Three runs and four results; returns their paths in a report's order."""
    config = {"stage": 2, "batch_size": 256, "epochs": 10, "optimizer": {"lr": 1e-4, "weight_decay": 0.05}, "seed": 0}
    stage1 = [
        {
            "step": line["step"],
            "lr": line["lr"],
            "loss": line["loss"],
            "loss/instance": 0.3 * line["loss"],
            "loss/structure": 0.7 * line["loss"],
            "samples_per_second": 9000.0,
            "data_wait_share": 0.1,
        }
        for line in log_lines(300, 1)
    ]
    runs = [
        write_run(folder / "runs/stage1", {**config, "stage": 1, "lambda_reg": None}, stage1),
        write_run(folder / "runs/llm2clip", {**config, "lambda_reg": 0.0, "init": None}, log_lines(300, 2)),
        write_run(folder / "runs/proclip", {**config, "lambda_reg": 4e-4, "init": "runs/stage1"}, log_lines(300, 3)),
    ]
    pictures = scene_pictures(40)
    results = [write_result(folder / "results", name, examples=examples_for(name, pictures)) for name in ARMS]
    return [*runs, *results]


if __name__ == "__main__":
    print(*write_all(Path(sys.argv[1])), sep="\n")  # noqa: T201
