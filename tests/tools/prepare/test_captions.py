"""``keyclip data captions``: a keyed table and shards become a caption file that embed takes."""

import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embedder.reading.captions import file_rows
from tests.tools.prepare.examples import contents, printed_json, read_lines, read_parquet, write_csv
from tests.trainer.examples import write_shard
from tools.__main__ import main


def captions(*arguments: object) -> int:
    return main(["data", "captions", *map(str, arguments)])


@pytest.fixture
def shard(tmp_path):
    """Samples c, a, b in this order."""
    return write_shard(tmp_path / "00000.tar", ["c", "a", "b"])


TRICKY = [
    {"key": "a", "short": 'a "red" cube,\nand more', "long": "line one\r\nline two"},
    {"key": "b", "short": "écru; 猫", "long": ""},
    {"key": "c", "short": "NUL \0 inside", "long": "plain"},
]
EXPECTED = [
    ("c", ["NUL \0 inside", "plain"]),
    ("a", ['a "red" cube,\nand more', "line one\r\nline two"]),
    ("b", ["écru; 猫", None]),
]


def write_table(path):
    if path.suffix in (".csv", ".tsv"):
        write_csv(path, TRICKY, "\t" if path.suffix == ".tsv" else ",")
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(TRICKY), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(TRICKY, indent=1))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in TRICKY))
    return path


@pytest.mark.parametrize("extension", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
def test_every_kind_of_table_becomes_the_same_keyed_file_in_the_shards_order(tmp_path, shard, extension):
    table, output = write_table(tmp_path / f"recaptions{extension}"), tmp_path / "captions.parquet"
    assert captions("--shards", shard, "--tables", table, "--output", output) == 0
    assert list(file_rows(str(output), "key", ["short", "long"], "error")) == EXPECTED
    assert not [name for name in contents(tmp_path) if name.startswith(".")]


def test_rows_and_samples_without_counterpart_are_listed(tmp_path, shard, capsys):
    rows = [{"key": "a", "x": "one"}, {"key": "zz", "x": "two"}, {"key": "", "x": "three"}]
    write_csv(tmp_path / "t.csv", rows)
    output = tmp_path / "captions.parquet"
    assert captions("--shards", shard, "--tables", tmp_path / "t.csv", "--output", output, "--json", "True") == 0
    report = printed_json(capsys)
    counts = ("num_samples", "num_rows", "num_matched", "num_unmatched", "num_ambiguous", "num_samples_without_row")
    assert [report[name] for name in counts] == [3, 3, 1, 2, 0, 2]
    assert read_parquet(output) == [{"key": "a", "x": "one", "matched_by": "key"}]
    assert read_parquet(tmp_path / "captions-unmatched.parquet") == [
        {"key": "zz", "x": "two"},
        {"key": None, "x": "three"},
    ]
    assert read_lines(tmp_path / "captions-without-captions.txt") == ["c", "b"]


def test_a_key_that_comes_twice_is_kept_once_if_both_rows_say_the_same_and_refused_its_captions_if_not(tmp_path, shard):
    rows = [("a", "same"), ("b", "this"), ("a", "same"), ("b", "that"), ("c", "only")]
    write_csv(tmp_path / "t.csv", [{"key": key, "x": text} for key, text in rows])
    assert captions("--shards", shard, "--tables", tmp_path / "t.csv", "--output", tmp_path / "c.parquet") == 0
    assert [(row["key"], row["x"]) for row in read_parquet(tmp_path / "c.parquet")] == [("c", "only"), ("a", "same")]
    ambiguous = read_parquet(tmp_path / "c-ambiguous.parquet")
    assert ambiguous == [{"key": "b", "x": "this", "candidates": "b"}, {"key": "b", "x": "that", "candidates": "b"}]
    assert read_lines(tmp_path / "c-without-captions.txt") == ["b"]


def test_keys_that_lost_their_zeros_are_padded_on_request(tmp_path):
    shard = write_shard(tmp_path / "s.tar", ["000000007", "000000012"])
    write_csv(tmp_path / "t.csv", [{"key": 7, "x": "seven"}, {"key": 12, "x": "twelve"}])
    arguments = ["--shards", shard, "--tables", tmp_path / "t.csv", "--output", tmp_path / "c.parquet"]
    assert captions(*arguments) == 1
    assert captions(*arguments, "--pad-keys", 9) == 0
    assert [row["key"] for row in read_parquet(tmp_path / "c.parquet")] == ["000000007", "000000012"]


def test_lists_of_captions_stay_lists(tmp_path, shard):
    (tmp_path / "t.jsonl").write_text(
        '{"key": "a", "captions": ["one", "two"]}\n{"key": "b", "captions": ["three", null]}\n'
    )
    assert captions("--shards", shard, "--tables", tmp_path / "t.jsonl", "--output", tmp_path / "c.parquet") == 0
    rows = list(file_rows(str(tmp_path / "c.parquet"), "key", ["captions.1"], "error"))
    assert rows == [("a", ["two"]), ("b", [None])]


def test_a_caption_of_ten_megabytes_is_kept_whole(tmp_path, shard):
    write_csv(tmp_path / "t.csv", [{"key": "a", "x": "word " * 2_000_000}])
    assert captions("--shards", shard, "--tables", tmp_path / "t.csv", "--output", tmp_path / "c.parquet") == 0
    assert len(read_parquet(tmp_path / "c.parquet")[0]["x"]) == 10_000_000


def test_metadata_beside_the_shards_names_the_same_samples(tmp_path, downloaded):
    rows = [{"key": key, "x": f"caption of {key}"} for key in sorted(downloaded.keys)]
    write_csv(tmp_path / "t.csv", rows)
    for kind in ("tar", "parquet"):
        shards = str(downloaded.folder / f"*.{kind}")
        assert (
            captions("--shards", shards, "--tables", tmp_path / "t.csv", "--output", tmp_path / f"{kind}.parquet") == 0
        )
    assert [row["key"] for row in read_parquet(tmp_path / "tar.parquet")] == downloaded.keys
    assert [row["key"] for row in read_parquet(tmp_path / "parquet.parquet")] == sorted(downloaded.keys)


GOOD = b"key,x\na,one\nb,two\n"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"key,x\na,one\nb,two,three\n", r"row 2 of '.*t.csv' has 3 columns, the header 2 \(key, x\)"),
        ("t.csv", b'key,x\na,one\nb,"two\n', "row 2 of '.*t.csv' cannot be read as csv: unexpected end of data"),
        ("t.csv", b'key,x\na,"one"x\n', "row 1 of '.*t.csv' cannot be read as csv"),
        ("t.csv", b"key,x\na,one\nb,caf\xe9\n", "t.csv' is not UTF-8 text after row .*; convert it"),
        ("t.csv", b"id,x\na,one\n", "t.csv' has no column 'key'; there are 'id', 'x': .*--key-column"),
        (
            "t.csv",
            b"key,x\nq,one\n",
            "no row belongs to any sample: the first row has key 'q', the first sample is 'c'",
        ),
        ("t.csv", b"", "t.csv' holds no rows"),
        ("t.csv", b"key\na\n", "t.csv' has no column besides 'key'; expected captions"),
        ("t.csv", b"key,x,x\na,one,two\n", "t.csv' has two columns 'x'; give each its own name"),
        ("t.jsonl", b'{"x": ' + b"[" * 10**5, "line 1 of '.*t.jsonl' is not json: maximum recursion depth"),
        ("t.json", b'[{"x": ' + b"[" * 10**5, "row 1 of '.*t.json' cannot be decoded: maximum recursion depth"),
        ("t.json", b'[{"x": ' + b"9" * 5000 + b"}]", "row 1 of '.*t.json' cannot be decoded: Exceeds the limit"),
        ("t.json", b'[{"key": "a", "x": "one"}', "t.json' ends after row 1, inside its array"),
        ("t.json", b'[{"key": "a", "x": "one"}, {"key', "row 2 of '.*t.json' is not json"),
        ("t.jsonl", b'{"key": "a", "x": "\\ud800"}', "row 1 of '.*t.jsonl' holds half a surrogate pair"),
        (
            "t.jsonl",
            b'{"key": "a", "x": "b"}\n{"key": "b", "x": [1]}',
            "row 2 of .* holds list as 'x', the first row text",
        ),
        ("t.parquet", b"PAR1 cut short", "t.parquet' cannot be read as parquet"),
        ("t.xlsx", GOOD, "t.xlsx' is not one of .jsonl, .json, .csv, .tsv, .parquet"),
    ],
)
def test_a_table_that_cannot_be_used_is_one_sentence_and_leaves_everything_as_it_was(
    tmp_path, shard, capsys, name, content, message
):
    (tmp_path / "captions.parquet").write_bytes(b"PAR1, from before")
    (tmp_path / name).write_bytes(content)
    before = contents(tmp_path)
    output = ["--output", tmp_path / "captions.parquet", "--overwrite"]
    assert captions("--shards", shard, "--tables", tmp_path / name, *output) == 1
    error = capsys.readouterr().err
    assert error.startswith("keyclip: error: ")
    assert error.count("\n") == 1
    assert re.search(message, error), error
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("shard", "message"),
    [
        ("cut.tar", "shard '.*cut.tar' .*download it again"),
        ("twice.tar", "sample key 'a' is in several of the shards"),
        ("break.tar", "is no line of a key list"),
        ("no-key.parquet", r"no-key.parquet' has no column 'key' \(there are url\)"),
        ("none.tar", "no such shard"),
    ],
)
def test_shards_that_cannot_be_used_are_one_sentence_and_leave_everything_as_it_was(tmp_path, shard, capsys, message):
    folder = tmp_path
    good = write_shard(folder / "good.tar", ["a"])
    (folder / "cut.tar").write_bytes((folder / "good.tar").read_bytes()[:1500])
    write_shard(folder / "twice.tar", ["b", "a"])
    write_shard(folder / "break.tar", ["b\nc"])
    pq.write_table(pa.table({"url": ["u"]}), folder / "no-key.parquet")
    (folder / "t.csv").write_bytes(GOOD)
    before = contents(folder)
    arguments = ["--shards", good, folder / shard, "--tables", folder / "t.csv", "--output", folder / "c.parquet"]
    assert captions(*arguments) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("keyclip: error: ")
    assert re.search(message, error), error
    assert contents(folder) == before


def test_an_output_of_another_kind_or_in_the_place_of_a_folder_is_refused(tmp_path, shard, capsys):
    (tmp_path / "t.csv").write_bytes(GOOD)
    (tmp_path / "folder.parquet").mkdir()
    arguments = ["--shards", shard, "--tables", tmp_path / "t.csv", "--output"]
    assert captions(*arguments, tmp_path / "c.csv") == 1
    assert "expected a .parquet file" in capsys.readouterr().err
    assert captions(*arguments, tmp_path / "folder.parquet") == 1
    assert "is a folder" in capsys.readouterr().err
