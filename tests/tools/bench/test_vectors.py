"""The benchmark sends the same vectors through every format. Times are not asserted."""

import json

import pytest

from tools.__main__ import main

FLAGS = ["bench", "vectors", "--num-vectors", "30", "--dim", "8", "--repeats", "1"]


@pytest.mark.filterwarnings("default")
def test_every_format_is_measured_and_nothing_is_left(tmp_path, capsys):
    assert main([*FLAGS, "--folder", str(tmp_path), "--json", "True"]) == 0
    results = json.loads(capsys.readouterr().out)
    names = [result["format"] for result in results]
    assert names[:5] == ["sidecar", "merged", "dpt", "clip-retrieval", "parquet"]
    assert all(result["num_bytes"] > 30 * 8 * 4 for result in results)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("default")
def test_the_table_is_readable(capsys):
    assert main(FLAGS) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "30 vectors of 8 float32, median of 1; copy = 1.00"
    assert lines[3].split()[0] == "sidecar"
