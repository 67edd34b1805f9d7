"""docs/preparation.md, walked from its first command to its last."""

import json
from pathlib import Path

import numpy as np
import pytest

import store
from store.sources.shards import expand_shards, iter_samples
from tests.docs.commands import commands_in
from tests.tools.prepare.examples import read_lines, read_parquet
from tools.__main__ import main


@pytest.fixture(scope="module")
def walked(substitutes, tmp_path_factory):
    """The folder where every command of the document has run."""
    folder = tmp_path_factory.mktemp("walk")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("HF_HUB_OFFLINE", "1")
        for shown in commands_in("docs/preparation.md"):
            if shown.words[0] == "keyclip":
                assert main(shown.replaced(substitutes).words[1:]) == 0, shown
    return folder


def keys_of(folder: Path) -> list[str]:
    return [key for shard in expand_shards([f"{folder}/*.tar"]) for key, _ in iter_samples(shard, [])]


def test_the_check_finds_nothing_and_lists_all_samples(walked):
    assert read_lines(walked / "data/cc3m-good.txt") == keys_of(walked / "data/cc3m")
    assert read_lines(walked / "data/cc3m-findings.jsonl") == []
    assert [row["key"] for row in read_parquet(walked / "data/cc3m-index.parquet")] == keys_of(walked / "data/cc3m")


def test_the_lost_keys_are_found(walked):
    rows = {row["key"]: row for row in read_parquet(walked / "data/yfcc-captions.parquet")}
    assert sorted(rows) == sorted(keys_of(walked / "data/yfcc"))
    for shard in expand_shards([f"{walked}/data/yfcc/*.tar"]):
        for key, members in iter_samples(shard, ["json"]):
            assert rows[key]["raw_caption"] == json.loads(members["json"])["caption"]
    again = read_parquet(walked / "data/yfcc-short-and-long.parquet")
    assert [row["longSV_captions"] for row in again] == [rows[row["key"]]["longSV_captions"] for row in again]
    assert [row["key"] for row in again] == keys_of(walked / "data/yfcc")


def test_every_caption_has_its_vectors(walked):
    fields = store.open(walked / "data/cc3m.store").fields()
    assert {name: info.num_vectors for name, info in fields.items()} == {
        f"{model}/{captions}": len(keys_of(walked / "data/cc3m"))
        for model in ("llama", "clip")
        for captions in ("shortSV_captions", "raw_caption", "longSV_captions")
    }
    field = store.open(walked / "data/yfcc.store").field("llama/longSV_captions")
    assert sorted(field.keys()) == sorted(keys_of(walked / "data/yfcc"))


def test_the_merged_tars_hold_the_sampled_images_and_their_vectors(walked):
    drawn = read_lines(walked / "data/cc3m-50.txt")
    field = store.open(walked / "data/cc3m.store").field("llama/shortSV_captions")
    merged = {}
    for shard in expand_shards([f"{walked}/data/cc3m-merged/*.tar"]):
        merged |= dict(iter_samples(shard, ["jpg", "shortsv_captions", "longsv_captions"]))
    assert sorted(merged) == sorted(drawn)
    for key in drawn[:5]:
        assert merged[key]["jpg"].startswith(b"\xff\xd8")
        vector = np.frombuffer(merged[key]["shortsv_captions"], "<f4")
        np.testing.assert_array_equal(vector, field.get([key], dtype="float32")[0])
