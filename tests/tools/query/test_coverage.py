"""What is covered: missing, changed and orphaned vectors, and lists that embed takes."""

import json
import re
import shutil

import numpy as np
import pytest

import store
from store.common.errors import InvalidKeysError
from store.common.outputs import KEY_LIST, Outputs
from store.sources.keylist import line_of
from tests.tools.query.conftest import KEYS, embed, shard_of
from tests.trainer.examples import captions_of, write_shard, write_tar
from tools.__main__ import main


def coverage(capsys, *arguments):
    """Exit status, and the answer as json."""
    status = main(["store", "coverage", *map(str, arguments), "--json"])
    return status, json.loads(capsys.readouterr().out)["fields"]


def test_all_is_covered_after_embedding(embedded, shards, capsys):
    assert main(["store", "coverage", str(embedded), "--shards", *shards]) == 0
    out = capsys.readouterr().out
    assert "clip/long: 12 vectors, for the captions 'long'" in out
    assert out.count("12 of 12 captions have their vector") == 2
    status, fields = coverage(capsys, embedded, "--fields", "clip/short", "--shards", *shards)
    assert (status, list(fields)) == (0, ["clip/short"])
    assert fields["clip/short"] == {
        "field": "clip/short", "caption_field": "short", "num_vectors": 12, "num_samples": 12, "num_covered": 12,
        "num_unknown": 0, "num_empty": 0, "num_absent": 0, "missing": [], "changed": [], "orphans": [],
    }  # fmt: skip


def test_info_tells_how_many_samples_have_a_vector(embedded, shards, tmp_path, capsys):
    more = write_shard(tmp_path / "more.tar", ["new"])
    assert main(["store", "info", str(embedded), "--shards", shards[0], more]) == 0
    assert capsys.readouterr().out.count("  6 of 7 samples have a vector; 6 vectors have no sample here\n") == 2
    assert main(["store", "info", str(embedded), "--shards", shards[0], more, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["fields"]["clip/long"]["coverage"]
    assert found == {"num_samples": 7, "num_covered": 6, "num_without_sample": 6, "uncovered": ["new"]}


def test_each_kind_of_gap_is_told_apart(embedded, tmp_path, capsys):
    samples: dict[str, object] = {key: captions_of(key) for key in KEYS[:9]}
    samples[KEYS[1]] = captions_of(KEYS[1]) | {"short": "something else"}
    samples[KEYS[2]] = captions_of(KEYS[2]) | {"short": " "}
    samples[KEYS[3]] = {"long": captions_of(KEYS[3])["long"]}
    samples["new"] = captions_of("new")
    status, fields = coverage(capsys, embedded, "--shards", shard_of(tmp_path / "a.tar", samples))
    short, long = fields["clip/short"], fields["clip/long"]
    assert status == 1
    assert (short["missing"], short["changed"], short["orphans"]) == (["new"], [KEYS[1]], KEYS[9:])
    assert (short["num_samples"], short["num_covered"], short["num_empty"], short["num_absent"]) == (10, 6, 1, 1)
    assert (long["missing"], long["changed"], long["orphans"], long["num_covered"]) == (["new"], [], KEYS[9:], 9)


def test_vectors_without_a_sample_are_no_fault(embedded, shards, capsys):
    status, fields = coverage(capsys, embedded, "--shards", shards[0])
    assert (status, fields["clip/long"]["orphans"]) == (0, KEYS[6:])


def test_the_list_of_missing_keys_makes_embed_fill_the_gap(embedded, clip_folder, shards, tmp_path, capsys):
    path = shutil.copytree(embedded, tmp_path / "s.store")
    store.open(path, mode="a").drop_field("clip/long")
    embed(path, clip_folder, shards[:1])
    arguments = ["store", "coverage", str(path), "--shards", *shards, "--write-missing", str(tmp_path / "missing.txt")]
    assert main(arguments) == 1
    assert (tmp_path / "missing.txt").read_text().split() == KEYS[6:]
    embed(path, clip_folder, shards, "--keys", str(tmp_path / "missing.txt"))
    assert main([*arguments, "--overwrite"]) == 0
    assert (tmp_path / "missing.txt").read_text() == ""
    capsys.readouterr()


def test_lists_of_changed_and_orphaned_keys_are_written_too(embedded, tmp_path, capsys):
    changed = write_shard(tmp_path / "a.tar", KEYS[:2], {"short": "x", "long": "y"})
    files = [tmp_path / "changed.txt", tmp_path / "orphans.txt"]
    flags = ["--write-changed", str(files[0]), "--write-orphans", str(files[1])]
    assert main(["store", "coverage", str(embedded), "--shards", changed, *flags]) == 1
    assert [file.read_text().split() for file in files] == [KEYS[:2], KEYS[2:]]
    out = capsys.readouterr().out
    assert "2 have the vector of another caption: they changed, or these are other data: 00000, 00001\n" in out
    assert "10 vectors have no sample here: 00002, 00003, 00004, 00005, 00006, ...\n" in out


def test_keyed_files_and_key_lists_are_read_as_embed_reads_them(embedded, tmp_path, capsys):
    rows = [{"id": key, **captions_of(key)} for key in [*KEYS, "other"]]
    (tmp_path / "c.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "keys.txt").write_text("\n".join(KEYS[:5]))
    arguments = ["--captions", tmp_path / "c.jsonl", "--key-column", "id"]
    status, fields = coverage(capsys, embedded, *arguments)
    assert (status, fields["clip/long"]["missing"]) == (1, ["other"])
    status, fields = coverage(capsys, embedded, *arguments, "--keys", tmp_path / "keys.txt")
    assert (status, fields["clip/long"]["num_covered"], fields["clip/long"]["orphans"]) == (0, 5, KEYS[5:])


def test_vectors_of_unknown_captions_count_as_covered_and_are_told(tmp_path, embedded, shards, capsys):
    field = store.open(embedded).field("clip/long")
    made = store.create(tmp_path / "s.store")
    made.writer("imported", field.spec).commit("b", KEYS, field.get(KEYS), np.zeros(12, np.uint64))
    assert main(["store", "coverage", str(tmp_path / "s.store"), "--shards", *shards]) == 0
    assert "12 of 12 captions have their vector (12 of unknown captions)" in capsys.readouterr().out


def test_captions_of_ten_megabytes_and_ones_that_are_not_utf8_are_compared_like_any_other(embedded, tmp_path, capsys):
    big = {"short": "word " * 2_000_000, "long": "\\ud83d half a pair"}
    path = shard_of(tmp_path / "a.tar", {KEYS[0]: big})
    _, fields = coverage(capsys, embedded, "--shards", path)
    assert [fields[name]["changed"] for name in ("clip/short", "clip/long")] == [[KEYS[0]]] * 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shards", "none.tar"], "no such shard: 'none.tar'"),
        (["--shards", "{bad}", "--fields", "clip/sort"], "has no field 'clip/sort'"),
        (["--shards", "{bad}"], "the json of sample '00000' in shard '.*' cannot be read: 'utf-8' codec"),
        (
            ["--shards", "{good}", "--write-missing", "/dev/null/list.txt"],
            "'/dev/null' is not a folder",
        ),
        (["--captions", "captions.doc"], "caption file 'captions.doc' is not one of .jsonl"),
    ],
)
def test_what_cannot_be_read_or_written_is_one_sentence(embedded, tmp_path, capsys, arguments, message):
    places = {
        "{bad}": write_tar(tmp_path / "bad.tar", [("00000.json", b'{"short": "\xff"}')]),
        "{good}": write_shard(tmp_path / "good.tar", KEYS[:1]),
    }
    assert main(["store", "coverage", str(embedded), *(places.get(a, a) for a in arguments)]) == 1
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert error.startswith("keyclip: error: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("key", ["a\nb", " a", "a\x85", "a\u2028b"])
def test_keys_that_no_line_can_hold_are_refused_and_the_older_list_stays(tmp_path, key):
    file = tmp_path / "keys.txt"
    file.write_text("fine\n")
    with (
        pytest.raises(InvalidKeysError, match="cannot stand in a list of one key a line"),
        Outputs(overwrite=True) as outputs,
    ):
        outputs.lines(outputs.claim(file, KEY_LIST)).write(map(line_of, ["first", key]))
    assert file.read_text() == "fine\n"
    assert list(tmp_path.iterdir()) == [file]


def test_a_store_without_fields_is_told(tmp_path, shards, capsys):
    store.create(tmp_path / "s.store")
    assert main(["store", "coverage", str(tmp_path / "s.store"), "--shards", *shards]) == 1
    assert "has no fields yet; run `keyclip embed`" in capsys.readouterr().err
