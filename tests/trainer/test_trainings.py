"""Whole trainings on two ranks: stopped, continued elsewhere, lengthened, and ended by an error.

One group of ranks for all: ``tests/trainer/trainings.py``.
"""

import json
import re
import shlex
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from tests.processes import run, run_ranks
from tests.trainer.conftest import KEYS
from tests.trainer.examples import captions_of, sample_members, write_tar
from trainer.checkpoint.folder import find_checkpoint, read_checkpoint_info
from trainer.data.order import Source, epoch_order

BATCH, EPOCHS, BROKEN = 4, 3, 7
SIZES = [12, 11]  # 23 samples: 5 steps an epoch, 3 left over


@pytest.fixture(scope="module")
def found(tmp_path_factory, store_path, clip_folder) -> dict[str, Any]:
    """What both ranks found, the folder, and what was said."""
    folder = tmp_path_factory.mktemp("trainings")
    members = [sample_members(key) for key in KEYS[:23]]
    whole = [*members[:11], sample_members(KEYS[11], captions_of("another key")), *members[12:]]
    stale = write_tar(folder / "stale.tar", chain.from_iterable(whole))
    members[BROKEN][0] = (members[BROKEN][0][0], b"torn")
    shards = [write_tar(folder / f"{i}.tar", chain(*members[12 * i : 12 * i + 12])) for i in range(2)]
    common = {"output": str(folder), "store": str(store_path), "threads": 1, "batch_size": BATCH, "workers": 0}
    stage1 = common | {"fields": ["llm/short"], "teacher_fields": ["clip/short"], "batch_size": 8, "log_every": 100}
    stage2 = common | {
        "fields": ["llm/short", "llm/long"], "clip": str(clip_folder), "shards": shards, "epochs": EPOCHS,
        "broken": "skip", "shuffle_window": 1, "log_every": 100, "num_blocks": 1,
    }  # fmt: skip
    (folder / "settings.json").write_text(
        json.dumps({"stage1": stage1 | {"epochs": 2}, "stage2": stage2, "stale": stale})
    )
    (folder / "first").mkdir()
    done = run_ranks("tests.trainer.trainings", folder)
    said = "".join(rank.stdout + rank.stderr for rank in done)
    assert (folder / "results-1.json").exists(), said[-3000:]
    ranks = [json.loads((folder / f"results-{rank}.json").read_text()) for rank in range(2)]
    return {
        "folder": folder,
        "ranks": ranks,
        "said": said,
        "status": [rank.returncode for rank in done],
        "stage2": stage2,
    }


def rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.parametrize("zero_stage", [0, 1])
def test_the_logged_loss_is_the_mean_over_the_micro_batches_of_all_ranks(found, zero_stage):
    log = rows(found["folder"] / f"accumulated-{zero_stage}" / "log.jsonl")
    losses = [rank[f"accumulated-{zero_stage}"]["losses"] for rank in found["ranks"]]
    assert [len(of_rank) for of_rank in losses] == [12, 12]  # 6 steps of 2
    for step, row in enumerate(log):
        parts = [of_rank[2 * step + part] for of_rank in losses for part in range(2)]
        assert row["loss"] == pytest.approx(sum(parts) / 4, rel=1e-5)
        assert max(parts) - min(parts) > 0.01


def test_without_zero_in_float32_the_gradient_has_the_norm_that_zero_logs(found):
    with_none, with_zero = (rows(found["folder"] / f"accumulated-{zero}" / "log.jsonl") for zero in (0, 1))
    norms = [row["grad_norm"] for row in with_none]
    assert norms == pytest.approx([row["grad_norm"] for row in with_zero], rel=1e-3)
    assert min(norms) > 0


def test_a_run_stops_at_the_step_at_which_any_rank_is_asked_to_also_between_log_lines(found):
    """Rank 1 was asked at step 2; lines are logged every 100 steps, and at step 3, where the epoch ends."""
    message = "asked to stop; saved after step 2, and the same command continues there"
    assert [rank["stopped"]["said"] for rank in found["ranks"]] == [message] * 2
    assert [rank["continued"]["said"] for rank in found["ranks"]] == [""] * 2
    assert [len(rank["continued"]["losses"]) for rank in found["ranks"]] == [4, 4]


def test_an_evaluation_that_was_due_as_the_run_stopped_is_made_by_the_continued_run(found):
    assert [row["step"] for row in rows(found["folder"] / "stopped" / "evaluations.jsonl")] == [2, 4, 6]


def test_a_finished_run_goes_on_when_it_is_given_more_steps_and_says_at_which_rate(found):
    assert [len(rank["longer"]["losses"]) for rank in found["ranks"]] == [2, 2]
    assert read_checkpoint_info(find_checkpoint(found["folder"] / "longer"))["step"] == 4
    assert "the run was planned for 2 steps and continues to 4" in found["said"]
    assert "the rate of step 3 is 5e-06 in place of 0" in found["said"]


def test_a_finished_run_names_itself_its_checkpoint_and_the_next_command(found):
    run = found["folder"] / "stopped"
    checkpoint = run / "checkpoints" / "step-00000006"
    assert f"stage1 in {str(run)!r} is done after 6 steps; its checkpoint is {str(checkpoint)!r}" in found["said"]
    start = f"python -m trainer stage2 --output OUTPUT --stage1 {shlex.quote(str(run))}"
    assert f"{start} --clip CLIP --shards SHARDS" in found["said"]


def test_only_rank_0_shows_how_far_an_evaluation_is(found):
    zero, one = (rank["shown"] for rank in found["ranks"])
    assert "images" in zero
    assert one == ""


def test_an_error_that_one_rank_meets_in_the_loop_ends_all_in_its_sentence(found):
    """One caption of 23 is not the one that was embedded: in the batch of one rank, inside a loader's worker."""
    assert found["status"] == [1, 1]
    sentences = re.findall(r"keyclip: error: (.*)", found["said"])
    (reason,) = [sentence for sentence in sentences if sentence != "another rank stopped; it says why"]
    assert reason.startswith(f"the caption of sample '{KEYS[11]}' is not the one that field 'llm/")
    assert "Traceback" not in found["said"]


@pytest.fixture(scope="module")
def moved(found) -> list[list[int]]:
    """The samples of each step of a run that was stopped on two ranks and goes on alone, with other micro-batches."""
    folder, flags = found["folder"], []
    (folder / "second").mkdir()
    for name, value in (found["stage2"] | {"output": folder / "moved", "accumulation": 2}).items():
        flags += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, list) else [value])]
    done = run(["-m", "tests.trainer.recording", folder / "second", 0, *flags])
    assert done.returncode == 0, done.stderr[-3000:]
    steps = []
    for part, ranks in (("first", 2), ("second", 1)):
        files = [rows(folder / part / f"{ranks}-{rank}.jsonl") for rank in range(ranks)]
        steps += [list(chain(*(row["samples"] for row in step))) for step in zip(*files, strict=True)]
    return steps


def test_a_run_that_goes_on_alone_takes_the_samples_of_one_that_was_never_stopped(found, moved):
    assert "saved after step 7" in found["ranks"][0]["moved"]
    orders = [epoch_order([Source("photos", SIZES)], 0, epoch, 1) for epoch in range(EPOCHS)]
    expected = [order[at : at + BATCH].tolist() for order in orders for at in range(0, 20, BATCH)]
    assert [sorted(step) for step in moved] == [sorted(step) for step in expected]


def test_its_log_counts_every_epoch_also_the_interrupted_one(found, moved):
    counts = [row["epoch_counts"] for row in rows(found["folder"] / "moved" / "log.jsonl") if "epoch_counts" in row]
    broken = [int(BROKEN in chain(*moved[5 * epoch : 5 * epoch + 5])) for epoch in range(EPOCHS)]
    assert [count["epoch"] for count in counts] == [1, 2, 3]
    assert [count["left_out"].get("broken image", 0) for count in counts] == broken
    assert [count["trained_on"] for count in counts] == [20 - number for number in broken]
