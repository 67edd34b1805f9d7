"""The index of all shards: made once on a machine, shared by its processes."""

import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest

from store.common.errors import ConfigError, DamagedShardError
from tests.trainer.examples import write_shard, write_tar
from trainer.data import shard_index
from trainer.data.shard_index import index_samples, index_shard


@pytest.fixture
def shards(tmp_path) -> list[str]:
    """Keys of different lengths, a sample without image, a shard without samples."""
    return [
        write_shard(tmp_path / "a.tar", ["b", "a"]),
        write_tar(tmp_path / "none.tar", []),
        write_tar(tmp_path / "b.tar", [("long-key.jpg", b"image"), ("other.json", b"{}")]),
    ]


@pytest.fixture
def cache(tmp_path) -> Path:
    return tmp_path / "cache"


def folder_of(cache: Path) -> Path:
    (lock,) = cache.glob("*.lock")
    return lock.with_suffix("")


def test_it_holds_the_shards_indexes_one_after_the_other(shards, cache):
    index = index_samples(shards, cache)
    alone = [index_shard(shard, cache) for shard in shards]
    assert index.keys.tolist() == [b"b", b"a", b"long-key"]
    assert index.image.tolist() == [*alone[0].image.tolist(), *alone[2].image.tolist()]
    assert index.json.tolist() == [*alone[0].json.tolist(), [0, 0]]
    assert index.shards.tolist() == [[2, 0], [2, 0], [3, 1]]


def test_it_is_mapped_into_memory(shards, cache):
    index = index_samples(shards, cache)
    for array in (index.keys, index.image, index.json, index.shards):
        assert isinstance(array.base, np.memmap)
        assert not array.flags.writeable


def test_shards_without_samples_have_an_empty_index(tmp_path, cache):
    index = index_samples([write_tar(tmp_path / "a.tar", [])], cache)
    assert (len(index.keys), index.shards.tolist()) == (0, [[0, 0]])


def test_it_is_made_once_and_again_when_a_shard_changes(shards, cache, tmp_path, monkeypatch):
    index_samples(shards, cache)
    made: list[str] = []
    monkeypatch.setattr(shard_index, "index_shard", lambda shard, _: (made.append(shard), index_shard(shard, _))[1])
    index_samples(shards, cache)
    assert made == []
    assert index_samples(shards[::-1], cache).keys.tolist() == [b"long-key", b"b", b"a"]
    write_shard(tmp_path / "a.tar", ["c", "d", "e"])
    assert index_samples(shards, cache).keys.tolist() == [b"c", b"d", b"e", b"long-key"]
    assert len(made) == 6


@pytest.mark.parametrize("damage", ["shorter", "empty", "text", "absent", "other"])
def test_a_damaged_cache_is_made_again(shards, cache, damage):
    index_samples(shards, cache)
    file = folder_of(cache) / "keys.npy"
    if damage == "absent":
        file.unlink()
    elif damage == "other":
        np.save(file, np.array([b"x"]))
    else:
        file.write_bytes({"shorter": file.read_bytes()[:-4], "empty": b"", "text": b"text"}[damage])
    assert index_samples(shards, cache).keys.tolist() == [b"b", b"a", b"long-key"]
    assert np.load(file).tolist() == [b"b", b"a", b"long-key"]


def test_a_cache_that_cannot_be_written_is_done_without(shards, tmp_path):
    (tmp_path / "file").write_text("a file where the folder should be")
    assert index_samples(shards, tmp_path / "file").keys.tolist() == [b"b", b"a", b"long-key"]


def test_the_cache_holds_no_leftovers(shards, cache):
    index_samples(shards, cache)
    assert sorted(entry.suffix for entry in cache.iterdir()) == ["", "", "", "", ".lock"]


def test_the_default_cache_is_the_users(shards, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "mine"))
    index_samples(shards)
    assert folder_of(tmp_path / "mine/keyclip/shard-index")


def test_a_key_in_two_shards_is_refused_naming_both(tmp_path, cache):
    one, two = write_shard(tmp_path / "one.tar", ["a", "b"]), write_shard(tmp_path / "two.tar", ["c", "b"])
    for _ in range(2):  # nothing of it is kept
        with pytest.raises(ConfigError, match=r"sample key 'b' is in several shards \(.*one\.tar, .*two\.tar\)"):
            index_samples([one, two], cache)


def test_a_damaged_shard_is_refused(tmp_path, cache):
    (tmp_path / "a.tar").write_bytes(b"text" * 300)
    with pytest.raises(DamagedShardError, match=r"a\.tar"):
        index_samples([str(tmp_path / "a.tar")], cache)


def make_index(shards: list[str], cache: Path, ready, made) -> None:
    counted = index_shard

    def counting(shard: str, folder: Path):
        made.put((os.getpid(), shard))
        return counted(shard, folder)

    shard_index.index_shard = counting
    ready.wait()
    assert index_samples(shards, cache).keys.tolist() == [b"b", b"a", b"long-key"]


def test_of_many_processes_that_start_together_one_makes_it(shards, cache):
    context = multiprocessing.get_context("fork")
    ready, made = context.Barrier(4), context.Queue()
    processes = [context.Process(target=make_index, args=(shards, cache, ready, made)) for _ in range(4)]
    for process in processes:
        process.start()
    who = [made.get(timeout=60) for _ in shards]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert made.empty()
    assert len({pid for pid, _ in who}) == 1
    assert [shard for _, shard in who] == shards
