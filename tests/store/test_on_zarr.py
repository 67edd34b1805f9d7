"""The Zarr backend: the contract, and what only Zarr has."""

import multiprocessing
import resource
import shutil
import time

import numpy as np
import pytest
import zarr

import store
from store.common import errors
from store.zarr_backend import documents, upkeep
from store.zarr_backend.bucket import LocalBucket
from tests.store.contract.integrity import Integrity
from tests.store.contract.processes import Processes
from tests.store.contract.reading import Reading
from tests.store.contract.stores import StoresAndFields
from tests.store.contract.writing import Writing
from tests.store.examples import DIM, make_block, make_spec


class TestZarrContract(StoresAndFields, Reading, Writing, Processes, Integrity):
    backend = "zarr"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "some.store"


# --- the format is Zarr


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int8"])
def test_zarr_python_reads_what_was_written(path, dtype, monkeypatch):
    monkeypatch.setattr(documents, "CHUNK_BYTES", 100)
    written = store.create(path, backend="zarr")
    writer = written.writer("model/field", make_spec(dtype=dtype))
    for name in "ab":
        writer.commit(name, *make_block(name, 31))
    root = zarr.open_group(path, mode="r", zarr_format=3)
    assert root.attrs["keyclip"] == {"format": "keyclip-zarr", "version": 1}
    field = root["fields/model%2Ffield"]
    assert store.FieldSpec.from_dict(field.attrs["keyclip"]["spec"]) == make_spec(dtype=dtype)
    assert {name for name, _ in field["blocks"].groups()} == {"a", "b"}
    record = field["blocks/b"].attrs["keyclip"]
    data = field["data"][record["data"]]
    keys, _, hashes = make_block("b", 31)
    assert bytes(data["keys"][:]).decode().split("\0") == keys
    np.testing.assert_array_equal(data["caption_hashes"][:], hashes)
    raw = written.field("model/field").read_batch("b")
    np.testing.assert_array_equal(data["vectors"][:], raw.rows)
    assert data["vectors"].shape == (31, DIM)
    if dtype == "int8":
        np.testing.assert_array_equal(data["scales"][:], raw.scales)


def test_zarr_python_lists_only_groups_and_arrays_in_every_folder(path):
    """zarr-python warns of whatever is neither, and warnings fail these tests."""
    written = store.create(path, backend="zarr")
    written.writer("f", make_spec()).commit("a", *make_block("a", 3))
    written.writer("f", make_spec()).commit("none", [], np.zeros((0, DIM)), [])
    names = [name for name, _ in zarr.open_group(path, mode="r").members(max_depth=None)]
    assert {"fields", "fields/f", "fields/f/blocks", "fields/f/blocks/a", "fields/f/data"} <= set(names)
    assert sum(name.endswith("/vectors") for name in names) == 2


def test_chunks_are_filled_evenly():
    assert documents.rows_per_chunk(10_000, 8192) == 500  # 20 chunks of 500 instead of 19 of 512 and one of 272
    assert documents.rows_per_chunk(3, 8192) == 3
    assert documents.rows_per_chunk(513, 8192) == 257
    assert documents.rows_per_chunk(2, 10**8) == 1
    assert documents.rows_per_chunk(0, 8192) == 0


# --- writers without a lock


def commit_racing(path, monkeypatch, other):
    """Commit block x (keys of a) while ``other()`` happens just before its record is put in place."""
    writer = store.open(path, mode="a").writer("f", make_spec())
    write_new = LocalBucket.write_new

    def racing(self, key, data):
        monkeypatch.setattr(LocalBucket, "write_new", write_new)
        other()
        return write_new(self, key, data)

    monkeypatch.setattr(LocalBucket, "write_new", racing)
    return writer.commit("x", *make_block("a", 3))


def test_a_block_that_another_writer_commits_at_the_same_moment_is_written_once(path, monkeypatch):
    writer = store.create(path, backend="zarr").writer("f", make_spec())
    assert commit_racing(path, monkeypatch, lambda: writer.commit("x", *make_block("a", 3))) is False
    assert store.open(path).field("f").blocks() == ["x"]
    assert len(list((path / "fields/f/data").glob("*/vectors"))) == 1


def test_a_name_that_another_writer_takes_for_other_keys_at_the_same_moment_is_refused(path, monkeypatch):
    writer = store.create(path, backend="zarr").writer("f", make_spec())
    with pytest.raises(errors.BlockExistsError):
        commit_racing(path, monkeypatch, lambda: writer.commit("x", *make_block("b", 3)))
    assert store.open(path).field("f").keys() == make_block("b", 3)[0]


def test_a_key_that_another_writer_commits_at_the_same_moment_is_named_and_withdrawn(path, monkeypatch):
    writer = store.create(path, backend="zarr").writer("f", make_spec())
    keys, vectors, hashes = make_block("a", 2)
    with pytest.raises(errors.DuplicateKeyError, match=r"key 'a/0' \(and 1 more keys\) of block 'x' .* in block 'y'"):
        commit_racing(path, monkeypatch, lambda: writer.commit("y", keys, vectors, hashes))
    opened = store.open(path)
    assert opened.field("f").blocks() == ["y"]
    assert opened.verify() == []
    assert len(list((path / "fields/f/data").glob("*/vectors"))) == 1


def test_a_field_dropped_while_a_block_is_written_does_not_come_back(path, monkeypatch):
    written = store.create(path, backend="zarr")
    written.writer("f", make_spec())
    with pytest.raises(errors.FieldNotFoundError, match="was dropped"):
        commit_racing(path, monkeypatch, lambda: written.drop_field("f"))
    assert store.open(path).fields() == {}


def test_verify_names_a_key_that_is_in_two_blocks(path):
    """Only a writer that dies between commit and second look can leave this behind."""
    written = store.create(path, backend="zarr")
    written.writer("f", make_spec()).commit("a", *make_block("a", 3))
    elsewhere = store.create(path.with_name("other.store"), backend="zarr")
    elsewhere.writer("f", make_spec()).commit("b", *make_block("a", 2))
    shutil.copytree(path.with_name("other.store"), path, dirs_exist_ok=True)
    damages = store.open(path).verify()
    assert [(damage.block, damage.what) for damage in damages] == [("b", "its key 'a/0' is also in block 'a'")]
    assert len(store.open(path, mode="a").repair()) == 1
    assert store.open(path).field("f").keys() == make_block("a", 3)[0]


def test_what_a_dead_writer_left_is_unseen_and_repair_removes_it_after_a_day(path, monkeypatch):
    written = store.create(path, backend="zarr")
    writer = written.writer("f", make_spec())
    writer.commit("a", *make_block("a", 3))
    with monkeypatch.context() as patch:
        patch.setattr(LocalBucket, "write_new", die)
        with pytest.raises(KeyboardInterrupt):
            writer.commit("b", *make_block("b", 3))
    data = path / "fields/f/data"
    assert len(list(data.glob("*/vectors"))) == 2
    assert store.open(path).field("f").blocks() == ["a"]
    assert written.repair() == []
    assert len(list(data.glob("*/vectors"))) == 2
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + upkeep.ABANDONED_SECONDS + 10)
    assert written.repair() == []
    assert len(list(data.glob("*/vectors"))) == 1
    assert written.verify() == []


def die(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("victim", ["zarr.json", "data/*/vectors/zarr.json", "data/*/vectors/c/0/0", "data/*/keys/c/0"])
def test_a_lost_object_is_found(path, victim):
    written = store.create(path, backend="zarr")
    written.writer("f", make_spec()).commit("a", *make_block("a", 3))
    (file,) = (path / "fields/f").glob(victim if victim.startswith("data") else "blocks/a/zarr.json")
    if victim == "zarr.json":
        file.write_bytes(file.read_bytes().replace(b'"count": 3', b'"count": 4'))
    else:
        file.unlink()
    assert [damage.block for damage in written.verify()] == ["a"]
    assert len(written.repair()) == 1
    assert written.field("f").blocks() == []


def test_a_full_disk_is_a_clear_error_and_leaves_the_store_intact(path):
    written = store.create(path, backend="zarr")
    writer = written.writer("f", make_spec())
    writer.commit("a", *make_block("a", 3))
    message = run_in_child(commit_too_much, str(path))
    assert "no space left" in message
    assert written.verify() == []
    assert written.field("f").blocks() == ["a"]
    assert len(list((path / "fields/f/data").glob("*/vectors"))) == 1


def commit_too_much(path, queue):
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
    try:
        store.open(path, mode="a").writer("f", make_spec()).commit("b", *make_block("b", 5000))
    except errors.StoreFullError as error:
        queue.put(str(error))


def run_in_child(function, *arguments):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=function, args=(*arguments, queue))
    process.start()
    result = queue.get(timeout=60)
    process.join(60)
    return result
