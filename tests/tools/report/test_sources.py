"""The report names the models whose vectors the runs have read, and compares settings stage by stage."""

from pathlib import Path

from tests.trainer.examples import make_store
from tools.report.material.inputs import Run
from tools.report.material.settings import stages
from tools.report.material.sources import field_rows

LOG = [{"step": 1, "loss": 1.0}]


def run(name, **config):
    return Run(name, Path("runs") / name, config, LOG)


def test_every_field_that_a_run_read_is_described_by_its_store(tmp_path):
    path = str(make_store(tmp_path / "s", ["a", "b"]))
    rows = field_rows([run("x", store=path, fields=["llm/short"], teacher_fields=["clip/short"])])
    assert rows == [
        ["llm/short", "llm (llm)", "main", "short, pooling mean, 77 tokens", "2", "12 float32", path],
        ["clip/short", "clip (clip-text)", "main", "short, pooling mean, 77 tokens", "2", "16 float32", path],
    ]


def test_a_store_that_is_gone_is_said_to_be_so(tmp_path):
    (row,) = field_rows([run("x", store=str(tmp_path / "gone"), fields=["llm/short"])])
    assert row[:2] == ["llm/short", "the store is not there any more"]


def test_settings_are_compared_within_a_stage_and_over_seeds():
    runs = [
        run("seed-0/a", stage="stage2", seed=0, w=1.0, output="o"),
        run("seed-1/a", stage="stage2", seed=1, w=1.0, output="p"),
        run("seed-0/b", stage="stage2", seed=0, w=0.0, data=[{"shards": "x"}]),
        run("seed-0/stage1", stage="stage1", lr=0.1),
    ]
    second, first = stages(runs)
    assert (second.name, second.columns) == ("stage2", ["a", "b"])
    assert second.differing == [["seed", "0, 1", "0"], ["w", "1.0", "0.0"]]
    assert (first.columns, first.shared) == (["seed-0/stage1"], {"lr": "0.1"})
