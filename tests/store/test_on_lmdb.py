"""The LMDB backend: the contract, and what only LMDB has."""

import multiprocessing
import shutil
import threading

import lmdb
import numpy as np
import pytest

import store
from store.common import errors
from store.lmdb_backend import layout
from store.lmdb_backend.catalog import read_blocks, read_record
from store.lmdb_backend.environment import Environment
from store.lmdb_backend.registry import environment
from tests.store.contract.integrity import Integrity
from tests.store.contract.processes import Processes
from tests.store.contract.reading import Reading
from tests.store.contract.stores import StoresAndFields
from tests.store.contract.writing import Writing
from tests.store.examples import DIM, fill, make_block, make_spec


class TestLmdbContract(StoresAndFields, Reading, Writing, Processes, Integrity):
    backend = "lmdb"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "some.store"


# --- values in the memory map


def test_rows_begin_on_page_boundaries(path):
    fill(path, dim=2048, count=3)
    env = environment(path / "fields" / "f")
    with env.read() as transaction:
        records = read_blocks(transaction, env, read_record(transaction, env))
    stored = np.fromfile(path / "fields" / "f" / "data.mdb", np.float16).reshape(-1, env.page_bytes // 2)
    for i, record in records.items():
        np.testing.assert_array_equal(stored[record.pages[1] + 1], make_block(f"b{i}", 1, dim=2048)[1][0])


def test_a_compacting_copy_by_lmdb_itself_stays_readable(path, tmp_path):
    """Compaction moves values, so the page numbers in the records lead elsewhere."""
    written = fill(path, blocks=9, count=400, dim=64)
    written.drop_blocks("f", ["b0", "b1", "b2"])
    copy = tmp_path / "copy.store"
    (copy / "fields" / "f").mkdir(parents=True)
    shutil.copy(path / "store.json", copy)
    env = environment(path / "fields" / "f")
    env.handle.copy(str(copy / "fields" / "f"), compact=True)
    field = store.open(copy).field("f")
    for i in range(3, 9):
        keys, vectors, _ = make_block(f"b{i}", 400, dim=64)
        np.testing.assert_array_equal(field.get(keys), vectors)
    assert store.open(copy).verify() == []
    writer = store.open(copy, mode="a").writer("f", make_spec(dim=64))
    writer.commit("b9", *make_block("b9", 400, dim=64))
    np.testing.assert_array_equal(field.get(make_block("b9", 400)[0]), make_block("b9", 400, dim=64)[1])


def test_chunks_hold_four_megabytes_at_most():
    assert layout.rows_per_chunk(make_spec(dim=4096, dtype="float16")) == 512
    assert layout.rows_per_chunk(make_spec(dim=4095, dtype="float32")) == 256
    assert layout.rows_per_chunk(make_spec(dim=2**23, dtype="float32")) == 1
    assert layout.rows_per_chunk(make_spec(dim=1, dtype="int8")) == 65536


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_blocks_of_many_chunks_are_read_across_their_borders(path, monkeypatch, dtype):
    monkeypatch.setattr(layout, "CHUNK_BYTES", 64)
    written = fill(path, blocks=3, count=101, dtype=dtype, dim=5)
    assert layout.rows_per_chunk(make_spec(dtype=dtype, dim=5)) in (4, 8)
    field = written.field("f")
    for i in range(3):
        keys, vectors, _ = make_block(f"b{i}", 101, dim=5)
        order = np.random.default_rng(i).permutation(101)
        got = field.get([keys[j] for j in order])
        np.testing.assert_allclose(got, vectors[order].astype(np.float32), atol=4 if dtype == "int8" else 0)
        np.testing.assert_array_equal(field.read_block(f"b{i}")[1], field.get(keys))
    assert written.verify() == []


def test_the_index_stays_in_few_segments(path):
    writer = store.create(path).writer("f", make_spec(dim=1))
    for i in range(100):
        writer.commit(f"b{i}", *make_block(f"b{i}", 3, dim=1))
    env = environment(path / "fields" / "f")
    with env.read() as transaction:
        record = layout.FieldRecord.unpack(bytes(transaction.get(layout.FIELD, db=env.database(layout.META))))
    assert sum(segment.count for segment in record.segments) == 300
    assert len(record.segments) <= 4


def test_a_transaction_that_outlives_its_field_does_not_keep_the_file_from_being_opened_again(path):
    """The traceback of an exception that a caller keeps holds the transaction that was under way."""
    fill(path)
    with environment(path / "fields" / "f").read() as transaction:
        kept = transaction
    assert len(store.open(path).field("f")) > 0
    del kept


# --- processes


def test_a_fork_while_another_thread_commits_leaves_both_processes_working(path):
    opened = fill(path, blocks=1)
    field, writer = opened.field("f"), opened.writer("f", make_spec())
    stop = threading.Event()

    def commit():
        number = 1
        while not stop.is_set():
            writer.commit(f"b{number}", *make_block(f"b{number}", 40))
            number += 1

    thread = threading.Thread(target=commit)
    thread.start()
    context = multiprocessing.get_context("fork")
    try:
        for _ in range(10):
            process = context.Process(target=_use, args=(field, writer))
            process.start()
            process.join(60)
            assert process.exitcode == 0
    finally:
        stop.set()
        thread.join()
    assert {block for block in field.blocks() if block.startswith("child")} == {"child"}
    assert opened.verify() == []


def _use(field, writer):
    writer.commit("child", *make_block("child", 5))
    np.testing.assert_array_equal(field.get(make_block("b0", 40)[0]), make_block("b0", 40)[1])


def test_an_environment_is_closed_when_nobody_uses_it(path):
    opened = fill(path)
    field = opened.field("f")
    field.get(["b0/0"])
    with pytest.raises(lmdb.Error, match="already open"):
        Environment(path / "fields" / "f")
    del field, opened
    Environment(path / "fields" / "f").close()


# --- dropping


def test_a_dropped_field_gives_its_space_back_and_its_users_are_told(path):
    opened = fill(path, blocks=2, count=1000, dim=256)
    opened.writer("g", make_spec()).commit("b0", *make_block("b0", 2))
    field, writer = opened.field("f"), opened.writer("f", make_spec(dim=256))
    opened.drop_field("f")
    assert list(opened.fields()) == ["g"]
    assert sum(file.stat().st_size for file in path.rglob("data.mdb")) < 100_000
    with pytest.raises(errors.FieldNotFoundError, match="was dropped"):
        field.get(["b0/0"])
    with pytest.raises(errors.FieldNotFoundError, match="was dropped"):
        writer.commit("b9", *make_block("b9", 2, dim=256))
    opened.writer("f", make_spec(dim=2)).commit("b0", *make_block("b0", 2, dim=2))
    assert opened.field("f").get(["b0/1"]).shape == (1, 2)


def test_readers_follow_when_blocks_are_dropped_and_written_again(path):
    opened = fill(path)
    field = opened.field("f")
    assert field.contains(["b1/0", "b2/0"]).all()
    opened.drop_blocks("f", ["b1"])
    assert field.contains(["b0/0", "b1/0", "b2/0"]).tolist() == [True, False, True]
    assert field.blocks() == ["b0", "b2"]
    keys, _, hashes = make_block("b1", 40)
    opened.writer("f", make_spec()).commit("b1", keys, np.ones((40, DIM)), hashes)
    assert field.get(["b1/3"]).tolist() == [[1] * DIM]
    assert field.blocks() == ["b0", "b2", "b1"]
    with pytest.raises(errors.BlockNotFoundError, match="no block 'nope'"):
        opened.drop_blocks("f", ["b0", "nope"])
    assert "b0/0" in field
