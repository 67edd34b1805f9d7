"""The sound world that cases damage: a small file of every kind that commands read, made by the commands."""

import csv
import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml
from safetensors.torch import load_file

import store
from tests.embedder.small_models import save_clip
from tests.trainer.examples import encoded, make_store, picture, write_tar
from tools.__main__ import main
from trainer.checkpoint.folder import save_checkpoint
from trainer.model.adapter import Adapter

KEYS = [f"{number:09d}" for number in range(8)]
FIELDS = ("short", "long")


def build(folder: Path) -> None:
    """Make the world in ``folder``, which becomes the working directory of every case."""
    folder.mkdir(parents=True)
    save_clip(folder / "clip")
    _shards(folder)
    _tables(folder)
    _evaluation(folder)
    make_store(folder / "a.store", KEYS)
    _keyclip("embed", "--model", folder / "clip", "--captions", folder / "texts.jsonl", "--caption-fields", "caption",
             "prompt", "--missing", "skip", "--field-prefix", "clip", "--store", folder / "e.store",
             "--progress", "False")  # fmt: skip
    _keyclip("embed", "--model", folder / "clip", "--shards", folder / "shards/00000.tar", "--caption-fields", "short",
             "--field-prefix", "clip", "--store", folder / "e.store", "--progress", "False")  # fmt: skip
    _keyclip("store", "convert", folder / "a.store", "--output", folder / "z.store", "--backend", "zarr")
    _vectors(folder)
    _runs(folder)
    for left in folder.rglob("lock.mdb"):
        left.unlink()
    (folder / "out").mkdir()


def _keyclip(*words: object) -> None:
    if status := main([str(word) for word in words]):
        raise RuntimeError(f"the sound world cannot be made: {words} ended with status {status}")


def _row(key: str) -> dict[str, object]:
    return {
        "key": key,
        "url": f"https://example.org/{key}.jpg",
        "short": f"short caption of {key}",
        "long": f"a much longer caption of {key}",
        "captions": [f"first of {key}", f"second of {key}"],
        "label": "cat" if int(key) % 2 else "dog",
        "width": 24,
        "height": 20,
        "status": "success",
    }


def _shards(folder: Path) -> None:
    (folder / "shards").mkdir()
    for number in range(2):
        keys = KEYS[4 * number : 4 * number + 4]
        members = []
        for key in keys:
            members += [
                (f"{key}.jpg", encoded(picture(int(key)))),
                (f"{key}.json", json.dumps(_row(key)).encode()),
                (f"{key}.txt", b"text"),
            ]
        write_tar(folder / f"shards/{number:05d}.tar", members)
        pq.write_table(pa.Table.from_pylist([_row(key) for key in keys]), folder / f"shards/{number:05d}.parquet")
        (folder / f"shards/{number:05d}_stats.json").write_text(json.dumps({"count": 4, "successes": 4}))
    (folder / "list.txt").write_text("shards/00000.tar\nshards/00001.tar\n")
    (folder / "keys.txt").write_text("".join(f"{key}\n" for key in KEYS[:5]))


def _tables(folder: Path) -> None:
    rows = [{name: _row(key)[name] for name in ("key", "url", "short", "long")} for key in KEYS]
    for name, delimiter in (("table.csv", ","), ("table.tsv", "\t")):
        with (folder / name).open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)
    (folder / "table.json").write_text(json.dumps(rows))
    (folder / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), folder / "table.parquet")


def _evaluation(folder: Path) -> None:
    (folder / "images").mkdir()
    for number in range(4):
        (folder / f"images/{number}.jpg").write_bytes(encoded(picture(number)))
    rows = [{"image": f"{number}.jpg", "caption": [f"photo {number}"]} for number in range(4)]
    (folder / "photos.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sets = {"photos": {"layout": "jsonl", "annotations": "photos.jsonl", "images": "images"}}
    (folder / "sets.yaml").write_text(yaml.safe_dump({"sets": sets}))
    classes = {"label": "label", "classes": {"cat": ["cat"], "dog": ["dog"]}, "templates": ["a {}."]}
    (folder / "classes.json").write_text(json.dumps(classes))
    _keyclip("eval-captions", "--sets", folder / "sets.yaml", "--output", folder / "texts.jsonl")
    _keyclip("prompts", "--classes", folder / "classes.json", "--output", folder / "prompts.jsonl")
    with (folder / "texts.jsonl").open("a") as file:
        file.write((folder / "prompts.jsonl").read_text())


def _vectors(folder: Path) -> None:
    vectors, fields = folder / "vectors", ["--fields", "llm/short", "llm/long"]
    shards = ["--shards", folder / "shards/00000.tar", folder / "shards/00001.tar"]
    place = [folder / "a.store", "--output"]
    _keyclip("vectors", "export", "sidecar", *place, vectors / "sidecar", *fields, *shards)
    _keyclip("vectors", "export", "merged", *place, vectors / "merged", *fields, *shards)
    _keyclip("vectors", "export", "dpt", *place, vectors / "features.dpt", *fields)
    _keyclip("vectors", "export", "clip-retrieval", *place, vectors / "clip-retrieval", "--field", "llm/short")
    _keyclip("vectors", "export", "parquet", *place, vectors / "parquet", *fields)
    _keyclip("vectors", "export", "lance", *place, vectors / "rows.lance", *fields)
    for left in vectors.rglob(".keyclip-export"):
        shutil.rmtree(left)


def _runs(folder: Path) -> None:
    torch.manual_seed(0)
    shape = {"dim_in": 16, "dim_out": 16, "num_blocks": 1, "expansion": 2}
    weights = {f"adapter.{name}": value for name, value in Adapter(**shape).state_dict().items()}
    spec = store.open(folder / "e.store").fields()["clip/caption"].spec
    made_by = {name: getattr(spec, name) for name in ("model", "revision", "template", "pooling")}
    info = {"stage": "stage1", "step": 1, "finished": True, "samples": 8, "adapter": shape, "embedder": made_by}
    save_checkpoint(folder / "run", {"model": weights}, {**info, "teacher": None, "config": {}}, 1)
    (folder / "run/config.json").write_text(json.dumps({"stage": "stage1", "batch_size": 4, "fields": ["llm/short"]}))
    lines = [{"step": step, "loss": 1 / step, "lr": 0.1, "samples": 4 * step} for step in range(1, 6)]
    (folder / "run/log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for name, more in (("clip", []), ("run", ["--checkpoint", folder / "run"])):
        _keyclip("eval", "--clip", folder / "clip", *more, "--sets", folder / "sets.yaml", "--store",
                 folder / "e.store", "--embedder", "clip", "--teacher", "clip", "--resamples", "20", "--examples", "1",
                 "--name", name, "--output", folder / f"{name}-result.json")  # fmt: skip
    _keyclip("export", "--clip", folder / "clip", "--checkpoint", folder / "run", "--layout", "llm2clip",
             "--output", folder / "adapter.safetensors")  # fmt: skip
    torch.save(load_file(folder / "adapter.safetensors"), folder / "adapter.pt")
