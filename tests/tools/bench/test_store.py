"""``keyclip bench store``: every contender returns the right vectors, and the bars are judged rightly."""

import copy
import json

import numpy as np
import pytest

from store.common.errors import ConfigError
from tools.__main__ import main
from tools.bench.gather_figures import bars, report
from tools.bench.store import Blocks, Config, rows_of
from tools.bench.vector_layouts import CONTENDERS, key_of


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("kind", CONTENDERS, ids=lambda kind: kind.name)
def test_every_contender_reads_the_rows_that_were_written(tmp_path, kind):
    if not kind.is_installed():
        pytest.skip(f"{kind.needs} is not installed")
    contender = kind(tmp_path, 32)
    contender.write(iter(Blocks(700, 32)))
    contender.open()
    rows = np.arange(300) if contender.by_position else np.random.default_rng(0).integers(700, size=300)
    out = np.zeros((300, 32), np.float16)
    contender.read(rows, [key_of(row) for row in rows.tolist()], out)
    expected = np.concatenate(list(Blocks(700, 32)))
    np.testing.assert_array_equal(out, expected[rows])
    assert contender.num_bytes() >= 700 * 64


def test_patterns_stay_within_the_vectors():
    dice = np.random.default_rng(0)
    assert np.diff(rows_of("ordered", 5000, dice)).tolist() == [1] * 1023
    window = rows_of("window", 10**6, dice)
    assert window.max() - window.min() < 10_000
    for pattern in ("random", "ordered", "window"):
        for _ in range(50):
            rows = rows_of(pattern, 1024, dice)
            assert rows.min() >= 0
            assert rows.max() < 1024


def test_the_command_measures_everything(tmp_path, capsys):
    flags = ["--num-vectors", "2048", "--dim", "64", "--rounds", "2", "--sizes", "1024", "2048", "--size-dim", "32"]
    assert main(["bench", "store", *flags, "--folder", str(tmp_path), "--json", "True"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert {each["name"] for each in result["contenders"]} >= {"np.memmap take", "keyclip lmdb", "keyclip zarr"}
    assert [each["name"] for each in result["cold"]][1:3] == ["keyclip lmdb", "keyclip lmdb, unchecked"]
    assert [each["num_keys"] for each in result["sizes"]] == [1024, 2048]
    assert all(bar.measured > 0 for bar in bars(result))
    assert "window 10k" in report(result)
    assert list(tmp_path.iterdir()) == []


FIGURES = {
    "num_vectors": 20_000,
    "dim": 10,
    "skipped": ["hdf5 (no package h5py)"],
    "contenders": [
        {
            "name": "np.memmap take",
            "vectors_per_second": {"random": 1000.0, "ordered": 2000.0, "window": 1500.0},
            "bytes_per_vector": 20.0,
        },
        {
            "name": "keyclip lmdb",
            "vectors_per_second": {"random": 850.0, "ordered": 1600.0, "window": 1200.0},
            "bytes_per_vector": 20.4,
        },
        {
            "name": "keyclip zarr",
            "vectors_per_second": {"random": 50.0, "ordered": 600.0, "window": 450.0},
            "bytes_per_vector": 20.2,
        },
        {"name": "tar sidecar", "vectors_per_second": {"ordered": 25.0}, "bytes_per_vector": 42.0},
    ],
    "cold": [{"name": "x", "first_batch_seconds": 1.0, "vectors_per_second": 2.0, "bytes_read": 3e6}],
    "size_dim": 10,
    "size_dtype": "float16",
    "sizes": [
        {
            "num_keys": num_keys,
            "vectors_per_second": rate,
            "vectors_per_second_places_known": 2 * rate,
            "bytes_per_vector": 20.4,
            "payload_bytes_per_vector": 20,
            "open_seconds": 0.001,
            "first_get_seconds": 0.01,
            "resident_bytes_beyond_page_cache": 3.5e8,
        }
        for num_keys, rate in ((1000, 100.0), (5000, 90.0))
    ],
}


def test_bars_compare_the_same_pattern_and_skip_what_was_not_measured():
    judged = {bar.what: (round(bar.measured, 3), bar.met) for bar in bars(FIGURES)}
    assert judged == {
        "lmdb, random keys / memmap take": (0.85, True),
        "lmdb, random keys / tar sidecar": (34.0, True),
        "zarr, ordered keys / memmap take": (0.3, False),
        "zarr, window keys / memmap take": (0.3, True),
        "keyclip lmdb, bytes on disk / payload": (1.02, True),
        "keyclip zarr, bytes on disk / payload": (1.01, True),
        "gather, 5,000 keys / 1,000 keys": (0.9, True),
        "open at 5,000 keys": (0.001, True),
        "memory of a reader at 5,000 keys": (350.0, False),
    }
    text = report(FIGURES)
    assert "skipped: hdf5 (no package h5py)" in text
    assert text.count("MISSED") == 2
    small = copy.deepcopy(FIGURES)
    small["sizes"] = []
    assert "by size" not in report(small)


@pytest.mark.parametrize("settings", [{"num_vectors": 1000}, {"sizes": (100, 5000)}])
def test_too_few_vectors_are_refused(settings):
    with pytest.raises(ConfigError, match="at least 1024, one batch"):
        Config(**settings)
