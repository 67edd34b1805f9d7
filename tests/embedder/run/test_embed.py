"""``embed``: captions in, keyed vectors in the store; again, only what is missing."""

import json
import socket

import numpy as np
import pytest

import store
from embedder.models.load import load_encoder
from embedder.models.options import ModelOptions
from embedder.run.config import EmbedConfig
from embedder.run.embed import embed
from store.common.errors import (
    CaptionFieldError,
    ConfigError,
    DamagedShardError,
    ShardNotFoundError,
    SpecMismatchError,
    StaleCaptionError,
)
from tests.embedder.small_models import save_clip
from tests.processes import run
from tools.__main__ import main

NOUNS = ("cube", "ball", "dog", "cat", "boat", "tree")


def samples(count, first=0):
    """Samples whose second caption repeats: every sixth is the same text."""
    return {
        f"{i:09d}": {"captions": [f"picture {i} of a {NOUNS[i % 6]}", f"a {NOUNS[i % 6]}"]}
        for i in range(first, first + count)
    }


@pytest.fixture
def config(clip_folder, make_shard, tmp_path):
    """``config(shards, ...)``: settings of a run with the tiny CLIP into ``tmp_path/s.store``."""

    def make(*shards, **settings):
        defaults = {"model": str(clip_folder), "store": str(tmp_path / "s.store"), "device": "cpu", "progress": False}
        defaults |= {"caption_fields": ("captions.0",), "block_size": 4, "shards": shards, "dtype": "float32"}
        return EmbedConfig(**(defaults | settings))

    return make


def field(config, name="tiny-clip/captions.0"):
    return store.open(config.store).field(name)


def test_several_fields_are_embedded_in_one_pass(config, make_shard):
    shards = [make_shard("00000", samples(10)), make_shard("00001", samples(7, first=10))]
    settings = config(*shards, caption_fields=("captions.0", "captions.1"))
    report = embed(settings)
    assert [(f.name, f.embedded, f.reused, f.empty) for f in report.fields] == [
        ("tiny-clip/captions.0", 17, 0, 0),
        ("tiny-clip/captions.1", 17, 0, 0),
    ]
    everything = samples(17)
    assert field(settings).keys() == list(everything)
    encoder = load_encoder(ModelOptions(model=settings.model, device="cpu"))
    for column in (0, 1):
        expected = encoder.encode([sample["captions"][column] for sample in everything.values()])
        stored = field(settings, f"tiny-clip/captions.{column}").get(list(everything))
        np.testing.assert_allclose(stored, expected, atol=1e-5)


def test_the_spec_records_where_the_vectors_come_from(config, make_shard):
    settings = config(make_shard("00000", samples(2)), field_prefix="teacher")
    embed(settings)
    spec = field(settings, "teacher/captions.0").spec
    assert (spec.model, spec.kind, spec.pooling, spec.max_length) == ("tiny-clip", "clip-text", "eos", 77)
    assert (spec.caption_field, spec.dim, spec.dtype, spec.normalize) == ("captions.0", 16, "float32", False)
    assert spec.revision.startswith("xxh3:")


def test_equal_captions_are_embedded_once(config, make_shard):
    report = embed(config(make_shard("00000", samples(20)), caption_fields=("captions.1",)))
    assert report.fields[0].embedded == 20
    assert report.fields[0].deduplicated == 14  # six different texts


def test_a_caption_that_comes_again_much_later_is_not_computed_again(config, make_shard):
    shard = make_shard("00000", samples(40))
    report = embed(config(shard, caption_fields=("captions.1",), batch_tokens=1))  # a window per block
    assert report.fields[0].deduplicated == 34
    assert report.tokens == embed(config(shard, caption_fields=("captions.1",), field_prefix="other")).tokens


def test_missing_fields_can_be_skipped_and_are_counted_apart_from_empty_ones(config, make_shard):
    shard = make_shard("0", {"a": {"c": "a dog"}, "b": {"c": ""}, "d": {}})
    report = embed(config(shard, caption_fields=("c",), missing="skip"))
    assert (report.total("embedded"), report.total("empty"), report.total("missing")) == (1, 1, 1)
    assert "1 embedded, 0 reused, 0 deduplicated, 1 empty, 1 missing, 0 truncated" in str(report)


def test_the_same_command_again_embeds_nothing(config, make_shard):
    settings = config(make_shard("00000", samples(10)))
    embed(settings)
    blocks = field(settings).blocks()
    again = embed(settings)
    assert (again.total("embedded"), again.total("reused"), again.tokens) == (0, 10, 0)
    assert field(settings).blocks() == blocks


def test_a_grown_shard_gets_only_its_new_samples(config, make_shard):
    settings = config(make_shard("00000", samples(6)))
    embed(settings)
    make_shard("00000", samples(10))
    report = embed(settings)
    assert (report.total("embedded"), report.total("reused")) == (4, 6)
    assert sorted(field(settings).keys()) == list(samples(10))


def test_a_field_added_later_leaves_the_first_alone(config, make_shard):
    shard = make_shard("00000", samples(5))
    embed(config(shard))
    report = embed(config(shard, caption_fields=("captions.0", "captions.1")))
    assert [(f.embedded, f.reused) for f in report.fields] == [(0, 5), (5, 0)]


def test_empty_captions_are_counted_and_get_no_vector(config, make_shard):
    shard = make_shard("0", {"a": {"c": "a dog"}, "b": {"c": ""}, "d": {"c": None}, "e": {"c": " \n"}})
    settings = config(shard, caption_fields=("c",))
    report = embed(settings)
    assert (report.total("embedded"), report.total("empty")) == (1, 3)
    assert field(settings, "tiny-clip/c").keys() == ["a"]


def test_truncated_captions_are_counted(config, make_shard):
    shard = make_shard("0", {"a": {"c": "a dog"}, "b": {"c": "a dog and " * 60}})
    assert embed(config(shard, caption_fields=("c",))).total("truncated") == 1


def test_only_listed_keys_are_embedded(config, make_shard, tmp_path):
    (tmp_path / "keys.txt").write_text("000000003\n000000007\n")
    settings = config(make_shard("00000", samples(10)), keys=tmp_path / "keys.txt")
    assert embed(settings).total("embedded") == 2
    assert field(settings).keys() == ["000000003", "000000007"]


def test_keyed_files_are_embedded_like_shards(config, tmp_path):
    prompts = [{"key": f"{noun}/0", "prompt": f"a photo of a {noun}."} for noun in NOUNS]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(p) + "\n" for p in prompts))
    settings = config(captions=(str(tmp_path / "prompts.jsonl"),), caption_fields=("prompt",))
    assert embed(settings).total("embedded") == 6
    assert field(settings, "tiny-clip/prompt").keys() == [f"{noun}/0" for noun in NOUNS]


def test_a_changed_caption_is_an_error_that_names_the_key_and_the_remedy(config, make_shard):
    embed(config(make_shard("00000", samples(5))))
    changed = samples(5)
    changed["000000003"]["captions"][0] = "another text"
    with pytest.raises(StaleCaptionError, match=r"1 keys of '00000', such as '000000003'.*--field-prefix"):
        embed(config(make_shard("00000", changed)))


def test_vectors_of_unknown_captions_are_kept(config, make_shard):
    """An import may know the vectors but not their captions."""
    embed(config(make_shard("00000", samples(5))))
    spec, keys = field(config("none")).spec, list(samples(8))
    writer = store.open(config("none").store, mode="a").writer("tiny-clip/captions.0", spec)
    vectors = np.ones((3, spec.dim), np.float32)
    writer.commit("imported", keys[5:], vectors, np.full(3, store.UNKNOWN_CAPTION, np.uint64))
    report = embed(config(make_shard("00000", samples(10))))
    assert (report.total("reused"), report.total("embedded")) == (8, 2)
    np.testing.assert_array_equal(field(config("none")).get(keys[5:]), vectors)


def test_another_model_of_the_same_name_is_refused(config, make_shard, tmp_path):
    shard = make_shard("00000", samples(3))
    embed(config(shard))
    save_clip(tmp_path / "other" / "tiny-clip", seed=1)
    with pytest.raises(SpecMismatchError, match="revision"):
        embed(config(shard, model=str(tmp_path / "other" / "tiny-clip")))


def test_an_error_in_a_late_shard_keeps_the_blocks_before_it(config, make_shard):
    good, bad = make_shard("00000", samples(8)), make_shard("00001", {"x": {"captions": []}})
    with pytest.raises(CaptionFieldError, match=r"sample 'x' of '.*00001.tar'.*captions\.0"):
        embed(config(good, bad, batch_tokens=1))
    assert embed(config(good)).total("reused") > 0


def truncate(shard):
    with open(shard, "r+b") as stream:  # noqa: PTH123
        stream.truncate(10_000)


def test_a_truncated_shard_is_an_error(config, make_shard):
    bad = make_shard("00000", samples(20))
    truncate(bad)
    with pytest.raises(DamagedShardError, match=r"00000.tar' cannot be read as a tar"):
        embed(config(bad))


def test_a_truncated_shard_can_be_skipped_with_what_came_before_the_damage_and_is_reported(config, make_shard):
    bad, good = make_shard("00000", samples(20)), make_shard("00001", samples(5, first=20))
    truncate(bad)
    settings = config(bad, good, damaged="skip")
    report = embed(settings)
    keys = field(settings).keys()
    assert set(samples(5, first=20)) < set(keys) < set(samples(25))
    assert report.total("embedded") == len(keys) > 5
    assert len(report.damaged) == 1
    assert "damaged: shard '" in str(report)
    assert main(["embed", "--shards", bad, good, *flags(settings), "--damaged", "skip"]) == 1


def flags(settings):
    arguments = ["--caption-fields", *settings.caption_fields, "--model", settings.model, "--store", settings.store]
    return [*arguments, "--device", "cpu", "--dtype", "float32", "--progress", "False"]


def test_listed_keys_that_no_source_holds_are_counted(config, make_shard, tmp_path):
    (tmp_path / "keys.txt").write_text("000000003\nelsewhere\n")
    report = embed(config(make_shard("00000", samples(10)), keys=tmp_path / "keys.txt"))
    assert (report.total("embedded"), report.not_found) == (1, 1)
    assert "1 keys of the key list are in none of the sources" in str(report)


def test_keyed_files_can_be_named_by_a_pattern(config, tmp_path):
    for i in range(3):
        (tmp_path / f"part-{i}.jsonl").write_text(json.dumps({"key": str(i), "text": f"a {NOUNS[i]}"}))
    settings = config(captions=(str(tmp_path / "part-*.jsonl"),), caption_fields=("text",))
    assert embed(settings).total("embedded") == 3


def test_a_store_can_be_named_after_the_machine(config, make_shard, tmp_path):
    settings = config(make_shard("00000", samples(2)), store=str(tmp_path / "{host}.store"))
    report = embed(settings)
    assert report.store == str(tmp_path / f"{socket.gethostname()}.store")
    assert len(store.open(report.store).field("tiny-clip/captions.0")) == 2


def test_a_zarr_store_gets_the_same_vectors(config, make_shard, tmp_path):
    shard = make_shard("00000", samples(10))
    first, second = config(shard), config(shard, store=str(tmp_path / "z.store"), backend="zarr")
    embed(first)
    assert embed(second).total("embedded") == 10
    assert embed(second).total("reused") == 10
    np.testing.assert_array_equal(field(first).get(list(samples(10))), field(second).get(list(samples(10))))


def test_hostile_captions_do_not_change_their_neighbours(config, make_shard):
    hostile = {"h0": {"c": "<|endoftext|>" * 20}, "h1": {"c": "\x00\x07\u202e"}, "h2": {"c": "z" * 200_000}}
    hostile |= {"h3": {"c": "half a pair \ud83d"}, "a": {"c": "a red cube"}}
    settings = config(make_shard("0", hostile), caption_fields=("c",))
    assert embed(settings).total("embedded") == 5
    stored = field(settings, "tiny-clip/c").get(["h0", "h1", "h2", "h3", "a"])
    assert np.isfinite(stored).all()
    expected = load_encoder(ModelOptions(model=settings.model, device="cpu")).encode(["a red cube"])
    np.testing.assert_allclose(stored[4:], expected, atol=1e-5)


def test_wrong_settings_are_refused_before_any_work(config, make_shard, tmp_path):
    with pytest.raises(ShardNotFoundError, match="no such shard"):
        embed(config(str(tmp_path / "absent.tar")))
    with pytest.raises(ConfigError, match="either --shards or --captions"):
        config()
    with pytest.raises(ConfigError, match="named twice"):
        config("a.tar", caption_fields=("c", "c"))
    assert not (tmp_path / "s.store").exists()


def test_a_run_that_fails_leaves_no_field_and_prints_its_error_once(config, make_shard, clip_folder):
    settings = config(make_shard("00000", samples(2)))
    arguments = ["--shards", *settings.shards, "--caption-fields", "capions.0", "--model", str(clip_folder)]
    done = run(["-m", "tools", "embed", *arguments, "--store", settings.store, "--device", "cpu"])
    lines = [line for line in done.stderr.splitlines() if "capions.0" in line]
    assert (done.returncode, len(lines)) == (1, 1)
    assert lines[0].startswith("keyclip: error: sample '000000000' of ")
    assert list(store.open(settings.store).fields()) == []


def test_a_backend_that_the_store_does_not_have_is_refused(config, make_shard):
    settings = config(make_shard("00000", samples(2)))
    embed(settings)
    assert embed(config(*settings.shards, backend="lmdb")).total("reused") == 2
    with pytest.raises(ConfigError, match=r"exists with the backend 'lmdb', not 'zarr'; leave the backend out"):
        embed(config(*settings.shards, backend="zarr"))


def test_a_field_keeps_its_stored_type_where_none_is_asked_for(config, make_shard):
    first, second = make_shard("00000", samples(2)), make_shard("00001", samples(2, first=2))
    embed(config(first, dtype="bfloat16"))
    embed(config(first, second, dtype=None))
    assert len(field(config("none"))) == 4
    assert field(config("none")).spec.dtype == "bfloat16"
    embed(config(first, dtype=None, field_prefix="new"))
    assert field(config("none"), "new/captions.0").spec.dtype == "float16"
