"""The demonstration data: its layout, its determinism, and what happens when it is made again."""

import hashlib
import io
import json
import tarfile

import pytest
from PIL import Image

from store.common.errors import ConfigError
from store.sources.shards import caption_at, iter_samples, load_json
from tools.scenes import dataset
from tools.scenes.vocabulary import THINGS


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(dataset, "SAMPLES_PER_SHARD", 10)


def samples_of(shard):
    return {
        key: (members["jpg"], load_json(members["json"], key, str(shard)), members["txt"])
        for key, members in iter_samples(str(shard), ["jpg", "json", "txt"])
    }


def test_keys_are_shard_number_and_index_and_differ_between_splits(tmp_path):
    shards = dataset.write(tmp_path, {"pretrain": 12, "finetune": 2, "test": 1})
    names = [[path.name for path in paths] for paths in shards.values()]
    assert names == [["00000.tar", "00001.tar"], ["70000.tar"], ["90000.tar"]]
    assert list(samples_of(shards["pretrain"][1])) == ["000010000", "000010001"]
    assert list(samples_of(shards["finetune"][0])) == ["700000000", "700000001"]


def test_a_sample_holds_an_image_the_caption_fields_and_the_text_member(tmp_path):
    shards = dataset.write(tmp_path, {"test": 5}, image_size=80)
    for key, (jpeg, fields, text) in samples_of(shards["test"][0]).items():
        image = Image.open(io.BytesIO(jpeg))
        assert (image.size, image.mode, image.format) == ((80, 80), "RGB", "JPEG")
        assert fields["key"] == key
        assert (fields["width"], fields["height"], fields["status"]) == (80, 80, "success")
        assert text.decode() == fields["caption"] == fields["raw_caption"]
        for field in ("shortSV_captions", "longSV_captions", "shortIB_captions", "longIB_captions"):
            assert caption_at(fields, field)
        assert fields["label"] in dataset.classes()["classes"]


def test_the_same_settings_give_the_same_bytes_and_another_seed_gives_others(tmp_path):
    def digest(name, seed):
        shards = dataset.write(tmp_path / name, {"test": 3}, seed=seed)
        return hashlib.sha256(shards["test"][0].read_bytes()).hexdigest()

    assert digest("first", 0) == digest("second", 0) != digest("third", 1)


def test_a_sample_does_not_depend_on_how_many_are_asked_for(tmp_path):
    few = dataset.write(tmp_path / "few", {"finetune": 3})["finetune"]
    many = dataset.write(tmp_path / "many", {"test": 4, "finetune": 14})["finetune"]
    expected = samples_of(few[0])
    assert {key: value for key, value in samples_of(many[0]).items() if key in expected} == expected


def test_shards_name_no_time_and_no_owner(tmp_path):
    shard = dataset.write(tmp_path, {"test": 1})["test"][0]
    with tarfile.open(shard) as tar:
        assert {(info.mtime, info.uid, info.gid, info.uname, info.gname, info.mode) for info in tar} == {
            (0, 0, 0, "", "", 0o644)
        }


def test_complete_shards_are_kept_and_damaged_or_missing_ones_made_again(tmp_path):
    first, second, third = dataset.write(tmp_path, {"test": 25})["test"]
    expected = [path.read_bytes() for path in (first, second, third)]
    kept = first.stat().st_ino
    second.write_bytes(expected[1][:2000])
    third.unlink()
    assert dataset.write(tmp_path, {"test": 25})["test"] == [first, second, third]
    assert [path.read_bytes() for path in (first, second, third)] == expected
    assert first.stat().st_ino == kept


def test_a_split_can_grow_but_not_shrink(tmp_path):
    dataset.write(tmp_path, {"test": 12})
    grown = dataset.write(tmp_path, {"test": 25})["test"]
    assert [len(samples_of(path)) for path in grown] == [10, 10, 5]
    for fewer in (24, 10):
        with pytest.raises(
            ConfigError, match=rf"holds 25 samples, more than the {fewer} asked for; ask for at least 25"
        ):
            dataset.write(tmp_path, {"test": fewer})
    assert [len(samples_of(path)) for path in grown] == [10, 10, 5]


def test_a_folder_made_with_other_settings_is_refused(tmp_path):
    dataset.write(tmp_path, {"test": 1}, seed=3)
    with pytest.raises(ConfigError, match=r"made with other settings .*'seed': 3.*choose another --output"):
        dataset.write(tmp_path, {"test": 1}, seed=4)


def test_progress_adds_up_to_the_number_of_samples(tmp_path):
    steps = []
    dataset.write(tmp_path, {"test": 12, "dev": 3}, progress=steps.append)
    assert steps == [10, 2, 3]


def test_the_classes_are_the_things(tmp_path):
    dataset.write(tmp_path, {"test": 1})
    classes = json.loads((tmp_path / "classes.json").read_text())
    assert classes["label"] == "label"
    assert list(classes["classes"]) == list(THINGS)
    assert classes["classes"]["hot dog"] == ["hot dog"]
    assert all(template.count("{}") == 1 for template in classes["templates"])


def test_texts_are_lines_of_captions_with_keys_of_their_own(tmp_path):
    (file,) = dataset.write(tmp_path, {"texts": 12})["texts"]
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["key"] for line in lines][9:] == ["600000009", "600010000", "600010001"]
    assert all(line["raw_caption"] and line["shortSV_captions"] for line in lines)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_the_parts_of_a_held_out_split_are_listed_by_what_stage_2_shows(tmp_path):
    shards = dataset.write(tmp_path, {"dev": 25})["dev"]
    held = {key: fields for shard in shards for key, (_, fields, _) in samples_of(shard).items()}
    listed = {part: (tmp_path / f"dev-{part}.txt").read_text().split() for part in ("shown", "others")}
    assert sorted(listed["shown"] + listed["others"]) == sorted(held)
    for part, keys in listed.items():
        assert keys
        assert {THINGS[held[key]["label"]].is_shown for key in keys} == {part == "shown"}


def test_the_generator_still_makes_the_bytes_of_its_version(tmp_path):
    """Raise ``dataset.GENERATOR`` when this fails on purpose: data made before are then refused, not mixed."""
    shard = dataset.write(tmp_path, {"test": 10})["test"][0]
    texts = b"".join(members["json"] + members["txt"] for _, members in iter_samples(str(shard), ["json", "txt"]))
    assert (dataset.GENERATOR, hashlib.sha256(texts).hexdigest()[:16]) == (4, "e068e183e8e6beee")
