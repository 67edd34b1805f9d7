"""What the tests of other benchmarks share: pictures, a tiny CLIP, a checkpoint over it, and a store with texts."""

import json
from pathlib import Path

import torch
import torch.nn.functional as F

import store
from tests.embedder.small_models import save_clip
from tests.trainer.examples import picture
from tools.__main__ import main
from trainer.checkpoint.folder import save_checkpoint
from trainer.checkpoint.model import load_model
from trainer.model.adapter import Adapter

PICTURES = [picture(i, (40, 30)) for i in range(12)]
CAPTIONS = [f"a picture of number {i}" for i in range(12)]
LABELS = ["cat", "dog", "owl"]
PROMPTS = [f"a photo of a {label}." for label in LABELS]


def make(folder: Path) -> Path:
    """``clip``, ``run`` (a stage 2 checkpoint) and ``eval.store`` with CLIP's features of captions and prompts."""
    save_clip(folder / "clip")
    embed(folder, {f"own/{i}": text for i, text in enumerate([*CAPTIONS, *PROMPTS])})
    torch.manual_seed(1)
    shape = {"dim_in": 16, "dim_out": 16, "num_blocks": 1, "expansion": 2}
    weights = {f"adapter.{name}": value for name, value in Adapter(**shape).state_dict().items()}
    tower = load_model(str(folder / "clip"), None).tower.model
    weights |= {f"image.{name}": value + 0.05 * torch.randn_like(value) for name, value in tower.state_dict().items()}
    spec = store.open(folder / "eval.store").fields()["clip/caption"].spec
    made_by = {name: getattr(spec, name) for name in ("model", "revision", "template", "pooling")}
    save_checkpoint(
        folder / "run", {"model": weights}, {"stage": "stage2", "step": 1, "adapter": shape, "embedder": made_by}, 1
    )
    return folder


def embed(folder: Path, texts: dict[str, str]) -> None:
    rows = [json.dumps({"key": key, "caption": text}) for key, text in texts.items()]
    (folder / "texts.jsonl").write_text("".join(f"{row}\n" for row in rows))
    embed_file(folder, folder / "texts.jsonl")


def embed_file(folder: Path, file: Path) -> None:
    options = ["--caption-fields", "caption", "--model", str(folder / "clip"), "--field-prefix", "clip"]
    place = ["--store", str(folder / "eval.store"), "--progress", "False"]
    assert main(["embed", "--captions", str(file), *options, *place]) == 0


def vectors(folder: Path, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalised features of the pictures and of texts that are in the store under ``own/``; without eval's code."""
    model = load_model(str(folder / "clip"), folder / "run")
    everything = [*CAPTIONS, *PROMPTS]
    field = store.open(folder / "eval.store").field("clip/caption")
    stored = torch.from_numpy(field.get([f"own/{everything.index(text)}" for text in texts], dtype="float32"))
    transform = model.tower.transform
    with torch.no_grad():
        pixels = torch.stack([torch.from_numpy(transform.evaluate_picture(one)) for one in PICTURES])
        images = F.normalize(model.tower.model(transform.normalize(pixels)).float(), dim=-1)
        return images, F.normalize(model.adapter(stored), dim=-1)


def options(folder: Path) -> dict:
    return {
        "clip": str(folder / "clip"),
        "checkpoint": folder / "run",
        "store": folder / "eval.store",
        "field": "clip/caption",
        "device": "cpu",
    }
