"""Many processes on one store: killed writers, and writers and readers side by side."""

import multiprocessing
import random
import time

import numpy as np
import pytest

import store
from tests.store.examples import make_block, make_spec
from tests.store.torture import torture

BACKENDS = ("lmdb", "zarr")


@pytest.mark.parametrize("backend", BACKENDS)
def test_killed_writers_lose_duplicate_and_tear_nothing(tmp_path, backend):
    report = torture(tmp_path / "some.store", backend, rounds=8, least_blocks=9)
    assert report.clean, report


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_two_hundred_killed_writers_lose_duplicate_and_tear_nothing(tmp_path, backend):
    report = torture(tmp_path / "some.store", backend, rounds=200, seed=1)
    assert report.clean, report


def write(path, writer, deadline, done):
    field = store.open(path, mode="a").writer("f", make_spec())
    number = 0
    while time.monotonic() < deadline:
        name = f"w{writer}-{number}"
        field.commit(name, *make_block(name, 1 + number % 200))
        number += 1
    done.put(number)


def read(path, seed, deadline, done):
    field = store.open(path).field("f")
    dice = random.Random(seed)
    seen = reads = 0
    while time.monotonic() < deadline:
        names = field.blocks()
        assert len(names) >= seen
        seen = len(names)
        if not names:
            continue
        chosen = dice.sample(names, min(5, len(names)))
        blocks = [make_block(name, 1 + int(name.split("-")[1]) % 200) for name in chosen]
        keys = [key for block in blocks for key in block[0]]
        order = dice.sample(range(len(keys)), len(keys))
        expected = np.concatenate([block[1] for block in blocks])[order]
        wanted = [keys[i] for i in order]
        np.testing.assert_array_equal(field.get(wanted), expected)
        vectors, found = field.get(["nobody", *wanted], missing="mask")
        assert found.tolist() == [False] + [True] * len(wanted)
        assert not vectors[0].any()
        reads += 1
    done.put(-reads)


def side_by_side(path, seconds):
    """Two writers and four readers; returns the number of blocks written and of reads."""
    context = multiprocessing.get_context("fork")
    done = context.Queue()
    deadline = time.monotonic() + seconds
    tasks = [(write, (path, i, deadline, done)) for i in range(2)] + [
        (read, (path, i, deadline, done)) for i in range(4)
    ]
    processes = [context.Process(target=target, args=arguments) for target, arguments in tasks]
    for process in processes:
        process.start()
    for process in processes:
        process.join(seconds + 60)
    assert [process.exitcode for process in processes] == [0] * 6
    counts = [done.get(timeout=10) for _ in processes]
    return sum(n for n in counts if n > 0), -sum(n for n in counts if n < 0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("seconds", [2, pytest.param(60, marks=pytest.mark.slow)])
def test_two_writers_and_four_readers_work_side_by_side(tmp_path, backend, seconds):
    path = tmp_path / "some.store"
    store.create(path, backend=backend).writer("f", make_spec())
    blocks, reads = side_by_side(path, seconds)
    assert reads > 0
    opened = store.open(path)
    assert len(opened.field("f").blocks()) == blocks > 0
    assert opened.verify() == []
