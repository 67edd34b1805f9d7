"""The pretended download has the layout of a real one."""

import csv
import json

import pyarrow.parquet as pq

from store.sources.shards import iter_samples
from tools.__main__ import main
from tools.scenes import download


def read(folder, saved_columns, **settings):
    shards = download.write(
        folder / "d", folder / "list.csv", 50, urls_per_shard=20, save_columns=saved_columns, **settings
    )
    with (folder / "list.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    samples = [list(iter_samples(str(shard), ["jpg", "json", "txt"])) for shard in shards]
    return shards, rows, samples


def test_members_keys_and_metadata_are_those_of_img2dataset(tmp_path):
    shards, rows, samples = read(tmp_path, saved_columns=False)
    assert [shard.name for shard in shards] == ["00000.tar", "00001.tar", "00002.tar"]
    for number, (shard, held) in enumerate(zip(shards, samples, strict=True)):
        part = rows[20 * number : 20 * number + 20]
        metadata = pq.read_table(shard.with_suffix(".parquet")).to_pylist()
        assert [row["key"] for row in metadata] == [f"{number:05d}{index:04d}" for index in range(len(part))]
        assert [row["url"] for row in metadata] == [row["Image Path"] for row in part]
        arrived = {row["key"] for row in metadata if row["status"] == "success"}
        assert {key for key, _ in held} == arrived
        stats = json.loads(shard.with_name(f"{shard.stem}_stats.json").read_text())
        assert (stats["count"], stats["successes"]) == (len(part), len(held))
        assert sum(stats["status_dict"].values()) == stats["count"]
        for key, members in held:
            about, row = json.loads(members["json"]), part[int(key[5:])]
            assert set(about) == {
                "caption", "url", "key", "status", "error_message", "width", "height", "original_width",
                "original_height", "exif", "sha256",
            }  # fmt: skip
            assert (about["key"], about["url"], about["caption"]) == (key, row["Image Path"], row["raw_caption"])
            assert members["txt"].decode() == row["raw_caption"]
    keys = [key for held in samples for key, _ in held]
    assert keys != sorted(keys)
    assert len(keys) < 50


def test_saved_columns_stand_in_the_json_and_take_the_place_of_the_txt_member(tmp_path):
    _, rows, samples = read(tmp_path, saved_columns=True)
    captions = ["raw_caption", "shortIB_captions", "longIB_captions", "shortSV_captions", "longSV_captions"]
    captions += ["shortLLA_captions", "longLLA_captions"]
    assert list(rows[0]) == ["Image Path", *captions]
    for key, members in samples[1]:
        about = json.loads(members["json"])
        assert {name: about[name] for name in captions} == {n: rows[20 + int(key[5:])][n] for n in captions}
        assert "caption" not in about
        assert "txt" not in members


def test_the_same_settings_give_the_same_bytes_and_another_seed_others(tmp_path):
    kept = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        (tmp_path / name).mkdir()
        read(tmp_path / name, saved_columns=True, seed=seed)
        kept[name] = [path.read_bytes() for path in sorted((tmp_path / name).rglob("*.*")) if path.is_file()]
    assert kept["a"] == kept["b"] != kept["c"]


def test_the_command_tells_where_everything_is(tmp_path, capsys):
    arguments = ["--output", str(tmp_path / "d"), "--table", str(tmp_path / "l.csv"), "--urls", "5"]
    assert main(["demo-download", *arguments, "--failures", "0"]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/l.csv: 5 urls; 1 shards: {tmp_path}/d/00000.tar to 00000.tar\n"
    assert len(list(iter_samples(str(tmp_path / "d" / "00000.tar"), []))) == 5
    assert main(["demo-download", *arguments, "--failures", "1"]) == 1
