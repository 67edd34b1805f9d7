"""A checkpoint through CLIP_benchmark's own command line, on webdataset folders that are made here."""

import io
import json
import os
import shlex
import sys

import pytest
import torch

from store.common.errors import ConfigError
from tests.processes import run
from tests.tools.evaluate import benchmarked
from tests.tools.evaluate.benchmarked import CAPTIONS, LABELS, PICTURES, PROMPTS
from tests.trainer.examples import write_tar
from tools.commands.evaluate.clip_benchmark import open_clip_style, register, top_k_accuracy
from tools.evaluate.benchmark_model import BenchmarkModel, ModelConfig


def write_set(folder, kind, label, texts):
    """A folder in CLIP_benchmark's layout, one member ``label`` beside each picture."""
    members = []
    for i, (picture, text) in enumerate(zip(PICTURES, texts, strict=True)):
        file = io.BytesIO()
        picture.save(file, "PNG")
        members += [(f"s{i:07d}.png", file.getvalue()), (f"s{i:07d}.{label}", text.encode())]
    (folder / "test").mkdir(parents=True)
    write_tar(folder / "test" / "0.tar", members)
    (folder / "test" / "nshards.txt").write_text("1")
    (folder / "dataset_type.txt").write_text(kind)
    (folder / "classnames.txt").write_text("\n".join(LABELS))
    (folder / "zeroshot_classification_templates.txt").write_text("a photo of a {c}.")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = benchmarked.make(tmp_path_factory.mktemp("clip_benchmark"))
    write_set(folder / "sets" / "animals", "classification", "cls", [str(i % 3) for i in range(12)])
    write_set(folder / "sets" / "photos", "retrieval", "txt", CAPTIONS)
    write_set(folder / "sets" / "new", "retrieval", "txt", [f"new {i // 2}" for i in range(12)])
    return folder


@pytest.fixture(scope="module")
def results(folder):
    """What CLIP_benchmark writes for two sets, each evaluated by a ``keyclip clip-benchmark`` command.

    A third command lists the texts of a set that the store lacks.
    """
    commands, root = [], shlex.quote(str(folder))
    listing = ["--write-texts", folder / "new.jsonl"]
    tasks = (("classification", "animals", []), ("retrieval", "photos", []), ("retrieval", "new", listing))
    for task, name, more in tasks:
        arguments = (
            f"eval --dataset wds/{name} --dataset_root {root}/sets/{{dataset}} --task zeroshot_{task} "
            f"--no_amp --num_workers 0 --recall_k 1 5 --output {root}/{name}.json"
        )
        settings = ["--clip", folder / "clip", "--checkpoint", folder / "run", "--store", folder / "eval.store",
                    "--field", "clip/caption", "--device", "cpu", "--arguments", arguments, *more]  # fmt: skip
        commands.append(json.dumps(["clip-benchmark", *map(str, settings)]))
    words = ["-m", "tests.tools.evaluate.clip_benchmark_standins", *commands]
    done = run(words, os.environ | {"CUDA_VISIBLE_DEVICES": ""})
    assert done.returncode == 0, done.stderr
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in ("animals", "photos")}


def test_zero_shot_classification_has_the_accuracy_of_the_vectors(folder, results):
    images, texts = benchmarked.vectors(folder, PROMPTS)
    guesses, labels = (images @ texts.T).argmax(dim=1), torch.arange(12) % 3
    right = (guesses == labels).double()
    metrics = results["animals"]["metrics"]
    assert metrics["acc1"] == pytest.approx(right.mean().item(), abs=1e-4)
    per_class = sum(right[labels == label].mean().item() for label in range(3)) / 3
    assert metrics["mean_per_class_recall"] == pytest.approx(per_class, abs=1e-4)
    assert (results["animals"]["model"], results["animals"]["dataset"]) == ("run", "wds/animals")


def test_retrieval_has_the_recalls_of_the_vectors(folder, results):
    images, texts = benchmarked.vectors(folder, CAPTIONS)
    scores, own = images @ texts.T, torch.arange(12)
    for k in (1, 5):
        for way, by_query in (("text", scores), ("image", scores.T)):
            found = (by_query.topk(k, dim=1).indices == own[:, None]).any(dim=1).double().mean().item()
            assert results["photos"]["metrics"][f"{way}_retrieval_recall@{k}"] == pytest.approx(found, abs=1e-4)


def test_texts_without_a_vector_are_listed_once_each(folder, results):
    rows = [json.loads(line)["caption"] for line in (folder / "new.jsonl").read_text().splitlines()]
    assert rows == [f"new {i}" for i in range(6)]


def test_what_clip_benchmark_needs_and_is_not_there_is_told(monkeypatch, folder):
    monkeypatch.setitem(sys.modules, "clip_benchmark.models", None)
    with pytest.raises(ConfigError, match=r"CLIP_benchmark cannot be imported .*pip install 'keyclip\[clip-benchmark"):
        register(BenchmarkModel(ModelConfig(**benchmarked.options(folder))))


def test_the_share_among_the_first_k_by_hand():
    scores = torch.tensor([[0.1, 0.9, 0.5], [0.7, 0.2, 0.1]])
    assert top_k_accuracy(scores, torch.tensor([2, 0]), (1, 2)) == [0.5, 1.0]


@pytest.fixture(scope="module")
def triple(folder):
    return open_clip_style(BenchmarkModel(ModelConfig(**benchmarked.options(folder))))


def test_the_triple_is_used_as_open_clips_is(folder, triple):
    model, transform, tokenizer = triple
    images, texts = benchmarked.vectors(folder, CAPTIONS)
    pixels = torch.stack([transform(picture) for picture in PICTURES])
    torch.testing.assert_close(model.eval().encode_image(pixels), images)
    torch.testing.assert_close(model.encode_text(tokenizer(CAPTIONS)), texts)
    assert tokenizer(CAPTIONS[2]).tolist() == [2]  # a text keeps its number
    torch.testing.assert_close(model.encode_text(tokenizer([CAPTIONS[5], CAPTIONS[1]])), texts[[5, 1]])


def test_pictures_in_other_modes_are_seen_in_rgb(triple):
    _, transform, _ = triple
    grey = PICTURES[0].convert("L")
    assert torch.equal(transform(grey), transform(grey.convert("RGB")))
    assert transform(PICTURES[0]).dtype == torch.uint8
