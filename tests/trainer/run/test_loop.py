"""Errors under the launcher: one sentence, whichever rank meets it, and no traceback."""

import json
from pathlib import Path

import pytest
import torch
from deepspeed.accelerator import get_accelerator

from tests.trainer.examples import write_shard
from tests.trainer.launching import deepspeed
from trainer.checkpoint.folder import list_checkpoints, read_checkpoint_info, read_tensors

pytestmark = pytest.mark.slow  # a launch each, and seconds in which the rank with the reason speaks first


def train(settings: dict, *more: object, stage: str = "stage2", ranks: int = 2) -> tuple[int, str]:
    """Status and everything that was said."""
    arguments = []
    for name, value in (settings | {"workers": 1, "threads": 1}).items():
        arguments += [f"--{name.replace('_', '-')}", *(value if isinstance(value, tuple) else [value])]
    done = deepspeed("trainer", stage, *arguments, *more, ranks=ranks)
    return done.returncode, done.stdout + done.stderr


def sentences(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith("keyclip: error: ")]


def test_settings_that_rank_0_refuses_end_all_ranks_in_its_sentence(settings, tmp_path):
    status, said = train(settings)
    assert status == 0, said
    status, said = train(settings, "--seed", "2")
    assert status != 0
    (sentence,) = sentences(said)
    assert "holds a run with other settings (seed 0 there, 2 here)" in sentence
    assert "Traceback" not in said


def test_an_error_that_every_rank_meets_is_said_once(settings, tmp_path):
    shard = write_shard(Path(tmp_path) / "more.tar", ["unknown"])
    status, said = train(settings | {"shards": (*settings["shards"], shard)})
    assert status != 0
    (sentence,) = sentences(said)
    assert "1 of 25 keys have no vector in field 'llm/short'" in sentence
    assert "Traceback" not in said


def test_a_step_that_overflows_in_fp16_moves_neither_teacher_nor_adam_but_the_schedule(settings):
    """DeepSpeed begins at a scale of 65,536, at which the first steps overflow; every step writes a checkpoint."""
    if not get_accelerator().is_fp16_supported():
        pytest.skip("this processor has no fp16")
    more = {"precision": "fp16", "epochs": 3, "checkpoint_every": 1, "log_every": 1, "keep_checkpoints": 99}
    status, said = train(settings | more | {"learning_rate": 1e-3, "ema_momentum": 0.5})
    assert status == 0, said
    checkpoints = list_checkpoints(settings["output"])
    infos = [read_checkpoint_info(folder) for folder in checkpoints]
    skipped = [int(info["loss_scale"]["skipped_steps"]) for info in infos]
    assert 2 <= skipped[-1] < 9
    assert [info["adam_step"] + left for info, left in zip(infos, skipped, strict=True)] == list(range(1, 10))
    teachers = [read_tensors(folder, "teacher") for folder in checkpoints]
    for i in range(1, 9):
        moved = any(not torch.equal(value, teachers[i - 1][name]) for name, value in teachers[i].items())
        assert moved == (skipped[i] == skipped[i - 1])
    rows = [json.loads(line) for line in (settings["output"] / "log.jsonl").read_text().splitlines()]
    assert [row["skipped_steps"] for row in rows] == skipped
    assert len({row["lr"] for row in rows}) == 9


def test_a_run_that_diverges_stops_before_it_is_saved_and_names_the_last_good_checkpoint(store_path, tmp_path):
    settings = {
        "output": tmp_path / "run", "store": store_path, "fields": "llm/short", "teacher_fields": "clip/short",
        "batch_size": 8, "epochs": 4, "learning_rate": 1e30, "checkpoint_every": 1, "log_every": 5,
    }  # fmt: skip
    status, said = train(settings, stage="stage1", ranks=1)
    assert status != 0
    (sentence,) = sentences(said)
    (newest,) = list_checkpoints(tmp_path / "run")[-1:]
    assert "the loss is not finite at step" in sentence
    assert f"the last checkpoint is {str(newest)!r}; lower learning_rate" in sentence
    for name in ("model", "optimizer"):
        assert all(bool(value.isfinite().all()) for value in read_tensors(newest, name).values())
