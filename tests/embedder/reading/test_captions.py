"""Captions from shards and keyed files: every format gives the same rows, every gap is named or counted."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embedder.reading.captions import ABSENT, chunks, file_rows, shard_rows, source_name
from store.common.errors import CaptionFieldError, ConfigError, DamagedShardError
from store.sources.keylist import read_keys


def test_rows_of_a_shard_hold_one_caption_per_field(make_shard):
    shard = make_shard("00000", {"k0": {"captions": ["one", "two"]}, "k1": {"captions": ["three", ""]}})
    rows = list(shard_rows(shard, ["captions.1", "captions.0"], "error"))
    assert rows == [("k0", ["two", "one"]), ("k1", [None, "three"])]


def test_a_field_with_a_leading_dot_is_a_text_member(make_shard):
    shard = make_shard(
        "0", {"k0": {"c": "in json"}, "k1": {"c": "in json"}}, txt={"k0": b"in txt", "k1": b"caf\xe9 \n"}
    )
    rows = list(shard_rows(shard, [".txt", "c"], "error"))
    assert rows == [("k0", ["in txt", "in json"]), ("k1", ["caf\ufffd \n", "in json"])]


def test_a_missing_field_names_the_shard_the_key_and_what_is_there(make_shard):
    shard = make_shard("00000", {"k0": {"caption": "one", "url": "u"}})
    with pytest.raises(CaptionFieldError, match=r"sample 'k0' of '.*00000.tar'.*'short'.*there are caption, url"):
        list(shard_rows(shard, ["short"], "error"))


def test_missing_fields_can_be_skipped_and_are_distinguished_from_empty_ones(make_shard):
    shard = make_shard("00000", {"k0": {"caption": "one"}, "k1": {}, "k2": {"caption": None}, "k3": {"caption": 7}})
    rows = list(shard_rows(shard, ["caption"], "skip"))
    assert rows == [("k0", ["one"]), ("k1", [ABSENT]), ("k2", [None]), ("k3", [ABSENT])]


ROWS = [{"key": "a/0", "text": "a red cube"}, {"key": "b", "text": 'two "balls",\nand more'}, {"key": "c", "text": ""}]


def write_jsonl(path):
    path.write_text("".join(json.dumps(row) + "\n\n" for row in ROWS))


def write_csv(path, delimiter=","):
    with path.open("w", newline="", encoding="utf-8-sig") as stream:
        writer = csv.DictWriter(stream, ["key", "text"], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(ROWS)


def write_parquet(path):
    pq.write_table(pa.Table.from_pylist([row | {"unused": 1.5} for row in ROWS]), path)


WRITERS = {
    ".jsonl": write_jsonl,
    ".csv": write_csv,
    ".tsv": lambda path: write_csv(path, "\t"),
    ".parquet": write_parquet,
}


@pytest.mark.parametrize("extension", WRITERS)
def test_keyed_files_of_every_format_give_the_same_rows(tmp_path, extension):
    path = tmp_path / f"captions{extension}"
    WRITERS[extension](path)
    rows = list(file_rows(str(path), "key", ["text"], "error"))
    assert rows == [("a/0", ["a red cube"]), ("b", ['two "balls",\nand more']), ("c", [None])]


@pytest.mark.parametrize("extension", WRITERS)
def test_a_keyed_file_without_the_caption_column_names_those_there_are(tmp_path, extension):
    path = tmp_path / f"captions{extension}"
    WRITERS[extension](path)
    with pytest.raises(CaptionFieldError, match=r"'a/0'.*no caption field 'longSV'.*there are key, text"):
        list(file_rows(str(path), "key", ["longSV"], "error"))


@pytest.mark.parametrize("extension", WRITERS)
def test_a_keyed_file_without_the_key_column_names_those_there_are(tmp_path, extension):
    path = tmp_path / f"captions{extension}"
    WRITERS[extension](path)
    with pytest.raises(ConfigError, match=r"has no 'Image Path'; name the key column with --key-column .*key, text"):
        list(file_rows(str(path), "Image Path", ["text"], "error"))


def test_lists_in_parquet_are_reached_by_a_path(tmp_path):
    pq.write_table(pa.Table.from_pylist([{"key": 7, "captions": ["one", "two"]}]), tmp_path / "c.parquet")
    rows = list(file_rows(str(tmp_path / "c.parquet"), "key", ["captions.1"], "error"))
    assert rows == [("7", ["two"])]


def test_a_huge_caption_in_csv_is_read(tmp_path):
    (tmp_path / "c.csv").write_text("key,text\nk," + "x" * 1_000_000 + "\n")
    (_, [caption]) = next(iter(file_rows(str(tmp_path / "c.csv"), "key", ["text"], "error")))
    assert len(caption) == 1_000_000


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("c.jsonl", b'{"key": "a", "text": "b"}\n{"key": ', DamagedShardError, "line 2 of .* is not json"),
        ("c.jsonl", b"[1]\n", DamagedShardError, "line 1 of .* is not a json object"),
        ("c.parquet", b"not parquet", DamagedShardError, "cannot be read as parquet"),
        ("c.xlsx", b"", ConfigError, "is not one of .jsonl, .json, .csv, .tsv, .parquet"),
        (None, b"", ConfigError, "no such caption file"),
    ],
)
def test_unreadable_files_get_one_sentence(tmp_path, name, content, error, message):
    if name:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message):
        list(file_rows(str(tmp_path / (name or "absent.jsonl")), "key", ["text"], "error"))


def test_chunks_keep_the_order_and_the_last_one_says_so():
    rows = [(str(i), [None]) for i in range(5)]
    cut = list(chunks("s", iter(rows), 2, None))
    assert [[key for key, _ in c.rows] for c in cut] == [["0", "1"], ["2", "3"], ["4"]]
    assert [c.last for c in cut] == [False, False, True]
    assert [c.rows for c in chunks("s", iter([]), 2, None)] == [[]]


def test_a_key_list_keeps_only_its_keys(tmp_path):
    (tmp_path / "keys.txt").write_text("3\n\n1\n")
    rows = [(str(i), [None]) for i in range(5)]
    (only,) = chunks("s", iter(rows), 10, read_keys(tmp_path / "keys.txt"))
    assert [key for key, _ in only.rows] == ["1", "3"]


def test_a_key_list_that_lists_nothing_is_an_error(tmp_path):
    (tmp_path / "keys.txt").write_text("\n")
    with pytest.raises(ConfigError, match="is empty"):
        read_keys(tmp_path / "keys.txt")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_keys(tmp_path / "absent.txt")


def test_blocks_are_called_after_the_file():
    assert source_name("/data/cc3m/00012.tar") == "00012"
    assert source_name("/data/prompts.v2.jsonl") == "prompts.v2"


TIMES = {
    "microseconds": pa.array([2**62], pa.timestamp("us")),
    "days": pa.array([2**31 - 1], pa.date32()),
    "duration": pa.array([2**62], pa.duration("s")),
}


@pytest.mark.parametrize("column", TIMES)
def test_dates_that_python_cannot_hold_do_no_harm_in_a_column_of_a_parquet_file(tmp_path, column):
    table = pa.table({"key": ["a"], "text": ["one"], "when": TIMES[column]})
    pq.write_table(table, tmp_path / "t.parquet")
    assert list(file_rows(str(tmp_path / "t.parquet"), "key", ["text"], "error")) == [("a", ["one"])]
    [(_, [text])] = file_rows(str(tmp_path / "t.parquet"), "key", ["when"], "error")
    assert isinstance(text, str)


@pytest.mark.parametrize("kind", [pa.list_(pa.timestamp("us")), pa.struct([("a", pa.list_(pa.date32()))])])
def test_dates_within_lists_and_structs_are_refused(tmp_path, kind):
    value = [2**62] if pa.types.is_list(kind) else {"a": [2**31 - 1]}
    pq.write_table(pa.table({"key": ["a"], "text": pa.array([value], kind)}), tmp_path / "t.parquet")
    with pytest.raises(DamagedShardError, match=r"column 'text' of '.*t.parquet' is of type .*; expected no dates"):
        list(file_rows(str(tmp_path / "t.parquet"), "key", ["text"], "error"))


def test_text_of_a_parquet_file_that_is_not_utf8_is_refused(tmp_path):
    broken = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")])
    pq.write_table(pa.table({"key": ["a"], "text": broken}), tmp_path / "t.parquet")
    with pytest.raises(DamagedShardError, match=r"t.parquet' cannot be read as parquet: .*UTF8"):
        list(file_rows(str(tmp_path / "t.parquet"), "key", ["text"], "error"))
