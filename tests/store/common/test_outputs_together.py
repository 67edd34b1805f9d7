"""Outputs of a command appear together or not at all."""

import errno

import pyarrow as pa
import pytest

from store.common.errors import StoreFullError
from store.common.outputs import KEY_LIST, PARQUET, Outputs
from tests.tools.prepare.examples import contents


def fail_after_writing(folder):
    with Outputs(overwrite=True) as outputs:
        outputs.lines(outputs.claim(folder / "a", KEY_LIST)).write(["new"])
        outputs.lines(outputs.claim(folder / "b", KEY_LIST)).write(["new"])
        raise RuntimeError


def test_outputs_appear_together_or_not_at_all(tmp_path):
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

    monkeypatch.setattr("store.common.outputs.flush", full)
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
