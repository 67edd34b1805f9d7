"""Runs and results are read as written, and what is wrong with them is said in one sentence."""

import json
import math
import os
from pathlib import Path

import pytest

from store.common.checked import InvalidDataError
from store.common.errors import ConfigError, FormatVersionError, KeyclipError
from tests.tools.report.fixtures import directions, log_lines, result, transparent_pixel, write_result, write_run
from tools.evaluate.packed_ranks import pack, unpack
from tools.report.material.inputs import load, load_result, load_run


def test_a_run_has_its_config_and_its_log_in_order_of_steps(tmp_path):
    run = load_run(write_run(tmp_path / "stage1", {"lr": 0.1}, list(log_lines(3))[::-1]))
    assert (run.name, run.config) == ("stage1", {"lr": 0.1})
    assert [entry["step"] for entry in run.log] == [10, 20, 30]


def test_of_a_step_logged_twice_the_later_line_counts(tmp_path):
    lines = [{"step": 1, "loss": 5.0}, {"step": 2, "loss": 4.0}, {"step": 2, "loss": 4.5}, {"step": 3, "loss": 3.0}]
    run = load_run(write_run(tmp_path / "run", lines=lines))
    assert [entry["loss"] for entry in run.log] == [5.0, 4.5, 3.0]


def test_a_last_line_that_was_cut_off_is_left_out_but_not_one_in_the_middle(tmp_path):
    folder = write_run(tmp_path / "run", lines=list(log_lines(2)))
    log = folder / "log.jsonl"
    log.write_text(log.read_text() + '{"step": 3, "lo')
    assert len(load_run(folder).log) == 2
    log.write_text('{"step": 1, "lo\n' + log.read_text())
    with pytest.raises(InvalidDataError, match=r"line 1 of '.*log.jsonl', a json object with a step, is not as expec"):
        load_run(folder)


def test_a_logged_nan_is_read(tmp_path):
    run = load_run(write_run(tmp_path / "run", lines=[{"step": 1, "loss": math.nan}]))
    assert math.isnan(run.log[0]["loss"])


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("config.json", None, r"no such file: '.*config.json'; '.*run' is no training run"),
        (
            "config.json",
            "[1]",
            r"'.*config.json' is not as expected: input should be an object; '.*run' is no training run",
        ),
        ("config.json", "{", r"'.*config.json' is not as expected: invalid JSON: EOF.*'.*run' is no training run"),
        ("log.jsonl", None, r"no such file: '.*log.jsonl'; the run '.*run' has logged nothing; train it first"),
        ("log.jsonl", "", r"'.*log.jsonl' holds no step; let the run log at least once"),
        ("log.jsonl", "7", r"'.*log.jsonl' holds no step"),
    ],
)
def test_a_damaged_run_names_the_file_and_the_remedy(tmp_path, name, text, message):
    folder = write_run(tmp_path / "run")
    (folder / name).unlink() if text is None else (folder / name).write_text(text)
    with pytest.raises(KeyclipError, match=message):
        load_run(folder)


def test_a_result_has_the_numbers_of_its_file(tmp_path):
    hit = {"key": "k", "score": 0.5, "correct": True, "image": transparent_pixel()}
    example = {"query": "a star", "key": "k", "rank": 1, "retrieved": [hit]}
    loaded = load_result(write_result(tmp_path, "CLIP", examples=[example]))
    assert (loaded.name, loaded.checkpoint, loaded.clip, loaded.num_images) == ("CLIP", None, "runs/clip", 500)
    assert loaded.retrieval["short"] == directions(0.1, 40.0)
    assert loaded.drift == directions(0.1, 40.0)
    assert loaded.zeroshot == {"top1": 0.3, "top5": 0.5, "num_classes": 120}
    assert loaded.examples == [example | {"image": None}]


def test_drift_zero_shot_and_examples_may_be_absent(tmp_path):
    loaded = load_result(write_result(tmp_path, drift=None, zeroshot=None, examples=None))
    assert (loaded.drift, loaded.zeroshot, loaded.examples) == (None, None, [])


def test_another_format_version_is_refused(tmp_path):
    with pytest.raises(FormatVersionError, match=r"format 'keyclip-eval/2', expected 'keyclip-eval/1'; evaluate again"):
        load_result(write_result(tmp_path, format="keyclip-eval/2"))


@pytest.mark.parametrize("text", ["[]", '{"loss": 1}', '"keyclip-eval/1"'])
def test_other_json_is_no_result(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    expected = r"'.*x.json' is (no evaluation result|not as expected: input should be an object; give a run folder)"
    with pytest.raises(KeyclipError, match=expected):
        load_result(path)


def test_a_result_that_lacks_a_measure_names_it(tmp_path):
    data = result()
    del data["retrieval"]["long"]["text_to_image"]["R@5"]
    path = tmp_path / "x.json"
    path.write_text(json.dumps(data))
    missing = r"'.*x.json' is not as expected: at 'retrieval.long.text_to_image.R@5', field required; evaluate again"
    with pytest.raises(InvalidDataError, match=missing):
        load_result(path)


def test_a_value_of_the_wrong_kind_is_refused(tmp_path):
    with pytest.raises(InvalidDataError, match="at 'num_images', input should be a valid integer; evaluate again"):
        load_result(write_result(tmp_path, num_images="many"))


@pytest.mark.parametrize(
    "image", ["https://example.org/x.jpg", "data:text/html;base64,AAAA", 'data:image/png;base64,"', 7]
)
def test_only_embedded_pictures_are_accepted(tmp_path, image):
    hit = {"key": "k7", "score": 0.5, "correct": True, "image": image}
    example = {"query": "a star", "key": "k7", "rank": 1, "retrieved": [hit]}
    with pytest.raises(
        InvalidDataError, match=r"0.image', (.*it is not a data URI of a jpeg|input should be a valid string)"
    ):
        load_result(write_result(tmp_path, examples=[example]))


def test_runs_of_the_same_name_get_the_names_of_their_parents_too(tmp_path):
    folders = [write_run(tmp_path / parent / "stage2") for parent in ("a", "b")]
    runs = load(folders).runs
    assert [run.name for run in runs] == ["a/stage2", "b/stage2"]
    with pytest.raises(ConfigError, match="a run folder is named twice"):
        load([folders[0], folders[0]])


def test_two_results_of_the_same_name_are_refused(tmp_path):
    with pytest.raises(
        ConfigError, match=r"two results are named 'ProCLIP': '.*a/ProCLIP.json' and '.*b/ProCLIP.json'"
    ):
        load([write_result(tmp_path / "a"), write_result(tmp_path / "b")])


def test_absent_inputs_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"no such file: '.*nowhere.json'; give a run folder or a json file"):
        load([tmp_path / "nowhere.json"])
    with pytest.raises(ConfigError, match="nothing to report; name run folders"):
        load([])


def test_pipes_devices_and_deep_nesting_are_refused_and_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(ConfigError, match=r"pipe.json' cannot be read: it is a pipe or a device"):
        load([tmp_path / "pipe.json"])
    with pytest.raises(ConfigError, match="'/dev/zero' cannot be read: it is a pipe or a device"):
        load([Path("/dev/zero")])
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(InvalidDataError, match=r"deep.json' is not as expected: .*recursion limit"):
        load([tmp_path / "deep.json"])


@pytest.mark.parametrize("value", ["5", "10" * 300, '{"a": 1}', "null", '"x"'])
@pytest.mark.parametrize("name", ["step", "epoch", "samples"])
def test_a_log_whose_positions_are_no_numbers_is_refused(tmp_path, name, value):
    folder = write_run(tmp_path / "run")
    lines = [f'{{"step": 1, "{name}": {value}}}' if name != "step" else f'{{"step": {value}}}', '{"step": 2}']
    (folder / "log.jsonl").write_text("\n".join(lines))
    if value == "5":
        assert load_run(folder).log[0]["step"] in (1, 2)
        return
    with pytest.raises(InvalidDataError, match=f"line 1 of '.*log.jsonl', .*at '{name}.*; remove that line"):
        load_run(folder)


PACKED = pack([1, 2, 1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": pack([0, 1, 2**31 - 1])}, "the ranks and groups of set 'photos' do not fit each other"),
        ({"groups": pack([0, -1, 2])}, "the ranks and groups of set 'photos' do not fit each other"),
        ({"groups": pack([0, 1])}, "the ranks and groups of set 'photos' do not fit each other"),
        ({"ranks": pack([0, 1, 1])}, "the ranks and groups of set 'photos' do not fit each other"),
        ({"ranks": pack([])}, "the ranks and groups of set 'photos' do not fit each other"),
        ({"ranks": "eJx0"}, "packed ranks are damaged"),
        ({"ranks": 3}, "at 'queries.retrieval.photos.image_to_text.ranks', input should be a valid string"),
    ],
)
def test_ranks_that_do_not_fit_each_other_are_refused_before_anything_is_drawn(tmp_path, change, message):
    way = {"ranks": PACKED, "groups": pack([0, 1, 2])}
    entry = {"images": "0f", "texts": "ab", "num_images": 3, "image_to_text": way | change, "text_to_image": way}
    draws = {"resamples": 10, "level": 0.95, "seed": 0}
    with pytest.raises(InvalidDataError, match=message):
        load_result(write_result(tmp_path, bootstrap=draws, queries={"retrieval": {"photos": entry}}))


@pytest.mark.parametrize(
    ("draws", "place"),
    [
        ({"resamples": 10**9, "level": 0.95, "seed": 0}, "bootstrap.resamples"),
        ({"resamples": 10, "level": 2, "seed": 0}, "bootstrap.level"),
        ({"resamples": 10, "level": 0.9, "seed": -1}, "bootstrap.seed"),
        (3, "bootstrap"),
    ],
)
def test_impossible_draws_are_refused(tmp_path, draws, place):
    with pytest.raises(InvalidDataError, match=f"at '{place}'"):
        load_result(write_result(tmp_path, bootstrap=draws, queries={}))


def test_packed_ranks_that_unpack_to_more_than_there_can_be_are_refused_on_the_way(monkeypatch):
    monkeypatch.setattr("tools.evaluate.packed_ranks._MOST_BYTES", 8)
    assert unpack(pack([1, 2])).tolist() == [1, 2]
    with pytest.raises(ValueError, match="they are cut short or too many"):
        unpack(pack([1] * 10_000))
