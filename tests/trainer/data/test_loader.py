"""Batches fall where seed, epoch and position put them, whatever the ranks and workers."""

import multiprocessing
import os
import subprocess
import sys

import pytest
import torch

from store.common.errors import ConfigError, StaleCaptionError
from trainer.data.loader import batches, make_plan
from trainer.data.order import Source, epoch_order

SIZES = [7, 9, 4, 10]  # 30 samples: 3 batches of 8 an epoch, 6 left over


class Numbers:
    """Samples that are their own numbers."""

    sources = (Source("numbers", SIZES),)

    def load(self, samples, epoch, places):
        return {"sample": torch.from_numpy(samples), "place": torch.from_numpy(places), "epoch": epoch}


class Terminated(Numbers):
    """Whose loader processes get SIGTERM from elsewhere, as a scheduler sends it to every process of a job."""

    def load(self, samples, epoch, places):
        subprocess.run(["/bin/sh", "-c", f"kill -TERM {os.getpid()}"], check=True)
        return super().load(samples, epoch, places)


class Failing(Numbers):
    def load(self, samples, epoch, places):
        if 5 in samples:
            raise StaleCaptionError("the caption of sample 5 is stale")
        return super().load(samples, epoch, places)


ALONE = {"seed": 0, "window": 2, "rank": 0, "ranks": 1, "accumulation": 1}


def load(steps, rank=0, ranks=1, accumulation=1, workers=0, seed=0, window=2, data=None):
    data = data or Numbers()
    plan = make_plan(sum(SIZES), 8, ranks, accumulation)
    settings = {"seed": seed, "window": window, "rank": rank, "ranks": ranks, "accumulation": accumulation}
    return list(batches(data, plan, steps, workers=workers, pin_memory=False, **settings))


def samples_of(loaded) -> list[list[int]]:
    return [batch["sample"].tolist() for batch in loaded]


def global_order(steps) -> list[list[int]]:
    """The samples of each step, straight from the orders of the epochs."""
    orders = [epoch_order(Numbers.sources, 0, epoch, 2) for epoch in range(3)]
    return [orders[step // 3][step % 3 * 8 : step % 3 * 8 + 8].tolist() for step in steps]


def test_one_rank_loads_the_global_order():
    loaded = load(range(7))
    assert samples_of(loaded) == global_order(range(7))
    assert [batch["epoch"] for batch in loaded] == [0, 0, 0, 1, 1, 1, 2]
    assert loaded[4]["place"].tolist() == list(range(8, 16))


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_the_ranks_parts_of_a_step_put_together_are_the_global_order(ranks, accumulation):
    """Micro-batch after micro-batch, rank after rank: the order of one process with the whole batch."""
    parts = [samples_of(load(range(5), rank, ranks, accumulation)) for rank in range(ranks)]
    for step, expected in enumerate(global_order(range(5))):
        micro = [parts[rank][step * accumulation + part] for part in range(accumulation) for rank in range(ranks)]
        assert {len(batch) for batch in micro} == {8 // (ranks * accumulation)}
        assert [sample for batch in micro for sample in batch] == expected


def test_two_ranks_partition_the_samples_of_an_epoch():
    seen = [{sample for batch in samples_of(load(range(3), rank, 2)) for sample in batch} for rank in range(2)]
    assert not seen[0] & seen[1]
    assert len(seen[0]) == len(seen[1]) == 12


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(workers):
    alone = load(range(4), rank=1, ranks=2)
    together = load(range(4), rank=1, ranks=2, workers=workers)
    assert samples_of(together) == samples_of(alone)
    assert [b["place"].tolist() for b in together] == [b["place"].tolist() for b in alone]


def test_a_run_that_goes_on_loads_what_it_would_have_loaded():
    assert samples_of(load(range(4, 7), rank=1, ranks=2)) == samples_of(load(range(7), rank=1, ranks=2))[4:]


def test_a_run_that_goes_on_with_other_ranks_repeats_and_skips_nothing():
    before = [samples_of(load(range(4), rank, 2)) for rank in range(2)]
    after = [samples_of(load(range(4, 6), rank, 4)) for rank in range(4)]
    steps = [[*before[0][i], *before[1][i]] for i in range(4)]
    steps += [[sample for rank in range(4) for sample in after[rank][i]] for i in range(2)]
    assert steps == global_order(range(6))
    assert len({sample for step in steps[3:] for sample in step}) == 24  # the epoch that was interrupted


def test_an_epoch_leaves_out_only_its_remainder_and_another_one_every_time():
    plan = make_plan(30, 8)
    assert (plan.steps_per_epoch, plan.remainder) == (3, 6)
    left_out = []
    for epoch in range(4):
        seen = [sample for batch in samples_of(load(range(3 * epoch, 3 * epoch + 3))) for sample in batch]
        assert len(set(seen)) == len(seen) == 24
        left_out.append(frozenset(range(30)) - set(seen))
    assert len(set(left_out)) == 4


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_of_the_data_arrives_as_itself_without_a_traceback_in_its_message(workers):
    with pytest.raises(StaleCaptionError) as caught:
        load(range(3), workers=workers, data=Failing())
    assert str(caught.value) == "the caption of sample 5 is stale"


def test_samples_that_fill_no_batch_are_refused():
    with pytest.raises(ConfigError, match="7 samples fill no batch of 8; lower batch_size or add data"):
        make_plan(7, 8)
    assert make_plan(8, 8).steps_per_epoch == 1


@pytest.mark.parametrize(("batch_size", "ranks", "accumulation"), [(9, 2, 1), (8, 1, 3), (1, 2, 1), (12, 4, 2)])
def test_a_batch_that_does_not_divide_over_ranks_and_accumulation_is_refused(batch_size, ranks, accumulation):
    message = f"batch_size {batch_size} is no multiple of {ranks} ranks x {accumulation} accumulated micro-batches"
    with pytest.raises(ConfigError, match=message):
        make_plan(30, batch_size, ranks, accumulation)


def test_loader_processes_outlast_a_signal_that_asks_the_whole_job_to_stop():
    assert samples_of(load(range(3), workers=2, data=Terminated())) == global_order(range(3))


def test_loader_processes_end_when_the_training_process_asks_them_to():
    others = set(multiprocessing.active_children())
    loader = batches(Numbers(), make_plan(30, 8), range(3), workers=1, pin_memory=False, **ALONE)
    next(loader)
    (worker,) = set(multiprocessing.active_children()) - others
    worker.terminate()
    worker.join(30)
    assert worker.exitcode == 0
    loader.close()


def test_batches_arrive_where_the_folder_for_temporary_files_has_a_long_path(tmp_path):
    """Sockets with a path of 108 characters or more do not exist on Linux; a batch was never handed over."""
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    code = (
        "import torch\n"
        "from torch.utils.data import DataLoader\n"
        "from trainer.data.workers import starting_workers\n"
        "with starting_workers():\n"
        "    loader = iter(DataLoader(torch.arange(6.0), batch_size=2, num_workers=1))\n"
        "print(sum(batch.sum().item() for batch in loader))\n"
    )
    command, environment = [sys.executable, "-c", code], os.environ | {"TMPDIR": str(folder)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == "15.0\n"
