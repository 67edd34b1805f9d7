"""kill -9 at random moments, then the same command again: every key once, every vector as without interruption."""

import os
import random
import time
from pathlib import Path

import numpy as np
import pytest

import store
from store.common.errors import KeyclipError
from tests.embedder.small_models import MINILM
from tests.processes import Process, run
from tools.__main__ import main


def command(path: Path, shard: str, clip_folder: Path) -> list[str]:
    arguments = ["--shards", shard, "--caption-fields", "caption", "--model", str(clip_folder), "--store", str(path)]
    arguments += ["--block-size", "50", "--batch-tokens", "64", "--device", "cpu", "--progress", "False"]
    return ["-m", "tools", "embed", *arguments]


def num_committed(path: Path) -> int:
    try:
        return len(store.open(str(path)).field("tiny-clip/caption"))
    except KeyclipError:  # no store, or no field in it, so far
        return 0


def kill_after_progress(arguments: list[str], path: Path, seed: int) -> bool:
    """Start the command and kill it at a random moment after its first commit; whether it was still running."""
    before = num_committed(path)
    process = Process(arguments)
    while process.poll() is None and num_committed(path) == before:
        time.sleep(0.01)
    time.sleep(random.Random(seed).uniform(0, 0.05))
    process.kill()
    return process.wait() != 0


@pytest.fixture
def captions():
    return {f"{i:06d}": {"caption": f"picture {i} " + "of a red cube " * (i % 7)} for i in range(2400)}


def test_a_killed_run_is_finished_by_the_same_command(tmp_path, clip_folder, make_shard, captions):
    shard = make_shard("00000", captions)
    path = tmp_path / "killed.store"
    arguments = command(path, shard, clip_folder)
    assert kill_after_progress(arguments, path, seed=0), "the run ended before it was killed"
    assert 0 < num_committed(path) < len(captions)
    finished = run(arguments)
    assert finished.returncode == 0, finished.stderr

    whole = tmp_path / "whole.store"
    assert main(command(whole, shard, clip_folder)[2:]) == 0
    field = store.open(str(path)).field("tiny-clip/caption")
    assert sorted(field.keys()) == list(captions)
    expected = store.open(str(whole)).field("tiny-clip/caption").get(list(captions)).astype(np.float32)
    np.testing.assert_allclose(field.get(list(captions)).astype(np.float32), expected, rtol=2e-3, atol=2e-3)


def test_a_wrong_input_is_one_sentence_and_status_1(tmp_path, clip_folder, make_shard, capsys):
    shard = make_shard("00000", {"k0": {"caption": "a dog"}})
    arguments = command(tmp_path / "s.store", shard, clip_folder)
    arguments[arguments.index("caption")] = "shortSV_captions"
    assert main(arguments[2:]) == 1
    error = capsys.readouterr().err
    assert error.startswith("keyclip: error: sample 'k0' of")
    assert error.count("\n") == 1


def random_kills(arguments, path, field_names, total, kills):
    """Kill the command at ``kills`` moments spread at random over its whole work; returns how often it was killed."""
    rng = random.Random(0)
    killed = 0
    for share in sorted(rng.uniform(0.02, 0.98) for _ in range(kills)):
        process = Process(arguments)
        while process.poll() is None and count(path, field_names) < share * total:
            time.sleep(0.05)
        time.sleep(rng.uniform(0, 2))
        process.kill()
        killed += process.wait() != 0
    return killed


def count(path, field_names):
    try:
        opened = store.open(str(path))
        return sum(len(opened.field(name)) for name in field_names)
    except KeyclipError:
        return 0


@pytest.mark.slow
@pytest.mark.skipif("KEYCLIP_TEST_SHARDS" not in os.environ, reason="needs shards: set KEYCLIP_TEST_SHARDS")
def test_ten_kills_over_real_shards_end_with_the_vectors_of_an_uninterrupted_run(tmp_path):
    """KEYCLIP_TEST_SHARDS names webdataset shards, KEYCLIP_TEST_FIELDS (default captions.0) their caption fields."""
    shards = os.environ["KEYCLIP_TEST_SHARDS"].split()
    fields = os.environ.get("KEYCLIP_TEST_FIELDS", "captions.0").split()
    names = [f"minilm/{field}" for field in fields]

    def arguments(path):
        flags = ["--shards", *shards, "--caption-fields", *fields, "--model", str(MINILM), "--store", str(path)]
        return ["-m", "tools", "embed", *flags, "--field-prefix", "minilm", "--progress", "False"]

    whole, broken = tmp_path / "whole.store", tmp_path / "broken.store"
    assert run(arguments(whole), timeout=3600).returncode == 0
    total = count(whole, names)
    killed = random_kills(arguments(broken), broken, names, total, kills=10)
    assert killed == 10
    finished = run(arguments(broken), timeout=3600)
    assert finished.returncode == 0
    for name in names:
        expected, found = (store.open(str(path)).field(name) for path in (whole, broken))
        keys = expected.keys()
        assert len(found) == len(keys)
        assert sorted(found.keys()) == sorted(keys)
        np.testing.assert_array_equal(found.caption_hashes(keys), expected.caption_hashes(keys))
        a, b = expected.get(keys, dtype=np.float32), found.get(keys, dtype=np.float32)
        assert np.abs(a - b).max() < 1e-3
        equal = (a == b).all(axis=1).mean()
        print(f"{name}: {len(keys)} keys, {equal:.4f} of the vectors equal to the bit")  # noqa: T201
    print(f"{total} captions, killed {killed} times; the last run:\n{finished.stdout}")  # noqa: T201
