"""An index says where in a shard each sample stands, and notices every shard that is not whole."""

import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from store.common.errors import ConfigError, DamagedShardError
from tests.trainer.examples import sample_members, write_shard, write_tar
from trainer.data.shard_index import index_shard


def members_of(shard, rows) -> list[bytes]:
    with Path(shard).open("rb") as file:
        return [os.pread(file.fileno(), size, offset) for offset, size in rows.tolist()]


def test_the_indexed_bytes_are_those_that_tarfile_reads(tmp_path):
    shard = write_shard(tmp_path / "a.tar", ["c", "a", "b"])
    index = index_shard(shard, tmp_path / "cache")
    with tarfile.open(shard) as tar:
        images = [tar.extractfile(f"{key}.jpg").read() for key in "cab"]
        jsons = [tar.extractfile(f"{key}.json").read() for key in "cab"]
    assert index.keys.tolist() == [b"c", b"a", b"b"]  # the shard's own order, not sorted
    assert members_of(shard, index.image) == images
    assert members_of(shard, index.json) == jsons
    assert index.shards.tolist() == [[3, 0]]


def test_samples_without_an_image_are_counted_and_those_without_json_marked(tmp_path):
    members = [("a.json", b"{}"), ("b.JPG", b"image"), ("c.txt", b"text"), ("d.png", b"other"), ("d.json", b"{1}")]
    index = index_shard(write_tar(tmp_path / "a.tar", members), tmp_path / "cache")
    assert index.keys.tolist() == [b"b", b"d"]
    assert index.shards.tolist() == [[2, 2]]
    assert index.json[0].tolist() == [0, 0]
    assert index.json[1, 1] == 3


def test_members_that_belong_to_no_sample_are_passed_over(tmp_path):
    members = [("readme", b"?"), ("._a.jpg", b"?"), ("./a.jpg", b"one"), ("sub/a.jpg", b"two"), ("sub/.hidden", b"?")]
    index = index_shard(write_tar(tmp_path / "a.tar", members), tmp_path / "cache")
    assert index.keys.tolist() == [b"a", b"sub/a"]


def test_long_member_names_and_other_scripts_are_kept(tmp_path):
    keys = ["x" * 150, "снимок", "写真/" + "y" * 120]
    index = index_shard(write_shard(tmp_path / "a.tar", keys), tmp_path / "cache")
    assert [key.decode() for key in index.keys] == keys


def test_a_shard_without_samples_has_an_empty_index(tmp_path):
    index = index_shard(write_tar(tmp_path / "a.tar", []), tmp_path / "cache")
    assert (len(index.keys), index.image.shape, index.json.shape) == (0, (0, 2), (0, 2))


def test_a_shard_cut_at_any_place_is_refused(tmp_path):
    whole = write_tar(tmp_path / "whole.tar", [("a.jpg", b"1" * 700), ("a.json", b"{}"), ("b.jpg", b"2" * 100)])
    content = Path(whole).read_bytes()
    end = 6 * 512 + 512  # a: header and 2 blocks, json: header and block, b: header and block, then the end mark
    assert content[end : end + 512] == bytes(512)
    cut = tmp_path / "cut.tar"
    for length in [0, 1, 511, 512, 600, 1212, 1300, 1535, 1536, 1600, 2048, 2560, 3000, 3072, 3171, 3300, end]:
        cut.write_bytes(content[:length])
        with pytest.raises(DamagedShardError, match="download it again"):
            index_shard(str(cut), tmp_path / "cache")


@pytest.mark.parametrize("place", [0, 1536])
def test_a_damaged_header_is_refused_and_not_taken_for_the_end(tmp_path, place):
    shard = write_tar(tmp_path / "a.tar", [("a.jpg", b"1" * 700), ("b.jpg", b"2"), ("c.jpg", b"3")])
    with Path(shard).open("r+b") as file:
        file.seek(place + 100)
        file.write(b"\xff" * 60)
    with pytest.raises(DamagedShardError, match=r"a\.tar"):
        index_shard(shard, tmp_path / "cache")


def test_a_file_that_is_no_tar_is_refused(tmp_path):
    file = tmp_path / "a.tar"
    file.write_bytes(b"<html>not found</html>" * 100)
    with pytest.raises(DamagedShardError, match=r"a\.tar.*cannot be read as a tar"):
        index_shard(str(file), tmp_path / "cache")


@pytest.mark.parametrize("names", [["a.jpg", "b.jpg", "a.json"], ["a.jpg", "b.jpg", "a.jpg"]])
def test_a_key_that_comes_twice_in_a_shard_is_refused(tmp_path, names):
    shard = write_tar(tmp_path / "a.tar", [(name, b"x") for name in names])
    with pytest.raises(DamagedShardError, match="sample key 'a' comes twice in shard"):
        index_shard(shard, tmp_path / "cache")


@pytest.mark.parametrize("shard", ["pipe:cat a.tar", "https://example.org/a.tar"])
def test_a_shard_that_cannot_be_addressed_is_refused(tmp_path, shard):
    with pytest.raises(ConfigError, match="cannot be addressed by sample"):
        index_shard(shard, tmp_path / "cache")


def test_an_index_is_read_from_the_cache_as_long_as_the_shard_is_the_same(tmp_path):
    shard = write_shard(tmp_path / "a.tar", ["a", "b"])
    made = index_shard(shard, tmp_path / "cache")
    (cached,) = (tmp_path / "cache").iterdir()
    np.save(cached / "keys.npy", np.array([b"x", b"y"]))
    again = index_shard(shard, tmp_path / "cache")
    assert again.keys.tolist() == [b"x", b"y"]  # so it came from the cache
    assert np.array_equal(again.image, made.image)
    assert np.array_equal(again.json, made.json)


def test_an_index_is_made_again_when_the_shard_changes(tmp_path):
    shard = write_shard(tmp_path / "a.tar", ["a", "b"])
    index_shard(shard, tmp_path / "cache")
    before = Path(shard).stat()
    write_shard(tmp_path / "a.tar", ["a", "c"])  # of the same size
    os.utime(shard, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000))
    assert Path(shard).stat().st_size == before.st_size
    assert index_shard(shard, tmp_path / "cache").keys.tolist() == [b"a", b"c"]
    write_shard(tmp_path / "a.tar", ["a", "c", "d"])  # of the same time
    os.utime(shard, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000))
    assert index_shard(shard, tmp_path / "cache").keys.tolist() == [b"a", b"c", b"d"]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"text"])
def test_a_damaged_cache_is_made_again(tmp_path, content):
    shard = write_shard(tmp_path / "a.tar", ["a", "b"])
    index_shard(shard, tmp_path / "cache")
    (cached,) = (tmp_path / "cache").iterdir()
    (cached / "keys.npy").write_bytes(content)
    assert index_shard(shard, tmp_path / "cache").keys.tolist() == [b"a", b"b"]
    assert np.load(cached / "keys.npy").tolist() == [b"a", b"b"]


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    shard = write_shard(tmp_path / "a.tar", ["a"])
    assert index_shard(shard, tmp_path / "cache").keys.tolist() == [b"a"]


def test_the_tests_shards_look_like_img2datasets():
    names = [name for name, _ in sample_members("000000003")]
    assert names == ["000000003.jpg", "000000003.json", "000000003.txt"]
    assert set(json.loads(sample_members("000000003")[1][1])) == {"short", "long"}
