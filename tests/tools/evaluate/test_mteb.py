"""A checkpoint as an mteb model, on tasks in mteb's format that are made here: the scores of the same vectors."""

import json
import sys

import mteb
import pytest
import torch
from datasets import Dataset, DatasetDict
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.abstasks.zeroshot_classification import AbsTaskZeroShotClassification
from mteb.models.abs_encoder import AbsEncoder

from store.common.errors import ConfigError, MissingKeysError
from tests.tools.evaluate import benchmarked
from tests.tools.evaluate.benchmarked import CAPTIONS, LABELS, PICTURES, PROMPTS
from tools.__main__ import main
from tools.commands.evaluate.mteb import mteb_model
from tools.evaluate.benchmark_model import BenchmarkModel, ModelConfig


def metadata(name, kind, category, main_score):
    return TaskMetadata(
        name=name, description="made here", type=kind, category=category, main_score=main_score,
        modalities=["image", "text"], dataset={"path": "local", "revision": "1"}, eval_splits=["test"],
        eval_langs=["eng-Latn"],
    )  # fmt: skip


def items(ids, **columns):
    return Dataset.from_dict({"id": ids, **columns})


class TextToImage(AbsTaskRetrieval):
    metadata = metadata("LocalT2I", "Any2AnyRetrieval", "t2i", "ndcg_at_10")

    def load_data(self, **settings):
        texts, images = [f"t{i}" for i in range(12)], [f"i{i}" for i in range(12)]
        relevant = {f"t{i}": {f"i{i}": 1, f"i{(i + 1) % 12}": i % 2} for i in range(12)}
        split = RetrievalSplitData(
            queries=items(texts, text=CAPTIONS), corpus=items(images, image=PICTURES), relevant_docs=relevant,
            top_ranked=None,
        )  # fmt: skip
        self.dataset, self.data_loaded = {"default": {"test": split}}, True


class ImageToText(AbsTaskRetrieval):
    metadata = metadata("LocalI2T", "Any2AnyRetrieval", "i2t", "ndcg_at_10")

    def load_data(self, **settings):
        texts, images = [f"t{i}" for i in range(12)], [f"i{i}" for i in range(12)]
        split = RetrievalSplitData(
            queries=items(images, image=PICTURES), corpus=items(texts, text=CAPTIONS),
            relevant_docs={f"i{i}": {f"t{i}": 1} for i in range(12)}, top_ranked=None,
        )  # fmt: skip
        self.dataset, self.data_loaded = {"default": {"test": split}}, True


class ZeroShot(AbsTaskZeroShotClassification):
    metadata = metadata("LocalZeroShot", "ZeroShotClassification", "i2t", "accuracy")

    def load_data(self, **settings):
        labels = [i % len(LABELS) for i in range(12)]
        self.dataset = DatasetDict({"test": Dataset.from_dict({"image": PICTURES, "label": labels})})
        self.data_loaded = True

    def get_candidate_labels(self):
        return PROMPTS


# tiny tasks where a class is never guessed
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
TASKS = (TextToImage, ImageToText, ZeroShot)


class Vectors(AbsEncoder):
    """mteb's own evaluation of vectors that are given: by text, and by the pixels of a picture."""

    def __init__(self, folder, meta):
        images, texts = benchmarked.vectors(folder, [*CAPTIONS, *PROMPTS])
        self.mteb_model_meta = meta
        self.texts = dict(zip([*CAPTIONS, *PROMPTS], texts, strict=True))
        self.images = {picture.tobytes(): image for picture, image in zip(PICTURES, images, strict=True)}

    def encode(self, inputs, **settings):
        rows = []
        for batch in inputs:
            rows += [self.images[picture.convert("RGB").tobytes()] for picture in batch.get("image", [])]
            rows += [self.texts[text] for text in batch.get("text", [])]
        return torch.stack(rows)


def scores(model, task):
    (result,) = mteb.evaluate(model, [task()], cache=None, co2_tracker=False, show_progress_bar=False).task_results
    (split,) = result.scores["test"]
    return {name: value for name, value in split.items() if isinstance(value, float)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return benchmarked.make(tmp_path_factory.mktemp("mteb"))


@pytest.fixture(scope="module")
def model(folder):
    return BenchmarkModel(ModelConfig(**benchmarked.options(folder)))


@pytest.mark.parametrize("task", TASKS)
def test_scores_are_mtebs_own_of_the_same_vectors(folder, model, task):
    ours = mteb_model(model)
    found, expected = scores(ours, task), scores(Vectors(folder, ours.mteb_model_meta), task)
    assert len(found) > 4
    assert found == pytest.approx(expected, abs=1e-4, nan_ok=True)


def test_scores_are_what_a_loop_over_the_vectors_gives(folder, model):
    images, texts = benchmarked.vectors(folder, CAPTIONS)
    first = (images @ texts.T).argmax(dim=1)
    assert scores(mteb_model(model), ImageToText)["recall_at_1"] == pytest.approx(
        (first == torch.arange(12)).double().mean().item(), abs=1e-4
    )
    images, texts = benchmarked.vectors(folder, PROMPTS)
    guesses = (images @ texts.T).argmax(dim=1)
    right = (guesses == torch.arange(12) % 3).double().mean().item()
    assert scores(mteb_model(model), ZeroShot)["accuracy"] == pytest.approx(right, abs=1e-4)


def test_other_weights_or_vectors_are_another_revision_for_mtebs_cache(folder, model):
    again = BenchmarkModel(ModelConfig(**benchmarked.options(folder)))
    original = BenchmarkModel(ModelConfig(**benchmarked.options(folder) | {"checkpoint": None}))
    assert again.identity == model.identity != original.identity
    assert mteb_model(model).mteb_model_meta.revision == model.identity
    assert mteb_model(model).mteb_model_meta.name == "keyclip/run"


class NewTexts(ZeroShot):
    metadata = metadata("LocalNew", "ZeroShotClassification", "i2t", "accuracy")

    def get_candidate_labels(self):
        return [*PROMPTS[:2], "a text that nobody has embedded"]


def test_a_text_without_a_vector_is_refused_with_the_remedy(model):
    with pytest.raises(MissingKeysError, match=r"1 texts have no vector in field 'clip/caption' .* first 'a text that"):
        scores(mteb_model(model), NewTexts)
    with pytest.raises(MissingKeysError, match="list them with --write-texts and run `keyclip embed`"):
        model.text_features(["other"])


@pytest.fixture
def known(monkeypatch):
    """mteb knows the tasks that are made here by their names, as it knows its own."""
    for task in (*TASKS, NewTexts):
        monkeypatch.setitem(sys.modules["mteb.get_tasks"]._TASKS_REGISTRY, task.metadata.name, task)


def command(folder, *settings):
    base = ["--clip", folder / "clip", "--checkpoint", folder / "run", "--store", folder / "eval.store"]
    return main(["mteb", *map(str, [*base, "--field", "clip/caption", "--device", "cpu", *settings])])


def test_texts_are_listed_embedded_once_and_then_found(tmp_path, known, capsys):
    """By commands, on a store of their own."""
    folder = benchmarked.make(tmp_path)
    texts, results = tmp_path / "mteb.jsonl", tmp_path / "results"
    tasks = ("--tasks", "LocalNew", "LocalT2I")
    assert command(folder, *tasks, "--output", results) == 1
    assert "list them with --write-texts" in capsys.readouterr().err
    assert command(folder, *tasks, "--write-texts", texts) == 0
    rows = [json.loads(line) for line in texts.read_text().splitlines()]
    assert [row["caption"] for row in rows] == ["a text that nobody has embedded"]
    assert "1 texts without a vector in" in capsys.readouterr().out
    benchmarked.embed_file(folder, texts)
    capsys.readouterr()
    assert command(folder, *tasks, "--output", results, "--json", True) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["name"], list(told["scores"])) == ("run", ["LocalNew", "LocalT2I"])
    assert len(list(results.rglob("Local*.json"))) == 2
    assert command(folder, *tasks, "--output", results) == 0  # from mteb's results
    assert capsys.readouterr().out.startswith(f"LocalNew  {told['scores']['LocalNew']:.4f}\n")


def test_texts_may_be_embedded_each_time_by_the_fields_own_model(folder, model):
    settings = benchmarked.options(folder) | {"embed_missing": True, "embedder": str(folder / "clip")}
    embedding = BenchmarkModel(ModelConfig(**settings))
    assert embedding.text_features(["a text that nobody has embedded"]).norm().item() == pytest.approx(1)
    torch.testing.assert_close(embedding.text_features(CAPTIONS), model.text_features(CAPTIONS))
    encoder = embedding._embed
    stored = model.text_features(CAPTIONS[:2])
    vectors = torch.from_numpy(encoder(CAPTIONS[:2]))
    adapter = model._adapter
    torch.testing.assert_close(torch.nn.functional.normalize(adapter(vectors), dim=-1), stored, atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"write_texts": "a.jsonl", "embed_missing": True},
            "--write-texts to embed the texts once, or --embed-missing",
        ),
        ({"write_texts": "a.txt"}, "must be the name of a .jsonl file"),
        ({"embedder": "x"}, "--embedder belongs to --embed-missing"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(folder, tmp_path, settings, message):
    if name := settings.get("write_texts"):
        settings = settings | {"write_texts": tmp_path / name}
    with pytest.raises(ConfigError, match=message):
        ModelConfig(**benchmarked.options(folder), **settings)


def test_the_command_refuses_tasks_that_mteb_does_not_know(folder, capsys):
    base = ["mteb", "--clip", str(folder / "clip"), "--store", str(folder / "eval.store"), "--field", "clip/caption"]
    assert main(base) == 1
    assert "give --tasks, names of MTEB's tasks, or --benchmark" in capsys.readouterr().err
    assert main([*base, "--tasks", "NoSuchTask"]) == 1
    assert "MTEB has no such task or benchmark" in capsys.readouterr().err
