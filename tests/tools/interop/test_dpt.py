"""Evaluation features: tensors without keys, loaded without running what a file may hold."""

import json
import zipfile

import numpy as np
import pytest
import torch

import store
from tests.tools.interop.examples import DIM, captions_of, changed, contents, fails, fill, keys_of, run, write_images

KEYS = keys_of(0, 5)
CAPTIONS = ("captions.0", "captions.1")


def save(path, value, **options):
    torch.save(value, path, **options)
    path.with_suffix(".keys.txt").write_text("\n".join(KEYS))
    return path


def tensor(*shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float32).to(dtype)


def do_import(tmp_path, file, **flags):
    flags = {"caption_fields": CAPTIONS, "store": tmp_path / "s.store", "model": "org/llm"} | flags
    return run("vectors", "import", "dpt", file, **flags)


def stored(tmp_path, name):
    return store.open(tmp_path / "s.store").field(f"llm/{name}")


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}], ids=["zip", "legacy"])
def test_every_caption_of_an_image_becomes_a_field(tmp_path, options):
    features = tensor(5, 2, DIM)
    assert do_import(tmp_path, save(tmp_path / "x.dpt", features, **options)) == 0
    for number, name in enumerate(CAPTIONS):
        assert stored(tmp_path, name).get(KEYS).tobytes() == features[:, number].numpy().tobytes()
        assert (stored(tmp_path, name).caption_hashes(KEYS) == store.UNKNOWN_CAPTION).all()


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        (torch.float16, "float16"),
        (torch.bfloat16, "bfloat16"),
        (torch.float32, "float32"),
        (torch.float64, "float32"),
    ],
)
def test_numbers_are_stored_as_the_tensor_has_them(tmp_path, dtype, name):
    features = tensor(5, DIM, dtype=dtype)
    assert do_import(tmp_path, save(tmp_path / "x.dpt", features), caption_fields="caption") == 0
    assert stored(tmp_path, "caption").spec.dtype == name
    np.testing.assert_array_equal(stored(tmp_path, "caption").get(KEYS, dtype="float32"), features.float().numpy())


def test_rows_go_by_the_shards_and_captions_come_from_their_json(tmp_path):
    fields = ("shortSV_captions", "nowhere")
    shards = [write_images(tmp_path / "0.tar", KEYS[:2]), write_images(tmp_path / "1.tar", KEYS[2:])]
    features = tensor(5, 2, DIM)
    torch.save(features, tmp_path / "x.dpt")
    assert do_import(tmp_path, tmp_path / "x.dpt", caption_fields=fields, shards=shards) == 0
    field = stored(tmp_path, "shortSV_captions")
    np.testing.assert_array_equal(field.get(KEYS), features[:, 0])
    expected = store.caption_hashes(captions_of(key)["shortSV_captions"] for key in KEYS)
    np.testing.assert_array_equal(field.caption_hashes(KEYS), expected)
    assert (stored(tmp_path, "nowhere").caption_hashes(KEYS) == store.UNKNOWN_CAPTION).all()


def test_a_key_list_chooses_rows(tmp_path):
    features = tensor(5, DIM)
    (tmp_path / "keys.txt").write_text("\n".join([KEYS[3], KEYS[1]]))
    file = save(tmp_path / "x.dpt", features)
    assert do_import(tmp_path, file, caption_fields="c", keys=tmp_path / "keys.txt", block_size=1) == 0
    assert stored(tmp_path, "c").keys() == [KEYS[1], KEYS[3]]
    np.testing.assert_array_equal(stored(tmp_path, "c").get([KEYS[3]]), features[[3]])


def test_the_same_import_again_is_known(tmp_path, capsys):
    file = save(tmp_path / "x.dpt", tensor(5, 2, DIM, dtype=torch.bfloat16))
    assert do_import(tmp_path, file) == 0
    capsys.readouterr()
    assert do_import(tmp_path, file, json=True) == 0
    assert [f["there_before"] for f in json.loads(capsys.readouterr().out)["fields"].values()] == [5, 5]


class Hostile:
    """What an attacker would pickle: loading it writes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


NAN = torch.full((5, DIM), 0.5)
NAN[3, 2] = float("nan")
UNFIT = {
    "code": (Hostile, "pickled objects of other kinds, which are never loaded"),
    "dict": ({"features": torch.zeros(5, DIM)}, "holds a dict; expected one float tensor"),
    "list": ([torch.zeros(5, DIM)], "holds a list"),
    "integers": (torch.zeros(5, DIM, dtype=torch.int64), "torch.int64"),
    "sparse": (torch.eye(5).to_sparse(), "torch.sparse_coo; expected a dense float tensor"),
    "one dimension": (torch.zeros(5), r"of shape (5,); expected [images"),
    "four dimensions": (torch.zeros(5, 1, 1, 1), "of shape (5, 1, 1, 1)"),
    "empty": (torch.zeros(0, DIM), "not empty"),
    "more rows": (torch.zeros(6, DIM), "has 6 rows, but there are 5 keys"),
    "more captions": (torch.zeros(5, 3, DIM), "has 3 captions for each image, but 1 caption fields are named"),
    "nested": (lambda: torch.nested.nested_tensor([torch.zeros(2, DIM)] * 5), "float tensor"),
    "meta": (torch.zeros(5, DIM, device="meta"), "meta; expected a dense float tensor"),
    "overlapping": (torch.zeros(1).expand(5, 2**40), "with fewer numbers than that; expected a dense float tensor"),
    "nan": (NAN, f"the vector of key {KEYS[3]!r} is NaN or infinite"),
}


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}], ids=["zip", "legacy"])
@pytest.mark.parametrize("case", UNFIT)
@pytest.mark.filterwarnings("default")
def test_what_is_no_tensor_of_features_is_one_sentence_and_nothing_happens(tmp_path, capsys, case, options):
    value, phrase = UNFIT[case]
    if case == "nested":  # made here, where its warning is let pass
        value = value()
    if value is Hostile:
        value = Hostile(tmp_path / "pwned")
    fill(tmp_path / "s.store", ["other"])
    file = save(tmp_path / "x.dpt", value, **options)
    before = contents(tmp_path)
    fails(capsys, do_import(tmp_path, file, caption_fields="c", block_size=2), "x.dpt", phrase)
    assert changed(before, contents(tmp_path)) == set()


@pytest.mark.parametrize("bytes_", [b"", b"PK\x03\x04", b"<html>", b"\x80\x02."])
def test_a_file_of_something_else_is_one_sentence(tmp_path, capsys, bytes_):
    file = save(tmp_path / "x.dpt", 0)
    file.write_bytes(bytes_)
    fails(capsys, do_import(tmp_path, file), "x.dpt' cannot be read as features")
    assert not (tmp_path / "s.store").exists()


def test_a_file_that_is_cut_short_or_another_archive_is_one_sentence(tmp_path, capsys):
    file = save(tmp_path / "x.dpt", tensor(5, 2, DIM))
    file.write_bytes(file.read_bytes()[:-200])
    fails(capsys, do_import(tmp_path, file), "cannot be read as features")
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/data.pkl", b"?")
    fails(capsys, do_import(tmp_path, file), "cannot be read as features")


def test_row_keys_are_asked_for_and_must_differ(tmp_path, capsys):
    torch.save(tensor(5, 2, DIM), tmp_path / "x.dpt")
    fails(capsys, do_import(tmp_path, tmp_path / "x.dpt"), "x.keys.txt' cannot be read")
    (tmp_path / "x.keys.txt").write_text("\n".join([*KEYS[:4], KEYS[1]]))
    fails(capsys, do_import(tmp_path, tmp_path / "x.dpt"), f"key {KEYS[1]!r} comes twice", "position 4")
    (tmp_path / "x.keys.txt").write_bytes(b"\xff\n" * 5)
    fails(capsys, do_import(tmp_path, tmp_path / "x.dpt"), "x.keys.txt' cannot be read: it is not UTF-8 text")
    fails(capsys, do_import(tmp_path, tmp_path / "none.dpt", row_keys=tmp_path / "x.keys.txt"), "x.keys.txt")
    (tmp_path / "x.keys.txt").write_text("\n".join(KEYS))
    fails(capsys, do_import(tmp_path, tmp_path / "none.dpt", row_keys=tmp_path / "x.keys.txt"), "no such file")


@pytest.mark.parametrize(
    ("command", "phrase"),
    [
        ("import dpt x.dpt --store s --model m --caption-fields c --row-keys k --shards t", "either --shards or --row"),
        ("export dpt s --output x.dpt --fields f --row-keys k --shards t", "either --shards or --row-keys"),
        ("export dpt s --output x.pt --fields f", "with the ending .dpt"),
    ],
)
def test_settings_that_contradict_are_refused(capsys, command, phrase):
    assert run("vectors", *command.split()) == 1
    assert phrase in " ".join(capsys.readouterr().err.split())


def export(tmp_path, **flags):
    flags = {"fields": [f"llm/{name}" for name in CAPTIONS], "output": tmp_path / "out/f.dpt"} | flags
    return run("vectors", "export", "dpt", tmp_path / "s.store", **flags)


def test_fields_go_out_as_one_tensor_and_come_in_again(tmp_path):
    columns = fill(tmp_path / "s.store", KEYS, CAPTIONS)
    shards = [write_images(tmp_path / "0.tar", sorted(KEYS))]
    assert export(tmp_path, shards=shards) == 0
    features = torch.load(tmp_path / "out/f.dpt", weights_only=True)
    assert (features.shape, features.dtype) == ((5, 2, DIM), torch.float32)
    expected = np.stack([columns[name] for name in CAPTIONS], axis=1)
    np.testing.assert_array_equal(features.numpy(), expected[np.argsort(KEYS)])
    assert (tmp_path / "out/f.keys.txt").read_text().split() == sorted(KEYS)
    assert do_import(tmp_path, tmp_path / "out/f.dpt", store=tmp_path / "2.store") == 0
    again = store.open(tmp_path / "2.store").field("llm/captions.1").get(KEYS)
    np.testing.assert_array_equal(again, columns["captions.1"])
    assert {file.name for file in (tmp_path / "out").iterdir()} == {".keyclip-export", "f.dpt", "f.keys.txt"}


def test_a_single_field_is_a_matrix_in_the_stores_order_and_dtype(tmp_path):
    columns = fill(tmp_path / "s.store", KEYS, CAPTIONS, dtype="float16")
    assert export(tmp_path, fields="llm/captions.0") == 0
    features = torch.load(tmp_path / "out/f.dpt", weights_only=True)
    assert (features.shape, features.dtype) == ((5, DIM), torch.float16)
    np.testing.assert_array_equal(features.numpy(), columns["captions.0"])
    assert (tmp_path / "out/f.keys.txt").read_text().split() == KEYS


def test_row_keys_give_the_order_and_missing_ones_stop_or_are_left_out(tmp_path, capsys):
    columns = fill(tmp_path / "s.store", KEYS, CAPTIONS)
    (tmp_path / "rows.txt").write_text("\n".join([KEYS[4], "none", KEYS[0]]))
    fails(capsys, export(tmp_path, row_keys=tmp_path / "rows.txt"), "1 of 3 keys", "first 'none'", "--missing skip")
    assert not (tmp_path / "out/f.dpt").exists()
    assert export(tmp_path, row_keys=tmp_path / "rows.txt", missing="skip", dtype="float16") == 0
    features = torch.load(tmp_path / "out/f.dpt", weights_only=True)
    np.testing.assert_array_equal(features[:, 1].numpy(), columns["captions.1"][[4, 0]])


def test_another_export_in_the_way_is_kept_unless_asked(tmp_path, capsys):
    fill(tmp_path / "s.store", KEYS, CAPTIONS)
    assert export(tmp_path) == 0
    capsys.readouterr()
    assert export(tmp_path) == 0
    assert "1 were there already" in capsys.readouterr().out
    before = contents(tmp_path / "out")
    fails(capsys, export(tmp_path, dtype="float16"), "is there, and not as this export wrote it")
    assert contents(tmp_path / "out") == before
    assert export(tmp_path, dtype="float16", overwrite=True) == 0
    assert torch.load(tmp_path / "out/f.dpt", weights_only=True).dtype == torch.float16


def test_what_makes_no_tensor_is_refused(tmp_path, capsys):
    fill(tmp_path / "s.store", KEYS, CAPTIONS)
    (tmp_path / "keys.txt").write_text("none")
    fails(capsys, export(tmp_path, keys=tmp_path / "keys.txt"), "there is no key to export")
    wide = store.open(tmp_path / "s.store", mode="a")
    spec = store.FieldSpec.from_dict(wide.field("llm/captions.0").spec.to_dict() | {"dim": 3, "caption_field": "w"})
    wide.writer("wide", spec)
    fails(capsys, export(tmp_path, fields=["llm/captions.0", "wide"]), "must have one width")
    fill(tmp_path / "s.store", ["two\nlines"], CAPTIONS, block="odd")
    fails(capsys, export(tmp_path), r"key 'two\nlines' does not fit on a line")
    assert not (tmp_path / "out/f.dpt").exists()
