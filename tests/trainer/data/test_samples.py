"""Samples of several shards, addressed by one position."""

import gc
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from store.common.errors import ConfigError, DamagedShardError, ShardNotFoundError
from store.sources.keylist import read_key_list
from tests.trainer.examples import captions_of, sample_members, write_shard, write_tar
from trainer.data import samples as module
from trainer.data.samples import ShardSamples

KEYS = ["b", "a", "d", "c", "f"]


@pytest.fixture
def two_shards(tmp_path) -> list[str]:
    return [write_shard(tmp_path / "one.tar", KEYS[:2]), write_shard(tmp_path / "two.tar", KEYS[2:])]


def keys_of(samples: ShardSamples) -> list[str]:
    return [samples.key(i) for i in range(len(samples))]


def test_samples_are_numbered_shard_by_shard(two_shards):
    samples = ShardSamples(two_shards)
    assert keys_of(samples) == KEYS
    assert samples.shard_sizes == [2, 3]
    assert samples.counts == {"without image": 0}


def test_images_and_captions_are_those_of_the_key(two_shards):
    samples = ShardSamples(two_shards)
    for i, key in enumerate(KEYS):
        members = dict(sample_members(key))
        assert samples.image(i) == members[f"{key}.jpg"]
        assert samples.json(i) == captions_of(key)
        assert samples.caption(i, "long") == captions_of(key)["long"]


def test_a_key_list_keeps_its_samples_in_the_shards_order(two_shards, tmp_path):
    file = tmp_path / "keys.txt"
    file.write_text("f\na\n\nf\nb\n")
    samples = ShardSamples(two_shards, file)
    assert keys_of(samples) == ["b", "a", "f"]
    assert samples.shard_sizes == [2, 1]
    assert samples.counts == {"without image": 0, "not in the key list": 2}
    assert samples.image(2) == dict(sample_members("f"))["f.jpg"]


def test_a_shard_of_which_nothing_is_kept_counts_as_empty(two_shards, tmp_path):
    file = tmp_path / "keys.txt"
    file.write_text("c\n")
    samples = ShardSamples(two_shards, file)
    assert samples.shard_sizes == [0, 1]
    assert samples.where(0) == f"sample 'c' of shard {two_shards[1]!r}"


def test_a_key_list_may_hold_spaces_and_windows_line_ends(tmp_path):
    file = tmp_path / "keys.txt"
    file.write_bytes("my photo 1\r\n  фото\n\nmy photo 1".encode())
    assert [key.decode() for key in read_key_list(file)] == ["my photo 1", "фото"]


def test_a_key_list_with_keys_of_other_shards_is_refused(two_shards, tmp_path):
    file = tmp_path / "keys.txt"
    file.write_text("a\nx\ny\n")
    with pytest.raises(ConfigError, match=r"2 of 3 keys of the list .* are in none of the shards, first 'x'"):
        ShardSamples(two_shards, file)


@pytest.mark.parametrize(("content", "message"), [("\n \n", "is empty"), (None, "cannot be read: No such file")])
def test_a_key_list_that_names_nothing_is_refused(tmp_path, content, message):
    file = tmp_path / "keys.txt"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_key_list(file)


def test_what_is_left_out_is_counted_by_reason(two_shards):
    samples = ShardSamples(two_shards)
    samples.keep(np.array([True, False, True, True, True]), "without a vector")
    samples.keep(np.array([False, True, True, True]), "without a vector")
    assert keys_of(samples) == ["d", "c", "f"]
    assert samples.counts == {"without image": 0, "without a vector": 2}
    assert samples.caption(1, "short") == captions_of("c")["short"]


def test_a_sample_without_json_says_so(tmp_path):
    shard = write_tar(tmp_path / "a.tar", [("a.jpg", b"x"), ("b.jpg", b"y"), ("b.json", b"[1]")])
    samples = ShardSamples([shard])
    assert [samples.has_json(i) for i in range(2)] == [False, True]
    with pytest.raises(ConfigError, match=r"sample 'a' of shard .*a\.tar' has no json member"):
        samples.json(0)
    with pytest.raises(DamagedShardError, match=r"the json of sample 'b' .* is not an object"):
        samples.json(1)


def test_shards_without_any_image_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="the 1 shards hold no sample with an image"):
        ShardSamples([write_tar(tmp_path / "a.tar", [("a.json", b"{}")])])


def test_a_shard_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ShardNotFoundError, match=r"no such shard: .*none\.tar"):
        ShardSamples([str(tmp_path / "none.tar")])


def test_only_so_many_shards_are_kept_open(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_OPEN_SHARDS", 2)
    shards = [write_shard(tmp_path / f"{i}.tar", [f"{i}"]) for i in range(5)]
    samples = ShardSamples(shards)
    before = len(os.listdir("/proc/self/fd"))
    for i in [0, 1, 2, 3, 4, 0, 4, 2]:
        assert samples.image(i) == dict(sample_members(f"{i}"))[f"{i}.jpg"]
    assert len(os.listdir("/proc/self/fd")) - before <= 2


def own_descriptors() -> list[str]:
    """All but the one that lists them."""
    return [fd for fd in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{fd}")]


def test_shards_are_closed_with_the_samples(two_shards):
    gc.collect()  # closes what other tests have left
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        samples = ShardSamples(two_shards)
        for i in range(len(samples)):
            samples.image(i)
        assert sum(str(Path(f"/proc/self/fd/{fd}").readlink()) in two_shards for fd in own_descriptors()) == 2
        del samples
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_samples_sent_to_another_process_open_their_own_files(two_shards):
    samples = ShardSamples(two_shards)
    first = samples.image(0)
    sent = pickle.loads(pickle.dumps(samples))
    assert sent.image(0) == first
