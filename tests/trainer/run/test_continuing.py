"""A run that goes on elsewhere: on other ranks, workers and micro-batches, no sample is repeated or skipped."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.conftest import KEYS
from tests.trainer.examples import sample_members, write_tar
from tests.trainer.launching import ROOT, deepspeed
from trainer.checkpoint.folder import find_checkpoint, read_checkpoint_info
from trainer.data.order import Source, epoch_order

pytestmark = pytest.mark.slow  # three starts of the trainer

EPOCHS, BATCH, SIZES = 3, 4, [12, 11]  # 23 samples: 5 steps an epoch, 3 left over
BROKEN = 7


@pytest.fixture(scope="module")
def run(tmp_path_factory, store_path, clip_folder) -> Path:
    """Two ranks up to step 7, then one rank with other workers and two micro-batches a step, then two ranks again."""
    folder = tmp_path_factory.mktemp("continuing")
    members = [sample_members(key) for key in KEYS[:23]]
    members[BROKEN][0] = (members[BROKEN][0][0], b"torn")
    shards = [
        write_tar(folder / f"{name}.tar", [member for sample in part for member in sample])
        for name, part in (("a", members[:12]), ("b", members[12:]))
    ]
    flags = [
        "--output", folder / "run", "--shards", *shards, "--store", store_path, "--fields", "llm/short", "llm/long",
        "--clip", clip_folder, "--batch-size", BATCH, "--epochs", EPOCHS, "--log-every", 1, "--threads", 1,
        "--broken", "skip", "--shuffle-window", 1,
    ]  # fmt: skip
    module = "tests.trainer.recording"
    for name, stop_after in (("first", 7), ("second", 9), ("third", 0)):
        (folder / name).mkdir()
        if name == "second":
            more = [folder / name, 2, *flags, "--workers", 2, "--accumulation", 2]  # its engine counts from 0: 7 + 2
            command = [sys.executable, "-m", module, *map(str, more)]
            done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False)
        else:
            done = deepspeed(module, folder / name, stop_after, *flags, "--workers", 0 if stop_after else 1)
        said = done.stdout + done.stderr
        assert ("asked to stop" in said) == (name != "third"), said[-3000:]
        assert read_checkpoint_info(find_checkpoint(folder / "run"))["step"] == stop_after or name == "third", said
    return folder


def rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def joined(lists: Iterable[list[int]]) -> list[int]:
    return list(chain.from_iterable(lists))


def seen(folder: Path) -> list[list[int]]:
    """The samples of each step, by all ranks."""
    steps = []
    for name, ranks in (("first", 2), ("second", 1), ("third", 2)):
        parts = [rows(folder / name / f"{ranks}-{rank}.jsonl") for rank in range(ranks)]
        steps += [joined(row["samples"] for row in step) for step in zip(*parts, strict=True)]
    return steps


def test_every_epoch_trains_on_every_sample_once_but_for_its_remainder(run):
    steps = seen(run)
    assert len(steps) == 15
    assert {len(step) for step in steps} == {BATCH}
    left_over = []
    for epoch in range(EPOCHS):
        samples = joined(steps[5 * epoch : 5 * epoch + 5])
        assert len(set(samples)) == len(samples) == 20
        left_over.append(frozenset(range(23)) - set(samples))
    assert len(set(left_over)) == 3


def test_each_step_is_that_of_a_run_that_was_never_stopped(run):
    orders = [epoch_order([Source("photos", SIZES)], 0, epoch, 1) for epoch in range(EPOCHS)]
    expected = [order[at : at + BATCH].tolist() for order in orders for at in range(0, 20, BATCH)]
    assert [sorted(step) for step in seen(run)] == [sorted(step) for step in expected]


def test_the_log_counts_every_epoch_also_those_that_were_interrupted(run):
    log = rows(run / "run" / "log.jsonl")
    assert [row["step"] for row in log] == list(range(1, 16))
    steps = seen(run)
    for epoch in range(EPOCHS):
        broken = {"broken image": 1} if BROKEN in joined(steps[5 * epoch : 5 * epoch + 5]) else {}
        assert log[5 * epoch + 4]["epoch_counts"] == {
            "epoch": epoch + 1,
            "trained_on": 20 - len(broken),
            "left_out": broken,
            "left_over": 3,
            "datasets": {
                "captions": {"samples": 23, "weight": 1.0, "without image": 0, "without a vector": 0},
            },
        }
    assert sum("epoch_counts" in row for row in log) == EPOCHS
