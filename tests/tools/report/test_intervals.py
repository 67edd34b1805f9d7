"""Intervals and differences as text, from ranks that are known."""

import json

import numpy as np
import pytest

from store.common.errors import ConfigError
from tests.tools.report.fixtures import result
from tools.__main__ import main
from tools.evaluate.packed_ranks import pack, unpack
from tools.report.material.queries import differences, measurements
from tools.report.results.intervals import difference_table, interval_table, seeds_line, verdict
from trainer.evaluation.uncertainty import Difference


def with_ranks(name, to_text, to_image, true_class, resamples=200, texts="ab"):
    """A result of one retrieval set with one caption an image, and one classification set of two classes."""
    ways = {
        "image_to_text": {"ranks": pack(to_text), "groups": pack(range(len(to_text)))},
        "text_to_image": {"ranks": pack(to_image), "groups": pack(range(len(to_image)))},
    }
    entry = {"images": "0f", "texts": texts, "num_images": len(to_text), "part": False, **ways}
    labels = [i % 2 for i in range(len(true_class))]
    zeroshot = {"images": "1e", "primary": "top1", "ranks": pack(true_class), "labels": pack(labels)}
    queries = {"retrieval": {"photos": entry}, "drift": {"photos": entry}, "zeroshot": {"animals": zeroshot}}
    return result(name, queries=queries, bootstrap={"resamples": resamples, "level": 0.95, "seed": 0})


GOOD = with_ranks("good", [1] * 90 + [7] * 10, [1] * 80 + [3] * 20, [1] * 9 + [2])
BAD = with_ranks("bad", [1] * 50 + [7] * 50, [1] * 79 + [3] * 21, [1] * 9 + [6])


def test_packed_ranks_come_back_and_damage_is_seen():
    ranks = np.array([1, 70_000, 3])
    np.testing.assert_array_equal(unpack(pack(ranks)), ranks)
    with pytest.raises(ValueError, match="packed ranks are damaged"):
        unpack("eJx0")


def test_measurements_hold_the_measures_of_every_set_and_the_means_of_both_directions():
    found = measurements(GOOD)
    photos = found["retrieval"]["photos"]
    assert photos["image_to_text/R@1"].value == 0.9
    assert photos["recall"].value == pytest.approx((0.9 + 0.9 + 1 + 0.8 + 1 + 1) / 6)
    assert photos["mean_rank"].value == pytest.approx((1.6 + 1.4) / 2)
    assert found["zeroshot"]["animals"]["accuracy"].value == 0.9
    assert found["retrieval"][""]["recall"].value == photos["recall"].value  # the mean of one set


def test_a_result_without_ranks_cannot_be_measured():
    with pytest.raises(ConfigError, match="the result 'ProCLIP' holds no ranks of queries; evaluate again"):
        measurements(result())


def test_the_table_shows_each_set_with_its_intervals():
    text = interval_table(measurements(GOOD), 0.95)
    photos = next(line for line in text.splitlines() if line.startswith("photos"))
    assert "90.0 [8" in photos
    assert text.splitlines()[0].split()[:4] == ["retrieval", "R@1", "image", "to"]
    assert any(line.startswith("animals") and "90.0 [" in line for line in text.splitlines())
    assert "mean\n" not in text  # one set has no mean of sets
    bare = with_ranks("bare", [1, 2], [1, 2], [1, 1], resamples=0)
    assert "[" not in interval_table(measurements(bare), 0.95)


def test_differences_say_what_is_within_noise():
    lines = difference_table([GOOD], [BAD]).splitlines()
    photos = next(line for line in lines if line.startswith("photos"))
    assert "+40.0 [+" in photos
    assert photos.count("better") == 3  # R@1 image to text, recall and mean rank
    assert photos.count("~") == 1  # R@1 text to image: one query of 100
    assert "-2.5 [" not in next(line for line in lines if line.startswith("animals"))
    back = next(line for line in difference_table([BAD], [GOOD]).splitlines() if line.startswith("photos"))
    assert back.count("worse") == 3


def test_a_verdict_knows_which_direction_is_good():
    assert verdict(Difference(1.0, 0.5, 1.5), higher_is_better=True) == "better"
    assert verdict(Difference(1.0, 0.5, 1.5), higher_is_better=False) == "worse"
    assert verdict(Difference(1.0, -0.5, 2.5), higher_is_better=True) == "~"


def test_sets_that_only_one_arm_has_are_left_out():
    alone = json.loads(json.dumps(GOOD))
    alone["queries"]["retrieval"]["more"] = alone["queries"]["retrieval"]["photos"]
    assert differences([alone], [BAD])["retrieval"].keys() == {"photos", ""}


def test_other_captions_of_a_set_are_refused():
    with pytest.raises(
        ConfigError, match="'good' and 'other' were evaluated on other images or captions of set 'photos'"
    ):
        differences([GOOD], [with_ranks("other", [1] * 100, [1] * 100, [1] * 10, texts="cd")])


def test_seeds_are_shown_as_mean_and_deviation():
    assert seeds_line("good", [GOOD]) == "good: retrieval recall 93.3 %, zero-shot accuracy 90.0 %"
    # BAD's recall is (0.5 + 0.5 + 1 + 0.79 + 1 + 1) / 6 = 79.8 %; the deviation of two is their distance / sqrt(2)
    text = seeds_line("arm", [GOOD, BAD])
    assert text == "arm (2 seeds): retrieval recall 86.6 ± 9.5 %, zero-shot accuracy 90.0 ± 0.0 %"


def write(folder, data, name):
    (folder / name).write_text(json.dumps(data))
    return str(folder / name)


def test_eval_diff_compares_result_files(tmp_path, capsys):
    good, bad = write(tmp_path, GOOD, "good.json"), write(tmp_path, BAD, "bad.json")
    assert main(["eval-diff", "--ours", good, "--theirs", bad]) == 0
    out = capsys.readouterr().out
    assert out.startswith("good: retrieval recall 93.3 %")
    assert "~ where that is within noise" in out
    assert "+40.0 [+" in out
    assert main(["eval-diff", "--ours", good, bad, good, "--theirs", bad]) == 0
    assert "good (3 seeds)" in capsys.readouterr().out


def test_eval_diff_prints_every_difference_as_json(tmp_path, capsys):
    good, bad = write(tmp_path, GOOD, "good.json"), write(tmp_path, BAD, "bad.json")
    assert main(["eval-diff", "--ours", good, "--theirs", bad, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["ours"], printed["theirs"]) == ("good", "bad")
    one = printed["differences"]["retrieval"]["photos"]["image_to_text/R@1"]
    assert one["value"] == pytest.approx(0.4)
    assert 0 < one["low"] < 0.4 < one["high"]
    assert one["within_noise"] is False
    assert printed["differences"]["zeroshot"]["animals"]["top1"] == {
        "value": 0.0, "low": 0.0, "high": 0.0, "within_noise": True
    }  # fmt: skip


def test_eval_diff_takes_the_means_over_the_sets_that_both_have(tmp_path, capsys):
    more = with_ranks("more", [1] * 90 + [7] * 10, [1] * 80 + [3] * 20, [1] * 9 + [2])
    entry = more["queries"]["retrieval"]["photos"]
    other = entry | {"images": "aa", "image_to_text": {"ranks": pack([50] * 100), "groups": pack(range(100))}}
    for queries in (more["queries"]["retrieval"], more["queries"]["drift"]):
        queries["streets"] = other
    files = [write(tmp_path, more, "more.json"), write(tmp_path, GOOD, "good.json")]
    assert main(["eval-diff", "--ours", files[0], "--theirs", files[1]]) == 0
    out = capsys.readouterr().out
    assert "streets" not in out
    assert out.startswith("more: retrieval recall 93.3 %")
    assert main(["eval-diff", "--ours", files[0], "--theirs", files[1], "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["differences"]["retrieval"]
    assert found.keys() == {"photos", ""}
    assert found[""]["recall"] == {"value": 0.0, "low": 0.0, "high": 0.0, "within_noise": True}


def test_eval_diff_says_in_a_sentence_why_results_cannot_be_compared(tmp_path, capsys):
    good = write(tmp_path, GOOD, "good.json")
    none = write(tmp_path, with_ranks("none", [1], [1], [1, 1], resamples=0), "none.json")
    damaged = json.loads(json.dumps(GOOD))
    damaged["queries"]["retrieval"]["photos"]["image_to_text"]["ranks"] = "!"
    other_sets = json.loads(json.dumps(GOOD))
    other_sets["queries"] = {"retrieval": {"others": other_sets["queries"]["retrieval"]["photos"]}}
    for theirs, message in (
        (none, "results 'good' and 'none' cannot be compared query by query"),
        (write(tmp_path, GOOD | {"bootstrap": GOOD["bootstrap"] | {"seed": 1}}, "seed.json"), "same --seed"),
        (write(tmp_path, damaged, "damaged.json"), "damaged.json' cannot be read: packed ranks are damaged"),
        (write(tmp_path, other_sets, "others.json"), "the results have no set in common"),
    ):
        assert main(["eval-diff", "--ours", good, "--theirs", theirs]) == 1
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert main(["eval-diff", "--ours", none, "--theirs", none]) == 1
    assert "--resamples, above 0" in capsys.readouterr().err


def test_eval_diff_refuses_what_cannot_be_paired(tmp_path, capsys):
    good = write(tmp_path, GOOD, "good.json")
    assert main(["eval-diff", "--ours", good, good, "--theirs", good, good, good]) == 1
    assert "2 results against 3" in capsys.readouterr().err
    assert main(["eval-diff", "--ours", good, "--theirs", str(tmp_path / "none.json")]) == 1
    assert "no such file" in capsys.readouterr().err
