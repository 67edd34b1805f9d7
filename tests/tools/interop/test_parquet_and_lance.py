"""Parquet files and Lance datasets: what others write comes in, what the store has goes out and in again."""

import importlib.util
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import store
from tests.tools.interop.examples import (
    DIM,
    FIELDS,
    captions_of,
    changed,
    contents,
    fails,
    fill,
    keys_of,
    make_vectors,
    run,
    write_images,
)
from tools.interop import arrow
from tools.interop.columns import column_names

KEYS = keys_of(0, 40)
KINDS = [
    "parquet",
    pytest.param(
        "lance",
        marks=[
            pytest.mark.skipif(importlib.util.find_spec("lance") is None, reason="pylance is not installed"),
            pytest.mark.filterwarnings("default"),
        ],
    ),
]


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def write(kind, path, table, **options):
    """A table as a file or dataset of somebody else."""
    if kind == "parquet":
        pq.write_table(table, path, **options)
    else:
        import lance

        lance.write_dataset(table, str(path))
    return path


def lists(rows, kind=None):
    """A column of fixed-size lists, or of another type."""
    rows = np.asarray(rows)
    return pa.array(rows.tolist(), kind or pa.list_(pa.from_numpy_dtype(rows.dtype), rows.shape[1]))


def do_import(tmp_path, kind, source, **flags):
    return run("vectors", "import", kind, source, store=tmp_path / "s.store", model="org/llm", **flags)


def stored(tmp_path, name):
    return store.open(tmp_path / "s.store").field(f"llm/{name}")


@pytest.mark.parametrize(
    ("number", "of_list"), [("float16", None), ("float32", None), ("float32", pa.list_), ("float64", pa.large_list)]
)
def test_columns_of_float_lists_become_fields(tmp_path, kind, number, of_list):
    rows = make_vectors("a", 40, dtype=np.float16).astype(number)
    column = lists(rows, of_list and of_list(pa.from_numpy_dtype(number)))
    source = write(
        kind, tmp_path / f"x.{kind}", pa.table({"key": KEYS, "n": range(40), "short": column, "long": column})
    )
    assert do_import(tmp_path, kind, source, block_size=7) == 0
    assert sorted(store.open(tmp_path / "s.store").fields()) == ["llm/long", "llm/short"]
    field = stored(tmp_path, "short")
    assert field.spec.dtype == ("float16" if number == "float16" else "float32")
    assert len(field.blocks()) == 6
    np.testing.assert_array_equal(field.get(KEYS, dtype="float32"), rows.astype(np.float32))
    assert (field.caption_hashes(KEYS) == store.UNKNOWN_CAPTION).all()


def test_columns_are_chosen_renamed_and_filtered_and_captions_come_from_shards_or_files(tmp_path, kind):
    rows = make_vectors("a", 40)
    table = pa.table({"id": KEYS, "embedding": lists(rows), "other": lists(rows)})
    source = write(kind, tmp_path / f"x.{kind}", table)
    (tmp_path / "keys.txt").write_text("\n".join(KEYS[5:30:3]))
    captions = [{"name": key, **captions_of(key)} for key in KEYS[20:]]
    (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, captions)))
    flags = {"caption_fields": "shortSV_captions=embedding", "key_column": "id", "keys": tmp_path / "keys.txt"}
    flags |= {"shards": write_images(tmp_path / "0.tar", KEYS[:15])}
    flags |= {"captions": tmp_path / "captions.jsonl", "caption_key_column": "name"}
    assert do_import(tmp_path, kind, source, **flags) == 0
    assert list(store.open(tmp_path / "s.store").fields()) == ["llm/shortSV_captions"]
    field = stored(tmp_path, "shortSV_captions")
    assert field.keys() == KEYS[5:30:3]
    np.testing.assert_array_equal(field.get(KEYS[5:30:3]), rows[5:30:3])
    expected = store.caption_hashes(captions_of(key)["shortSV_captions"] for key in KEYS)
    expected[15:20] = store.UNKNOWN_CAPTION
    np.testing.assert_array_equal(field.caption_hashes(KEYS[5:30:3]), expected[5:30:3])


def export(tmp_path, kind, **flags):
    flags = {"fields": [f"llm/{name}" for name in FIELDS], "output": tmp_path / f"out.{kind}"} | flags
    return run("vectors", "export", kind, tmp_path / "s.store", **flags)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_goes_out_comes_in_again_with_its_caption_hashes(tmp_path, kind, dtype, monkeypatch):
    columns = fill(tmp_path / "s.store", KEYS, dtype=dtype)
    more = keys_of(1, 30)
    fill(tmp_path / "s.store", more, dtype=dtype, block="c")
    flags = {"rows_per_file": 50} if kind == "parquet" else {}
    assert export(tmp_path, kind, **flags) == 0
    out = tmp_path / f"out.{kind}"
    sources = [out] if kind == "lance" else sorted(out.glob("*.parquet"))
    assert len(sources) == (1 if kind == "lance" else 2)
    assert run("vectors", "import", kind, *sources, store=tmp_path / "2.store", model="org/llm") == 0
    ours, theirs = store.open(tmp_path / "s.store"), store.open(tmp_path / "2.store")
    for name in FIELDS:
        field = theirs.field(f"llm/{name}")
        assert field.keys() == KEYS + more
        assert field.spec.dtype == dtype
        np.testing.assert_array_equal(field.get(KEYS, dtype="float32"), columns[name])
        hashes = ours.field(f"llm/{name}").caption_hashes(KEYS + more)
        np.testing.assert_array_equal(field.caption_hashes(KEYS + more), hashes)


def test_how_vectors_were_made_travels_with_them_and_flags_overrule_it(tmp_path, kind, capsys):
    columns = fill(tmp_path / "s.store", KEYS, ["captions.0"], dtype="float16")
    ours = store.open(tmp_path / "s.store").field("llm/captions.0").spec
    assert export(tmp_path, kind, fields="llm/captions.0=zero") == 0
    source = tmp_path / "out.lance" if kind == "lance" else tmp_path / "out.parquet/00000.parquet"
    assert run("vectors", "import", kind, source, store=tmp_path / "2.store") == 0
    again = store.open(tmp_path / "2.store").field("llm/captions.0")
    assert again.spec == ours
    np.testing.assert_array_equal(again.get(KEYS), columns["captions.0"].astype(np.float16))
    flags = {"model": "x/other", "pooling": "last", "normalize": True, "caption_fields": "caption=zero"}
    assert run("vectors", "import", kind, source, store=tmp_path / "2.store", **flags) == 0
    other = store.open(tmp_path / "2.store").field("other/caption").spec
    assert other.differences(ours) == [
        "model is 'x/other', not 'org/llm'",
        "pooling is 'last', not 'mean'",
        "normalize is True, not False",
        "caption_field is 'caption', not 'captions.0'",
    ]
    foreign = write(kind, tmp_path / f"x.{kind}", pa.table({"key": ["a"], "v": lists([[1.0]])}))
    status = run("vectors", "import", kind, foreign, store=tmp_path / "3.store")
    fails(capsys, status, "the file does not say which model made its vectors; name it with --model")
    assert not (tmp_path / "3.store").exists()


@pytest.mark.parametrize("record", [b"{", b"[]", b'{"v": {"model": 3}}', b'{"v": 1}'])
def test_a_record_of_the_making_that_cannot_be_read_is_one_sentence(tmp_path, capsys, record):
    table = pa.table({"key": ABC, "v": lists(GOOD)}).replace_schema_metadata({arrow.MADE_BY: record})
    path = write("parquet", tmp_path / "x.parquet", table)
    fails(capsys, do_import(tmp_path, "parquet", path), "the record in", "of how its vectors were made cannot be read")
    assert not (tmp_path / "s.store").exists()


def test_a_parquet_export_is_what_any_reader_expects(tmp_path):
    columns = fill(tmp_path / "s.store", KEYS, ["captions.0"])
    assert export(tmp_path, "parquet", fields="llm/captions.0", dtype="float16") == 0
    table = pq.read_table(tmp_path / "out.parquet/00000.parquet")
    assert table.schema.field("captions.0").type == pa.list_(pa.float16(), DIM)
    assert table["key"].to_pylist() == KEYS
    np.testing.assert_array_equal(np.array(table["captions.0"].to_pylist()), columns["captions.0"])
    assert table["captions.0_caption_hash"].to_pylist() == [store.caption_hash(f"captions.0 of {key}") for key in KEYS]


def test_a_key_list_and_a_missing_vector_shape_what_goes_out(tmp_path, kind, capsys):
    fill(tmp_path / "s.store", KEYS)
    fill(tmp_path / "s.store", ["only/short"], FIELDS[:1], block="c")
    fails(capsys, export(tmp_path, kind), "1 of 41 keys", "longSV_captions'", "first 'only/short'")
    assert export(tmp_path, kind, missing="skip") == 0
    assert "1 samples without vectors were left out" in capsys.readouterr().out
    (tmp_path / "keys.txt").write_text(KEYS[7])
    fails(capsys, export(tmp_path, kind, keys=tmp_path / "keys.txt"), "is there, and not as this export wrote it")
    assert export(tmp_path, kind, keys=tmp_path / "keys.txt", overwrite=True) == 0
    source = tmp_path / "out.lance" if kind == "lance" else tmp_path / "out.parquet/00000.parquet"
    assert run("vectors", "import", kind, source, store=tmp_path / "2.store", model="org/llm") == 0
    assert store.open(tmp_path / "2.store").field("llm/longSV_captions").keys() == [KEYS[7]]


def test_the_same_export_again_writes_nothing_and_a_longer_one_adds_files(tmp_path, kind, capsys):
    fill(tmp_path / "s.store", KEYS)
    flags = {"rows_per_file": 20} if kind == "parquet" else {}
    assert export(tmp_path, kind, **flags) == 0
    before = contents(tmp_path)
    capsys.readouterr()
    assert export(tmp_path, kind, json=True, **flags) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["num_files"], report["num_files_before"]) == (0, 2 if kind == "parquet" else 1)
    assert changed(before, contents(tmp_path)) == set()
    if kind == "parquet":
        fill(tmp_path / "s.store", ["more"], block="c")
        assert export(tmp_path, kind, **flags) == 0
        assert sorted(file.name for file in (tmp_path / "out.parquet").glob("*.parquet"))[-1] == "00002.parquet"


GOOD = make_vectors("good", 3)
NAN, INF = GOOD.copy(), GOOD.copy()
NAN[2, 1], INF[1, 0] = np.nan, np.inf
RAGGED = [[1.0, 2.0], [1.0, 2.0], [1.0]]
ABC = ["a", "b", "c"]
UNFIT = {
    "no key column": ({"id": ABC, "v": lists(GOOD)}, "has no column 'key'; there are id, v"),
    "numbers as keys": ({"key": [1, 2, 3], "v": lists(GOOD)}, "column 'key' of", "is of type int64; expected text"),
    "a null key": ({"key": ["a", None, "c"], "v": lists(GOOD)}, "row 1 of", "has no key in column 'key'"),
    "an empty key": ({"key": ["a", "b", ""], "v": lists(GOOD)}, "row 2 of", "has no key"),
    "a key twice": ({"key": ["a", "b", "a"], "v": lists(GOOD)}, "key 'a' comes twice", "at position 2"),
    "no vectors": ({"key": ABC, "v": [1.0, 2.0, 3.0]}, "float lists; there are key (string), v (double)"),
    "lists of integers": ({"key": ABC, "v": lists(np.ones((3, 2), int))}, "has no column of float lists"),
    "lists of text": ({"key": ABC, "v": [["x"], ["y"], ["z"]]}, "has no column of float lists"),
    "wrong length": ({"key": ABC, "v": RAGGED}, "of key 'c' (row 2) in column 'v'", "has 1 numbers; expected 2"),
    "null vector": ({"key": ABC, "v": [[1.0], None, [2.0]]}, "the vector of key 'b' (row 1)", "is null"),
    "first is null": ({"key": ABC, "v": [None, [1.0], [2.0]]}, "key 'a' in column 'v'", "is empty or null"),
    "null number": ({"key": ABC, "v": [[1.0], [None], [2.0]]}, "key 'b' (row 1)", "has a number that is null"),
    "nan": ({"key": ABC, "v": lists(NAN)}, "the vector of key 'c' is NaN or infinite"),
    "infinite": ({"key": ABC, "v": lists(INF)}, "the vector of key 'b' is NaN or infinite"),
    "no rows": ({"key": pa.array([], pa.string()), "v": pa.array([], pa.list_(pa.float32(), 2))}, "it has no row"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNFIT)
def test_a_table_that_does_not_fit_is_one_sentence_and_leaves_everything_as_it_was(tmp_path, kind, capsys, case):
    columns, *phrases = UNFIT[case]
    fill(tmp_path / "s.store", ["other"])
    source = write(kind, tmp_path / f"bad.{kind}", pa.table(columns))
    before = contents(tmp_path)
    fails(capsys, do_import(tmp_path, kind, source, block_size=1), f"bad.{kind}'", *phrases)
    assert changed(before, contents(tmp_path)) == set()


def test_a_column_that_is_named_must_be_there_and_hold_vectors(tmp_path, kind, capsys):
    source = write(kind, tmp_path / f"x.{kind}", pa.table({"key": ABC, "v": lists(GOOD), "n": [1, 2, 3]}))
    fails(capsys, do_import(tmp_path, kind, source, caption_fields="c=w"), "has no column 'w'; there are key, v, n")
    fails(capsys, do_import(tmp_path, kind, source, caption_fields="c=n"), "column 'n' of", "is of type int64")
    fails(capsys, do_import(tmp_path, kind, source, caption_fields="c="), "expected CAPTION_FIELD or CAPTION_FIELD=")
    fails(capsys, do_import(tmp_path, kind, source, caption_fields=["c=v", "c=n"]), "caption field 'c' is named twice")
    fails(capsys, do_import(tmp_path, kind, source, shards="x.tar"), "--shards and --captions need --caption-fields")
    assert not (tmp_path / "s.store").exists()


@pytest.mark.parametrize("length", [0, 4, 200, -20])
def test_a_parquet_file_that_is_damaged_is_one_sentence(tmp_path, capsys, length):
    path = write("parquet", tmp_path / "x.parquet", pa.table({"key": ABC, "v": lists(GOOD)}))
    path.write_bytes(path.read_bytes()[:length])
    fails(capsys, do_import(tmp_path, "parquet", path), "x.parquet' cannot be read as parquet")
    assert not (tmp_path / "s.store").exists()


def test_damage_inside_a_parquet_file_is_found_before_anything_is_stored(tmp_path, capsys):
    rows = make_vectors("many", 3000)
    table = pa.table({"key": [str(i) for i in range(3000)], "v": lists(rows)})
    options = {"compression": "ZSTD", "use_dictionary": False, "row_group_size": 500, "write_page_checksum": True}
    path = write("parquet", tmp_path / "x.parquet", table, **options)
    whole = bytearray(path.read_bytes())
    middle = len(whole) * 3 // 4
    whole[middle : middle + 100] = bytes(100)
    path.write_bytes(whole)
    fails(capsys, do_import(tmp_path, "parquet", path, block_size=100), "x.parquet'")
    assert not (tmp_path / "s.store").exists()


def test_what_is_no_dataset_is_one_sentence(tmp_path, capsys):
    pytest.importorskip("lance")
    fails(capsys, do_import(tmp_path, "lance", tmp_path / "none"), "no such dataset")
    (tmp_path / "empty").mkdir()
    fails(capsys, do_import(tmp_path, "lance", tmp_path / "empty"), "cannot be read as a Lance dataset")
    fill(tmp_path / "s.store", KEYS, ["captions.0"])
    status = export(tmp_path, "lance", fields="llm/captions.0")
    fails(capsys, status, "Lance takes no dots in names", "--fields llm/captions.0=captions_0")


def test_without_the_package_lance_says_what_to_install(tmp_path, capsys, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "lance" else find(name))
    (tmp_path / "x").mkdir()
    fails(capsys, do_import(tmp_path, "lance", tmp_path / "x"), "pip install 'keyclip[lance]'")


def test_files_larger_than_memory_are_read_twice_and_pieces_in_any_order_fit(tmp_path, monkeypatch):
    monkeypatch.setattr("tools.interop.importing.HELD_BYTES", 0)
    rows = make_vectors("a", 2000)
    keys = [f"{i}" for i in range(2000)]
    path = write("parquet", tmp_path / "x.parquet", pa.table({"key": keys, "v": lists(rows)}), row_group_size=700)
    assert do_import(tmp_path, "parquet", path, block_size=300) == 0
    np.testing.assert_array_equal(stored(tmp_path, "v").get(keys), rows)


def test_names_in_the_file_are_given_after_an_equals_sign():
    assert column_names(["a", "b=c", "captions.0=x=y"]) == {"a": "a", "b": "c", "captions.0": "x=y"}
    assert arrow.HASH.format("a") == "a_caption_hash"
