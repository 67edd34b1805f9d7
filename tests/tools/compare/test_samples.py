"""The samples of each seed are drawn anew, in the shards' order, and written as key lists."""

import json

import pytest

from store.common.errors import ConfigError
from tests.trainer.examples import write_shard
from tools.compare.draws import Draws
from tools.compare.settings import SuiteSettings

KEYS = [f"{i:04d}" for i in range(20)]


@pytest.fixture
def shards(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tuple(write_shard(tmp_path / f"{i}.tar", KEYS[10 * i : 10 * i + 10]) for i in range(2))


def draws(folder, shards, num_drawn=None, **settings):
    return Draws(folder, SuiteSettings(**settings), shards, num_drawn)


def lines(file):
    return file.read_text().splitlines()


def test_by_default_every_seed_has_all_samples_in_one_list(tmp_path, shards):
    all_of_them = draws(tmp_path, shards, seeds=(0, 1))
    assert all_of_them.are_all
    assert lines(all_of_them.file(0)) == KEYS
    assert all_of_them.file(0) == all_of_them.file(1)


def test_a_draw_differs_by_seed_keeps_the_order_and_is_the_same_again(tmp_path, shards):
    drawn = draws(tmp_path, shards, seeds=(0, 1), num_drawn=8)
    first, second = lines(drawn.file(0)), lines(drawn.file(1))
    assert first != second
    assert len(set(first)) == 8
    assert first == sorted(first)
    assert lines(draws(tmp_path, shards, num_drawn=8).file(0)) == first
    assert lines(drawn.union_file()) == sorted({*first, *second})


def test_a_larger_draw_of_a_seed_holds_the_smaller_ones(tmp_path, shards):
    sizes = [set(lines(draws(tmp_path / str(size), shards, num_drawn=size).file(0))) for size in (3, 8, 20)]
    assert sizes[0] < sizes[1] < sizes[2] == set(KEYS)


def test_a_key_list_narrows_what_is_drawn_from(tmp_path, shards):
    (tmp_path / "dogs.txt").write_text("0003\n0013\n0007\n")
    narrow = draws(tmp_path, shards, keys=tmp_path / "dogs.txt")
    assert lines(narrow.file(0)) == ["0003", "0007", "0013"]
    assert not narrow.are_all
    assert set(lines(draws(tmp_path, shards, keys=tmp_path / "dogs.txt", num_drawn=2).file(0))) < set(KEYS)


def test_more_than_there_are_is_refused(tmp_path, shards):
    with pytest.raises(ConfigError, match="finetune_samples is 21; the shards hold 20"):
        draws(tmp_path, shards, num_drawn=21)


def test_stage_1_takes_the_keys_of_captions_without_images_as_well(tmp_path, shards):
    texts = tmp_path / "texts.jsonl"
    drawn = draws(tmp_path, shards, 4, seeds=(1,))
    keys = ["t1", "t0", lines(drawn.file(1))[2]]
    texts.write_text("".join(json.dumps({"key": key, "short": "a cat"}) + "\n" for key in keys))
    assert lines(drawn.file_with(texts, 1)) == [*lines(drawn.file(1)), "t1", "t0"]
