"""``keyclip store keys | get | stats | search`` as a user calls them."""

import json

import numpy as np
import pytest
from PIL import Image

import store
from tests.store.examples import make_block, make_spec
from tests.tools.query.conftest import KEYS, clip_folder, embedded, own_cache, shards  # noqa: F401
from tests.trainer.examples import captions_of
from tools.__main__ import main


@pytest.fixture(params=["lmdb", "zarr"])
def path(request, tmp_path):
    """Blocks a, b and c of a field ``f``, 20 vectors each."""
    made = store.create(tmp_path / "some.store", backend=request.param)
    writer = made.writer("f", make_spec())
    for block in "abc":
        writer.commit(block, *make_block(block, 20))
    return str(tmp_path / "some.store")


def test_keys_come_one_a_line_in_the_order_of_commits(path, capsys):
    assert main(["store", "keys", path]) == 0
    assert capsys.readouterr().out.split("\n") == [f"{b}/{i}" for b in "abc" for i in range(20)] + [""]
    assert main(["store", "keys", path, "--blocks", "c", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [f"c/{i}" for i in range(20)]
    assert main(["store", "keys", path, "--blocks", "z"]) == 1
    assert "no block 'z'" in capsys.readouterr().err


def test_a_key_that_holds_a_line_break_is_not_printed_as_two(path, capsys):
    writer = store.open(path, mode="a").writer("g", make_spec())
    writer.commit("x", ["two\nlines"], np.ones((1, 6), np.float32), store.caption_hashes(["x"]))
    assert main(["store", "keys", path, "--field", "g"]) == 1
    assert "'two\\nlines' cannot stand in a list" in capsys.readouterr().err
    assert main(["store", "keys", path, "--field", "g", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == ["two\nlines"]
    assert main(["store", "get", path, "two\nlines", "--field", "g"]) == 0
    assert capsys.readouterr().out.startswith("two\\nlines  length 2.449  1 1")


def test_the_field_must_be_named_where_there_are_several_or_none(path, tmp_path, capsys):
    store.open(path, mode="a").writer("g", make_spec())
    for command in (["keys"], ["get", "a/0"], ["stats"], ["search", "--key", "a/0"]):
        assert main(["store", command[0], path, *command[1:]]) == 1
        assert "has 2 fields; name one with --field: 'f', 'g'" in capsys.readouterr().err
    assert main(["store", "keys", path, "--field", "h"]) == 1
    assert "no field 'h'" in capsys.readouterr().err
    store.create(tmp_path / "empty.store")
    assert main(["store", "keys", str(tmp_path / "empty.store")]) == 1
    assert "has no fields yet" in capsys.readouterr().err


def test_get_shows_saves_and_prints_vectors_in_the_order_asked_for(path, tmp_path, capsys):
    vectors = np.concatenate([make_block("b", 20)[1][[7]], make_block("a", 20)[1][[3]]])
    (tmp_path / "keys.txt").write_text("a/3\n")
    keys = ["b/7", "--keys", str(tmp_path / "keys.txt")]
    assert main(["store", "get", path, *keys, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["field"], found["keys"], found["vectors"]) == ("f", ["b/7", "a/3"], vectors.tolist())
    assert main(["store", "get", path, *keys, "--npy", str(tmp_path / "v")]) == 0
    assert capsys.readouterr().out == f"2 vectors of 6 float16 saved to {tmp_path}/v\n"
    saved = np.load(tmp_path / "v")
    assert saved.dtype == np.float16
    np.testing.assert_array_equal(saved, vectors)
    assert main(["store", "get", path, "b/7"]) == 0
    numbers = " ".join(f"{x:.4g}" for x in vectors[0])
    assert capsys.readouterr().out == f"b/7  length {np.linalg.norm(vectors[0].astype(float)):.4g}  {numbers}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a/0", "x", "y"], "2 of 3 keys have no vector in field 'f': 'x', 'y'"),
        (["k" * 10_000_000], "1 of 1 keys have no vector in field 'f': 'kkkk"),
        ([], "no key is named"),
        (["--keys", "none.txt"], "the key list 'none.txt' cannot be read: No such file"),
        (["a/0", "--npy", "/dev/null/v.npy"], "'/dev/null' is not a folder"),
        (["a/0", "--npy", "/dev/null"], "'/dev/null' is a device, pipe or socket; give the path of a file"),
        (["a/0", "--npy", "/"], "'/' is a folder; give the path of a file"),
        (["\udcff"], "a sample key cannot be written as UTF-8"),
    ],
)
def test_what_get_cannot_do_is_one_short_sentence(path, capsys, arguments, message):
    assert main(["store", "get", path, *arguments]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"keyclip: error: {message}")
    assert captured.err.count("\n") == 1
    assert len(captured.err) < 500


def test_no_file_is_written_when_a_key_is_unknown(path, tmp_path):
    assert main(["store", "get", path, "a/0", "x", "--npy", str(tmp_path / "v.npy")]) == 1
    assert not (tmp_path / "v.npy").exists()


def test_a_matrix_that_cannot_be_finished_leaves_the_older_one_and_nothing_else(path, tmp_path, monkeypatch):
    file = tmp_path / "folder" / "v.npy"
    file.parent.mkdir()
    file.write_bytes(b"\x93NUMPY, older")
    monkeypatch.setattr("tools.commands.store.get.ROWS_AT_ONCE", 1)
    keys = ["store", "get", path, "a/0", "a/1", "--npy", str(file), "--overwrite"]

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("tools.commands.store.get.progress_bar", lambda quiet: full)
        assert main(keys) == 1
    assert file.read_bytes() == b"\x93NUMPY, older"
    assert list(file.parent.iterdir()) == [file]
    assert main(keys) == 0
    assert np.load(file).shape == (2, 6)
    assert list(file.parent.iterdir()) == [file]


def test_stats_are_printed_as_text_json_and_picture(path, tmp_path, capsys):
    assert main(["store", "stats", path, "--png", str(tmp_path / "h.png")]) == 0
    out = capsys.readouterr().out
    assert out.startswith("f: 60 vectors of 6 float16\n")
    assert "dead dimensions   0\n" in out
    assert "cosines between 60 vectors drawn at random" in out
    with Image.open(tmp_path / "h.png") as picture:
        assert picture.format == "PNG"
    assert main(["store", "stats", path, "--draw", "10", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["num_vectors"], found["near_duplicates"]["num_drawn"]) == (60, 10)
    assert sum(found["norms"]["counts"]) == 60


def test_search_by_key_leaves_the_key_itself_out(path, capsys):
    assert main(["store", "search", path, "--key", "a/3", "c/1", "--k", "5", "--json"]) == 0
    answers = json.loads(capsys.readouterr().out)["queries"]
    field = store.open(path).field("f")
    vectors = field.get(field.keys(), dtype="float32").astype(float)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for answer in answers:
        own = field.keys().index(answer["key"])
        best = [row for row in np.argsort(-(vectors @ vectors[own])) if row != own][:5]
        assert [hit["key"] for hit in answer["hits"]] == [field.keys()[row] for row in best]
    assert [answer["key"] for answer in answers] == ["a/3", "c/1"]
    assert main(["store", "search", path, "--key", "a/3", "--k", str(10**12), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["queries"][0]["hits"]) == 59


def test_search_by_text_finds_the_caption_itself_and_shows_it(embedded, clip_folder, shards, capsys):  # noqa: F811
    caption = captions_of(KEYS[4])["long"]
    argv = ["store", "search", str(embedded), "--field", "clip/long", "--model", str(clip_folder), "--device", "cpu"]
    assert main([*argv, "--text", caption, "--key", KEYS[1], "--k", "2", "--shards", *shards, "--json"]) == 0
    by_text, by_key = json.loads(capsys.readouterr().out)["queries"]
    assert (by_text["text"], by_text["hits"][0]["key"], by_text["hits"][0]["caption"]) == (caption, KEYS[4], caption)
    assert by_text["hits"][0]["similarity"] == pytest.approx(1, abs=1e-3)
    assert [len(by_text["hits"]), len(by_key["hits"])] == [2, 2]
    assert KEYS[1] not in [hit["key"] for hit in by_key["hits"]]
    assert main([*argv, "--text", caption, "--k", "1", "--shards", *shards]) == 0
    assert capsys.readouterr().out == f"nearest to {caption!r}\n    1  1.0000  {KEYS[4]}  {caption}\n"


@pytest.mark.parametrize("text", ["word " * 2_000_000, "half \udcff pair", "\ud83d"])
def test_search_takes_texts_of_any_kind(embedded, clip_folder, capsys, text):  # noqa: F811
    argv = ["store", "search", str(embedded), "--field", "clip/long", "--model", str(clip_folder), "--device", "cpu"]
    assert main([*argv, "--text", text]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 11
    assert len(out) < 2000


def test_search_says_in_one_sentence_what_it_cannot_find(path, capsys):
    for arguments, message in (
        (["--key", "x" * 10**6], "key 'xxxxx"),
        (["--text", "a dog"], "model 'tiny-llm' is neither a folder nor available from the hub"),
        (["--key", "a/0", "--shards", "none.tar"], "no such shard: 'none.tar'"),
    ):
        assert main(["store", "search", path, *arguments]) == 1
        error = capsys.readouterr().err
        assert error.startswith(f"keyclip: error: {message}")
        assert error.count("\n") == 1
        assert len(error) < 500
    for arguments in ([], ["--text", " "]):
        assert main(["store", "search", path, *arguments]) == 1
