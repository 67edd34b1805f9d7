"""Several datasets in one run: the file that names them, and batches joined by dataset and key."""

from pathlib import Path

import numpy as np
import pytest

import store
from store.common.errors import ConfigError, MissingKeysError
from store.common.settings import build
from tests.trainer.examples import CAPTION_DIM, JOINT_DIM, add_field, captions_of, write_shard
from trainer.checkpoint.folder import plain, prepare, save_checkpoint
from trainer.data.datasets import read_datasets
from trainer.data.pairs import PairData
from trainer.data.texts import VectorData
from trainer.model.towers import load_image_tower
from trainer.stage1 import Stage1Config
from trainer.stage2 import Stage2Config

KEYS = [f"{i:09d}" for i in range(8)]  # in both datasets
FIELDS = ("llm/short", "llm/long")
TEACHERS = ("clip/short", "clip/long")


def make_dataset(folder: Path, name: str, keys: list[str]) -> None:
    """Shard and store; the vectors stand in the order of ``keys``, so another order gives each key another one."""
    path = folder / f"{name}.store"
    store.create(path)
    for number, field in enumerate((*FIELDS, *TEACHERS)):
        dim = CAPTION_DIM if number < 2 else JOINT_DIM
        add_field(path, field, keys, dim)
    write_shard(folder / f"{name}.tar", sorted(keys))


@pytest.fixture
def folder(tmp_path) -> Path:
    make_dataset(tmp_path, "small", KEYS[3::-1])
    make_dataset(tmp_path, "large", KEYS)
    return tmp_path


def write(folder: Path, **entries: str) -> Path:
    file = folder / "datasets.yaml"
    file.write_text("".join(f"{name}: {{{settings}}}\n" for name, settings in entries.items()))
    return file


def both(folder: Path, small: str = "", large: str = "") -> Path:
    places = {name: f"store: '{folder}/{name}.store', shards: '{folder}/{name}.tar'" for name in ("small", "large")}
    return write(folder, small=places["small"] + small, large=places["large"] + large)


def stage1(file: Path, **settings) -> Stage1Config:
    values = {"output": Path("run"), "fields": FIELDS, "teacher_fields": TEACHERS, "batch_size": 2}
    return build(Stage1Config, {"datasets": file, **values, **settings})


def stage2(file: Path, clip: Path, **settings) -> Stage2Config:
    return build(
        Stage2Config, {"datasets": file, "clip": str(clip), "output": Path("run"), "fields": FIELDS, **settings}
    )


def pairs(config: Stage2Config) -> PairData:
    return PairData(config.data, load_image_tower(config.clip), config.run.seed)


def load(data, samples: list[int]):
    return data.load(np.array(samples), 0, np.arange(len(samples)))


def test_pairs_are_joined_by_dataset_and_key(folder, clip_folder):
    """Key 000000001 is sample 1 (small) and sample 5 (large): other vectors, each of its own dataset's store."""
    data = pairs(stage2(both(folder), clip_folder, fields=("llm/short",)))
    assert [(s.name, s.num_samples) for s in data.sources] == [("small", 4), ("large", 8)]
    batch = load(data, [5, 1, 11, 3])
    expected = [("large", 1), ("small", 1), ("large", 7), ("small", 3)]
    for row, (name, key) in zip(batch["caption"].numpy(), expected, strict=True):
        field = store.open(folder / f"{name}.store").field("llm/short")
        assert np.array_equal(row, field.get([KEYS[key]], dtype="float32")[0])
    assert not np.array_equal(batch["caption"][0], batch["caption"][1])


def test_vectors_are_joined_by_dataset_and_key(folder):
    """Samples stand in the store's order, which is backwards in the small one."""
    batch = load(VectorData(stage1(both(folder)).data), [5, 1, 11, 3])
    for at, (name, key) in enumerate([("large", 1), ("small", 2), ("large", 7), ("small", 0)]):
        opened = store.open(folder / f"{name}.store")
        for view in range(2):
            caption, teacher = (
                opened.field(names[view]).get([KEYS[key]], dtype="float32")[0] for names in (FIELDS, TEACHERS)
            )
            assert np.array_equal(batch["caption"][view, at], caption)
            assert np.array_equal(batch["teacher"][view, at], teacher)


def test_each_dataset_has_its_own_weight_fields_and_key_list(folder, clip_folder):
    (folder / "some.txt").write_text("\n".join(KEYS[2:7]))
    more = f", weight: 0.5, fields: [llm/long], field_weights: [1], keys: '{folder}/some.txt'"
    data = pairs(stage2(both(folder, ", weight: 2", more), clip_folder, field_weights=(1.0, 3.0)))
    assert [s.weight for s in data.sources] == [2.0, 0.5]
    assert [s.left_out for s in data.sources] == [
        {"without image": 0, "without a vector": 0},
        {"without image": 0, "not in the key list": 3, "without a vector": 0},
    ]
    assert [part.join.fields for part in data.parts] == [FIELDS, ("llm/long",)]
    assert [part.bounds.tolist() for part in data.parts] == [[0.25], []]


def test_missing_vectors_are_counted_per_dataset(folder, clip_folder):
    write_shard(folder / "large.tar", [*KEYS, "unknown"])
    with pytest.raises(MissingKeysError, match=r"1 of 9 keys have no vector in field 'llm/short' of store '.*large"):
        pairs(stage2(both(folder), clip_folder))
    data = pairs(stage2(both(folder), clip_folder, missing="skip"))
    assert [s.left_out["without a vector"] for s in data.sources] == [0, 1]


def test_flags_make_one_dataset_named_by_its_store(folder):
    config = stage1(None, store=folder / "large.store")
    assert [(part.name, part.weight) for part in config.data.data] == [("large", 1.0)]


def test_a_store_that_several_datasets_share_may_stand_in_its_flag(folder, clip_folder):
    one, two = (f"shards: '{folder}/{name}.tar'" for name in ("small", "large"))
    file = write(folder, one=one, two=f"{two}, weight: 3")
    assert [s.num_samples for s in pairs(stage2(file, clip_folder, store=folder / "large.store")).sources] == [4, 8]


def test_datasets_of_different_models_are_refused(folder, clip_folder):
    path = folder / "other.store"
    store.create(path)
    for field in FIELDS:
        add_field(path, field, KEYS, CAPTION_DIM, revision="v2")
    file = both(folder, "", f", store: '{path}'").read_text().replace(f"store: '{folder}/large.store', ", "")
    (folder / "datasets.yaml").write_text(file)
    with pytest.raises(ConfigError, match=r"datasets 'small' and 'large' hold .* differ in revision 'main' and 'v2'"):
        pairs(stage2(folder / "datasets.yaml", clip_folder))


def test_datasets_of_different_widths_are_refused(folder, clip_folder):
    file = both(folder, "", ", fields: [clip/short]")
    with pytest.raises(ConfigError, match=f"fields 'llm/short' and 'clip/short' differ in width {CAPTION_DIM} and"):
        pairs(stage2(file, clip_folder))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "must map names of datasets to settings"),
        ("[a]", "must map names of datasets to settings"),
        ("a: [", "cannot be read: while parsing"),
        ("a: {store: a.store}\na: {store: b.store}", "cannot be read: 'a' stands twice; give each its own name"),
        ("a: x.store", "dataset 'a' of .* holds 'x.store'; expected settings such as {store: a.store}"),
        ("a: {wieght: 1}", "dataset 'a' of .* sets 'wieght', which is not a setting; there are store, fields"),
        ("a: {weight: 1}", "dataset 'a' of .* names no store, and neither does --store"),
        ("a: {store: ''}", "dataset 'a' of .* sets store to ''; expected a path"),
        ("a: {store: s, shards: {x: 1}}", r"dataset 'a' of .* sets shards to {'x': 1}; expected text"),
        ("a: {store: s, shards: []}", r"dataset 'a' of .* sets shards to \[\]; expected at least one value"),
        ("a: {store: s, weight: much}", "dataset 'a' of .* sets weight to 'much'; expected a number"),
        ("a: {store: s, weight: true}", "dataset 'a' of .* sets weight to True; expected a number"),
        ("a: {store: s, weight: .inf}", "dataset 'a' of .* sets weight to inf; expected a finite number"),
        ("a: {store: s, weight: 0}", r"weight of dataset 'a' is 0\.0; expected a number above 0"),
        ("a: {store: s, weight: -1}", r"weight of dataset 'a' is -1\.0; expected a number above 0"),
        ("a: {store: s, field_weights: x}", "dataset 'a' of .* sets field_weights to 'x'; expected a number"),
        ("a: {store: s, field_weights: [1]}", "field_weights of dataset 'a' .* expected one number >= 0 per field"),
        ("a: {store: s}", "dataset 'a' names no shards; give --shards, or shards in --datasets"),
    ],
)
def test_entries_that_make_no_sense_are_refused(tmp_path, content, message):
    (tmp_path / "datasets.yaml").write_text(content)
    with pytest.raises(ConfigError, match=message):
        stage2(tmp_path / "datasets.yaml", tmp_path)


def test_a_file_of_datasets_may_not_run_commands_unless_that_is_allowed(tmp_path, monkeypatch):
    monkeypatch.delenv("KEYCLIP_ALLOW_PIPE", raising=False)
    (tmp_path / "datasets.yaml").write_text(f"a: {{store: s, fields: [f], shards: ['pipe:touch {tmp_path}/made']}}")
    with pytest.raises(ConfigError, match=r"dataset 'a' of .* would run a shell command; give --allow-pipe"):
        read_datasets(tmp_path / "datasets.yaml", {})
    assert not (tmp_path / "made").exists()
    monkeypatch.setenv("KEYCLIP_ALLOW_PIPE", "1")
    assert read_datasets(tmp_path / "datasets.yaml", {})[0].shards == (f"pipe:touch {tmp_path}/made",)


def test_an_absent_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"the datasets of '.*none\.yaml' cannot be read: .*No such file"):
        stage2(tmp_path / "none.yaml", tmp_path)


def test_a_run_without_any_data_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no store is named; give --store, or several datasets by --datasets FILE"):
        stage1(None)
    with pytest.raises(ConfigError, match="no fields of dataset 's' are named; name fields of store 's'"):
        stage2(None, tmp_path, store=Path("s"), fields=(), shards=("a.tar",))


def test_flags_that_would_be_overruled_are_refused(folder, clip_folder):
    with pytest.raises(ConfigError, match="--shards and --keys and --datasets exclude each other; name them in"):
        stage2(both(folder), clip_folder, shards=("a.tar",), keys=Path("keys.txt"))


def test_views_of_stage_1_are_as_many_in_all_datasets(folder):
    file = both(folder, "", ", fields: [llm/short], teacher_fields: [clip/short]")
    with pytest.raises(ConfigError, match="dataset 'large' names 1 fields and 1 teacher_fields; expected 2 of each"):
        stage1(file)


def test_the_effective_config_holds_what_the_file_said(folder, clip_folder):
    saved = plain(stage2(both(folder, ", weight: 0.5"), clip_folder))["data"]
    assert [(entry["name"], entry["weight"], entry["fields"]) for entry in saved] == [
        ("small", 0.5, list(FIELDS)),
        ("large", 1.0, list(FIELDS)),
    ]
    assert saved[0]["shards"] == [f"{folder}/small.tar"]


def test_a_run_continues_by_what_the_file_says_wherever_it_lies(folder, clip_folder, tmp_path):
    run, file = tmp_path / "run", both(folder, ", weight: 0.5")
    prepare(run, "stage2", stage2(file, clip_folder))
    save_checkpoint(run, {}, {"step": 1}, 1)
    moved = file.rename(folder / "moved.yaml")
    prepare(run, "stage2", stage2(moved, clip_folder))
    with pytest.raises(ConfigError, match="holds a run with other settings"):
        prepare(run, "stage2", stage2(both(folder), clip_folder))


def test_captions_of_both_datasets_are_checked(folder, clip_folder):
    write_shard(folder / "large.tar", KEYS, captions_of("another"))
    data = pairs(stage2(both(folder), clip_folder))
    load(data, [0, 3])
    with pytest.raises(ValueError, match="the caption of sample '000000000' is not the one"):
        load(data, [0, 4])
