"""The ledger of vectors: embedded once, read by every training and evaluation."""

import pytest
import torch

from tests.trainer.examples import make_store
from tools.compare.reuse import FieldUse, field_uses, vectors_in
from trainer.checkpoint.folder import save_checkpoint

KEYS = [f"{i:04d}" for i in range(24)]


def finished_run(folder, stage, samples, **config):
    info = {"stage": stage, "step": 3, "samples": samples, "config": config}
    save_checkpoint(folder, {"model": {"x": torch.zeros(1)}}, info, 1)
    return folder


@pytest.fixture
def filled(tmp_path):
    return make_store(tmp_path / "captions.store", KEYS)


def test_reads_are_counted_field_by_field(tmp_path, filled):
    runs = [
        finished_run(
            tmp_path / "a", "stage1", 48, fields=["llm/short", "llm/long"], teacher_fields=["clip/short", "clip/long"]
        ),
        finished_run(tmp_path / "b", "stage2", 100, fields=["llm/short", "llm/long"], field_weights=None),
        finished_run(tmp_path / "c", "stage2", 100, fields=["llm/short", "llm/long"], field_weights=[3, 1]),
    ]
    uses = {use.field: use for use in field_uses(filled, {"llm/short": 20}, runs, {"llm/short": [10, 20]})}
    # stage 1 reads all 48 samples of each view, stage 2 half of its 100, then three quarters; evaluations 30
    assert uses["llm/short"] == FieldUse("llm/short", 24, 4, trainings=3, evaluations=2, num_reads=48 + 50 + 75 + 30)
    assert uses["llm/long"] == FieldUse("llm/long", 24, 24, trainings=3, evaluations=0, num_reads=48 + 50 + 25)
    assert uses["clip/short"] == FieldUse("clip/short", 24, 24, trainings=1, evaluations=0, num_reads=48)


def test_fields_that_nothing_reads_are_left_out(filled):
    assert [use.field for use in field_uses(filled, {}, [], {"llm/long": [24]})] == ["llm/long"]


def test_a_store_that_is_not_there_yet_holds_nothing(tmp_path, filled):
    assert vectors_in(tmp_path / "none") == {}
    assert vectors_in(filled) == {"clip/long": 24, "clip/short": 24, "llm/long": 24, "llm/short": 24}
