"""clip-retrieval's folders: numbered matrices and, row by row, their metadata."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import store
from tests.tools.interop.examples import DIM, changed, contents, fails, fill, keys_of, make_vectors, run

SIZES = {0: 4, 1: 3, 2: 5, 10: 2}
"""Rows by number; as names, 10 comes before 2."""
KEYS = {number: keys_of(number, size) for number, size in SIZES.items()}


def write_folder(folder, dtype=np.float16, digits=1):
    """As clip-retrieval writes it, with the columns of its own metadata; returns the vectors by number."""
    for name in ("text_emb", "img_emb", "metadata"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    vectors = {}
    for number, keys in KEYS.items():
        vectors[number] = make_vectors(f"text {number}", len(keys)).astype(dtype)
        np.save(folder / f"text_emb/text_emb_{number:0{digits}d}.npy", vectors[number])
        np.save(folder / f"img_emb/img_emb_{number:0{digits}d}.npy", -vectors[number])
        table = pa.table({"image_path": keys, "caption": [f"caption of {key}" for key in keys]})
        pq.write_table(table, folder / f"metadata/metadata_{number:0{digits}d}.parquet")
    return vectors


def do_import(tmp_path, folder="in", **flags):
    flags = {"caption_field": "caption", "key_column": "image_path", "store": tmp_path / "s.store"} | flags
    return run("vectors", "import", "clip-retrieval", tmp_path / folder, model="openai/clip", kind="clip-text", **flags)


def stored(tmp_path):
    return store.open(tmp_path / "s.store").field("clip/caption")


@pytest.mark.parametrize("digits", [1, 4])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_rows_go_by_the_metadata_of_their_number(tmp_path, dtype, digits):
    vectors = write_folder(tmp_path / "in", dtype, digits)
    assert do_import(tmp_path, caption_column="caption") == 0
    field = stored(tmp_path)
    assert (field.spec.dtype, field.spec.kind) == ("float16" if dtype is np.float16 else "float32", "clip-text")
    for number, keys in KEYS.items():
        np.testing.assert_array_equal(field.get(keys, dtype="float32"), vectors[number].astype(np.float32))
        expected = store.caption_hashes(f"caption of {key}" for key in keys)
        np.testing.assert_array_equal(field.caption_hashes(keys), expected)


def test_the_images_matrices_come_in_when_asked_and_again_is_known(tmp_path, capsys):
    vectors = write_folder(tmp_path / "in")
    assert do_import(tmp_path, embeddings="img_emb") == 0
    np.testing.assert_array_equal(stored(tmp_path).get(KEYS[10]), -vectors[10])
    assert (stored(tmp_path).caption_hashes(KEYS[0]) == store.UNKNOWN_CAPTION).all()
    capsys.readouterr()
    assert do_import(tmp_path, embeddings="img_emb", json=True) == 0
    assert json.loads(capsys.readouterr().out)["fields"]["clip/caption"]["there_before"] == 14


def test_a_matrix_in_columns_order_is_read_rightly(tmp_path):
    vectors = write_folder(tmp_path / "in")
    np.save(tmp_path / "in/text_emb/text_emb_0.npy", np.asfortranarray(vectors[0]))
    assert do_import(tmp_path) == 0
    np.testing.assert_array_equal(stored(tmp_path).get(KEYS[0]), vectors[0])


class Hostile:
    """What an attacker would pickle: loading it writes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


NAN = np.zeros((5, DIM))
NAN[4, 0] = np.nan
UNFIT = {
    "code": (None, "cannot be read as a matrix of numbers", "object"),
    "integers": (np.zeros((5, DIM), int), "holds int64 of shape (5, 6); expected a matrix (n, d) of float numbers"),
    "one dimension": (np.zeros(5), "of shape (5,)"),
    "empty": (np.zeros((0, DIM)), "of shape (0, 6)"),
    "more rows": (np.zeros((6, DIM)), "has 6 rows, its metadata", "a row for each vector"),
    "nan": (NAN, f"the vector of key {KEYS[2][4]!r} is NaN or infinite"),
    "too large": (np.full((5, DIM), 1e300), "is too large for float32"),
}


@pytest.mark.parametrize("case", UNFIT)
@pytest.mark.filterwarnings("default")
def test_a_matrix_that_does_not_fit_is_one_sentence_and_nothing_of_it_is_stored(tmp_path, capsys, case):
    value, *phrases = UNFIT[case]
    write_folder(tmp_path / "in", np.float32)
    if value is None:
        value = np.array([Hostile(tmp_path / "pwned")] * 5, dtype=object)
    np.save(tmp_path / "in/text_emb/text_emb_2.npy", value, allow_pickle=True)
    fails(capsys, do_import(tmp_path, block_size=1), "text_emb_2.npy'", *phrases)
    assert not (tmp_path / "pwned").exists()
    assert stored(tmp_path).keys() == KEYS[0] + KEYS[1]


@pytest.mark.parametrize("length", [0, 5, 60, 130])
def test_a_matrix_that_is_cut_short_or_an_archive_is_one_sentence(tmp_path, capsys, length):
    write_folder(tmp_path / "in")
    matrix = tmp_path / "in/text_emb/text_emb_0.npy"
    matrix.write_bytes(matrix.read_bytes()[:length])
    fails(capsys, do_import(tmp_path), "text_emb_0.npy' cannot be read as a matrix of numbers")
    with matrix.open("wb") as file:
        np.savez(file, a=np.zeros((4, DIM)))
    fails(capsys, do_import(tmp_path), "text_emb_0.npy' cannot be read as a matrix of numbers")
    assert not (tmp_path / "s.store").exists()


def test_a_number_without_its_counterpart_or_keys_is_named(tmp_path, capsys):
    write_folder(tmp_path / "in")
    fails(capsys, do_import(tmp_path, key_column="key"), "has no column 'key'; there are image_path, caption")
    fails(capsys, do_import(tmp_path, caption_column="text"), "has no column 'text'")
    (tmp_path / "in/metadata/metadata_2.parquet").unlink()
    fails(capsys, do_import(tmp_path), "has no metadata number 2")
    (tmp_path / "in/text_emb/text_emb_1.npy").unlink()
    fails(capsys, do_import(tmp_path), "has no text_emb number 1")
    fails(capsys, do_import(tmp_path, "nothing"), "has no text_emb/text_emb_0.npy")
    assert not (tmp_path / "s.store").exists()


def export(tmp_path, **flags):
    flags = {"field": "llm/caption", "output": tmp_path / "out"} | flags
    return run("vectors", "export", "clip-retrieval", tmp_path / "s.store", **flags)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_field_goes_out_in_numbered_pairs_and_comes_in_again(tmp_path, dtype, capsys):
    keys = [key for some in KEYS.values() for key in some]
    columns = fill(tmp_path / "s.store", keys, ["caption"], dtype=dtype)
    assert export(tmp_path, rows_per_file=4) == 0
    for number, start in enumerate(range(0, 14, 4)):
        matrix = np.load(tmp_path / f"out/text_emb/text_emb_{number}.npy")
        assert matrix.dtype == dtype
        np.testing.assert_array_equal(matrix, columns["caption"][start : start + 4])
        metadata = pq.read_table(tmp_path / f"out/metadata/metadata_{number}.parquet")
        assert metadata["key"].to_pylist() == keys[start : start + 4]
    capsys.readouterr()
    before = contents(tmp_path / "out")
    assert export(tmp_path, rows_per_file=4, json=True) == 0
    assert json.loads(capsys.readouterr().out)["num_files_before"] == 8
    assert changed(before, contents(tmp_path / "out")) == set()
    importing = ["vectors", "import", "clip-retrieval", tmp_path / "out", "--caption-field", "caption"]
    assert run(*importing, store=tmp_path / "2.store") == 0
    again = store.open(tmp_path / "2.store").field("llm/caption")
    assert again.spec == store.open(tmp_path / "s.store").field("llm/caption").spec
    np.testing.assert_array_equal(again.get(keys, dtype="float32"), columns["caption"])
    np.testing.assert_array_equal(again.caption_hashes(keys), store.caption_hashes(f"caption of {k}" for k in keys))


def test_a_file_in_the_way_is_kept_unless_asked(tmp_path, capsys):
    fill(tmp_path / "s.store", KEYS[0], ["caption"])
    (tmp_path / "out/text_emb").mkdir(parents=True)
    (tmp_path / "out/text_emb/text_emb_0.npy").write_bytes(b"\x93NUMPY, mine")
    fails(capsys, export(tmp_path), "text_emb_0.npy' is there, and not as this export wrote it")
    assert contents(tmp_path / "out") == {"text_emb/text_emb_0.npy": b"\x93NUMPY, mine"}
    assert export(tmp_path, overwrite=True) == 0
    assert np.load(tmp_path / "out/text_emb/text_emb_0.npy").shape == (4, DIM)
