"""Rows laid aside on disk come back whole, in order, and leave nothing behind."""

import errno

import numpy as np
import pyarrow as pa
import pytest

import tools.preparing.spill
from store.errors import StoreFullError
from store.outputs import KEY_LIST, PARQUET, Outputs
from tests.tools.preparing.examples import contents
from tools.preparing.spill import Spill, working_folder


@pytest.mark.parametrize("buffered", [0, 200, 10**6])
def test_rows_of_a_partition_come_back_in_the_order_in_which_they_came(tmp_path, monkeypatch, buffered):
    monkeypatch.setattr(tools.preparing.spill, "_BUFFERED_BYTES", buffered)
    spill, rng = Spill(tmp_path / "s"), np.random.default_rng(0)
    expected = {}
    for start in range(0, 90, 9):
        numbers, partitions = np.arange(start, start + 9), rng.integers(0, 5, 9)
        spill.add(partitions, pa.table({"n": numbers, "text": [f"row {n}" for n in numbers]}))
        for number, partition in zip(numbers.tolist(), partitions.tolist(), strict=True):
            expected.setdefault(partition, []).append({"n": number, "text": f"row {number}"})
    assert {p: spill.read(p).to_pylist() for p in (3, 1)} == {p: expected[p] for p in (3, 1)}
    assert spill.read(3) is None
    assert [table.to_pylist() for table in spill] == [expected[p] for p in (0, 2, 4)]
    assert contents(tmp_path) == {}


def test_an_empty_spill_has_no_partitions(tmp_path):
    assert list(Spill(tmp_path / "s")) == []


def fail_after_writing(folder):
    with working_folder(folder / "new" / "out.txt") as working, Outputs(overwrite=True) as outputs:
        (working / "file").write_text("x")
        outputs.lines(outputs.claim(folder / "a", KEY_LIST)).write(["new"])
        outputs.lines(outputs.claim(folder / "b", KEY_LIST)).write(["new"])
        raise RuntimeError


def test_outputs_appear_together_or_not_at_all_and_the_working_folder_is_gone(tmp_path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(RuntimeError):
        fail_after_writing(tmp_path)
    assert contents(tmp_path) == {"a": b"old"}
    with Outputs(overwrite=True) as outputs:
        outputs.lines(outputs.claim(tmp_path / "a", KEY_LIST)).write(["new", "écrit"])
        outputs.lines(outputs.claim(tmp_path / "b", KEY_LIST)).write([])
    assert contents(tmp_path) == {"a": "new\nécrit\n".encode(), "b": b""}


def test_a_full_disk_is_one_sentence_and_leaves_what_was_there(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("old")

    def full(place):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("store.outputs.flush", full)
    with pytest.raises(StoreFullError, match=r"no space left for '.*/a'"), Outputs(overwrite=True) as outputs:
        outputs.lines(outputs.claim(tmp_path / "a", KEY_LIST)).write(["new"])
    assert contents(tmp_path) == {"a": b"old"}


def test_a_disk_that_is_full_when_a_table_is_closed_is_one_sentence_too(tmp_path, monkeypatch):
    class FullTable:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pyarrow.parquet.ParquetWriter", lambda *_, **__: FullTable())

    def write(error):
        with Outputs(overwrite=True) as outputs:
            outputs.table(outputs.claim(tmp_path / "t.parquet", PARQUET), pa.schema([]))
            if error:
                raise error

    with pytest.raises(StoreFullError, match="no space left for"):
        write(None)
    with pytest.raises(ValueError, match="what was wrong first"):
        write(ValueError("what was wrong first"))
