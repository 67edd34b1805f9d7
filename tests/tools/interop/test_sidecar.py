"""LLM2CLIP's sidecars and merged tars: what their script writes comes in, what webdataset reads goes out."""

import gc
import json
import os
import subprocess
import sys
import tarfile
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import webdataset as wds

import store
from tests.tools.interop.examples import (
    DIM,
    FIELDS,
    captions_of,
    changed,
    contents,
    fails,
    fill,
    image_members,
    keys_of,
    make_vectors,
    run,
    vector_members,
    write_images,
    write_tar,
)
from tools.__main__ import main

SHARDS = {f"{shard:05d}": keys_of(shard, 5 + shard) for shard in range(3)}


@pytest.fixture
def shards(tmp_path):
    """Image tars 00000.tar ... in ``images``; their paths."""
    (tmp_path / "images").mkdir()
    return [write_images(tmp_path / "images" / f"{name}.tar", keys) for name, keys in SHARDS.items()]


@pytest.fixture
def columns():
    """shard -> caption field -> vectors, with numbers that any rounding would change."""
    made = {name: {field: make_vectors(name + field, len(keys)) for field in FIELDS} for name, keys in SHARDS.items()}
    made["00000"]["shortSV_captions"][0] = [np.float32(1) / 3, -0.0, 1e-42, 3.4e38, -1e-30, np.pi]
    return made


@pytest.fixture
def sidecars(shards, columns, tmp_path):
    """Beside the image tars, byte by byte as the public script writes them."""
    return [
        write_tar(tmp_path / "images" / f"{name}_text_embeddings.tar", vector_members(SHARDS[name], columns[name]))
        for name in SHARDS
    ]


def do_import(tmp_path, what, *sources, **flags):
    return run("vectors", "import", what, *sources, store=tmp_path / "s.store", model="org/llm", **flags)


def export(tmp_path, what, output="out", **flags):
    flags = {"fields": [f"llm/{field}" for field in FIELDS], "shards": [str(tmp_path / "images/?????.tar")]} | flags
    return run("vectors", "export", what, tmp_path / "s.store", output=tmp_path / output, **flags)


def read(*tars):
    """The samples of tars as webdataset reads them; it leaves closing the files to the garbage collector."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        samples = list(wds.WebDataset([str(tar) for tar in tars], shardshuffle=False))
        gc.collect()
    return samples


def field(tmp_path, name):
    return store.open(tmp_path / "s.store").field(f"llm/{name}")


def test_a_sidecar_of_the_public_layout_comes_in_bit_by_bit(sidecars, columns, tmp_path, capsys):
    assert do_import(tmp_path, "sidecar", str(tmp_path / "images/*_text_embeddings.tar"), json=True) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["fields"]["llm/longSV_captions"] == {
        "imported": 18,
        "there_before": 0,
        "not_listed": 0,
        "unknown_captions": 0,
    }
    assert (report["num_files"], report["num_blocks"]) == (3, 6)
    for name, keys in SHARDS.items():
        for caption_field in FIELDS:
            stored = field(tmp_path, caption_field).get(keys)
            assert stored.tobytes() == columns[name][caption_field].tobytes()
            expected = store.caption_hashes(captions_of(key)[caption_field] for key in keys)
            np.testing.assert_array_equal(field(tmp_path, caption_field).caption_hashes(keys), expected)
    spec = field(tmp_path, "shortSV_captions").spec
    assert (spec.model, spec.revision, spec.caption_field) == ("org/llm", "unknown", "shortSV_captions")
    assert (spec.dim, spec.dtype, spec.normalize) == (DIM, "float32", False)


def test_it_goes_out_again_as_the_very_bytes_that_came_in(sidecars, tmp_path):
    assert do_import(tmp_path, "sidecar", *sidecars) == 0
    assert export(tmp_path, "sidecar") == 0
    for sidecar in map(Path, sidecars):
        assert (tmp_path / "out" / sidecar.name).read_bytes() == sidecar.read_bytes()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_webdataset_reads_an_exported_sidecar_in_lock_step_with_its_image_tar(shards, tmp_path):
    vectors = {name: fill(tmp_path / "s.store", keys, block=name) for name, keys in SHARDS.items()}
    assert export(tmp_path, "sidecar") == 0
    images = wds.WebDataset(shards, shardshuffle=False)
    sidecars = wds.WebDataset(sorted(map(str, (tmp_path / "out").glob("*.tar"))), shardshuffle=False)
    expected = [(name, row, key) for name, keys in SHARDS.items() for row, key in enumerate(keys)]
    for (name, row, key), image, sample in zip(expected, images, sidecars, strict=True):
        assert image["__key__"] == sample["__key__"] == key
        for caption_field in FIELDS:
            read = np.frombuffer(sample[caption_field.lower()], "<f4")
            np.testing.assert_array_equal(read, vectors[name][caption_field][row])


def test_merged_tars_hold_the_image_tars_members_and_the_vectors(shards, columns, sidecars, tmp_path):
    before = contents(tmp_path / "images")
    assert do_import(tmp_path, "sidecar", *sidecars) == 0
    assert export(tmp_path, "merged") == 0
    assert contents(tmp_path / "images") == before
    for name, keys in SHARDS.items():
        samples = read(tmp_path / "out" / f"{name}.tar")
        assert [sample["__key__"] for sample in samples] == keys
        for row, sample in enumerate(samples):
            assert sample["jpg"] == b"\xff\xd8" + keys[row].encode()
            assert json.loads(sample["json"]) == captions_of(keys[row])
            for caption_field in FIELDS:
                assert sample[caption_field.lower()] == columns[name][caption_field][row].tobytes()


def test_merged_tars_come_in_bit_by_bit_with_the_captions_of_their_json(columns, tmp_path):
    keys = SHARDS["00001"]
    vectors = vector_members(keys, columns["00001"])
    members = [m for i, key in enumerate(keys) for m in [*image_members(key), *vectors[2 * i : 2 * i + 2]]]
    merged = write_tar(tmp_path / "00001.tar", members)
    assert do_import(tmp_path, "merged", merged, caption_fields=["shortSV_captions", "long=longSV_captions"]) == 0
    short, long = field(tmp_path, "shortSV_captions"), field(tmp_path, "long")
    assert short.get(keys).tobytes() == columns["00001"]["shortSV_captions"].tobytes()
    assert long.get(keys).tobytes() == columns["00001"]["longSV_captions"].tobytes()
    assert short.caption_hashes(keys[:1])[0] == store.caption_hash(captions_of(keys[0])["shortSV_captions"])
    assert (long.caption_hashes(keys) == store.UNKNOWN_CAPTION).all()  # the json has no caption field "long"


def test_case_is_kept_and_webdatasets_lower_case_is_understood(columns, shards, tmp_path):
    keys = SHARDS["00000"]
    lower = {name.lower(): rows for name, rows in columns["00000"].items()}
    sidecar = write_tar(tmp_path / "images" / "00000_text_embeddings.tar", vector_members(keys, lower))
    assert do_import(tmp_path, "sidecar", sidecar, caption_fields=FIELDS) == 0
    assert export(tmp_path, "sidecar", shards=shards[:1]) == 0
    with tarfile.open(tmp_path / "out" / "00000_text_embeddings.tar") as tar:
        assert tar.getnames()[:2] == [f"{keys[0]}.shortSV_captions", f"{keys[0]}.longSV_captions"]


def test_the_same_import_again_changes_nothing_and_a_broken_off_one_goes_on(sidecars, tmp_path, capsys):
    assert do_import(tmp_path, "sidecar", sidecars[0], block_size=2) == 0
    capsys.readouterr()
    assert do_import(tmp_path, "sidecar", *sidecars, block_size=2, json=True) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["fields"]["llm/shortSV_captions"]["there_before"] == 5
    assert report["fields"]["llm/shortSV_captions"]["imported"] == 13
    before = contents(tmp_path / "s.store")
    assert do_import(tmp_path, "sidecar", *sidecars) == 0
    assert "0 vectors imported from 3 file(s)" in capsys.readouterr().out
    assert changed(before, contents(tmp_path / "s.store")) == set()


def test_a_key_list_chooses_and_a_longer_one_adds(sidecars, tmp_path, capsys):
    wanted = [*SHARDS["00000"][1:3], *SHARDS["00002"][:1], "nowhere"]
    (tmp_path / "keys.txt").write_text("\n".join(wanted))
    assert do_import(tmp_path, "sidecar", *sidecars, keys=tmp_path / "keys.txt", json=True) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["not_found"] == 1
    assert report["fields"]["llm/shortSV_captions"]["not_listed"] == 15
    assert sorted(field(tmp_path, "shortSV_captions").keys()) == sorted(wanted[:3])
    assert do_import(tmp_path, "sidecar", *sidecars) == 0
    assert len(field(tmp_path, "shortSV_captions")) == 18


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int8"])
def test_numbers_are_stored_as_asked_and_the_same_import_again_is_known(sidecars, columns, tmp_path, dtype):
    sources = [sidecars[1]]
    assert do_import(tmp_path, "sidecar", *sources, dtype=dtype) == 0
    stored = field(tmp_path, "longSV_captions").get(SHARDS["00001"], dtype="float32")
    np.testing.assert_allclose(stored, columns["00001"]["longSV_captions"], rtol=0.02, atol=0.03)
    assert do_import(tmp_path, "sidecar", *sources, dtype=dtype) == 0


def test_unit_length_is_noticed(tmp_path, shards):
    rows = make_vectors("unit", 5)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    members = vector_members(SHARDS["00000"], {"a": rows, "b": 2 * rows})
    sidecar = write_tar(tmp_path / "images" / "00000_text_embeddings.tar", members)
    assert do_import(tmp_path, "sidecar", sidecar) == 0
    assert field(tmp_path, "a").spec.normalize
    assert not field(tmp_path, "b").spec.normalize


def test_a_sidecar_in_another_order_is_refused_naming_shard_position_and_keys(sidecars, columns, tmp_path, capsys):
    keys = SHARDS["00001"]
    swapped = [*keys[:2], keys[3], keys[2], *keys[4:]]
    write_tar(tmp_path / "images/00001_text_embeddings.tar", vector_members(swapped, columns["00001"]))
    status = do_import(tmp_path, "sidecar", *sidecars)
    fails(capsys, status, "00001_text_embeddings.tar'", "position 2", f"key {keys[2]!r} was", f"key {keys[3]!r} found")
    assert field(tmp_path, "shortSV_captions").keys() == SHARDS["00000"]
    assert do_import(tmp_path, "sidecar", *sidecars, check=False) == 0
    assert (field(tmp_path, "longSV_captions").caption_hashes(keys) == store.UNKNOWN_CAPTION).all()


@pytest.mark.parametrize(
    ("kept", "phrase"), [(slice(0, 4), "its end found"), (slice(1, 5), "at position 0"), (slice(0, 0), "its end found")]
)
def test_a_sidecar_with_fewer_samples_is_refused(shards, columns, tmp_path, capsys, kept, phrase):
    keys = SHARDS["00000"]
    members = vector_members(keys, columns["00000"])
    sidecar = write_tar(tmp_path / "images/00000_text_embeddings.tar", members[2 * kept.start : 2 * kept.stop])
    fails(capsys, do_import(tmp_path, "sidecar", sidecar), "does not go with", phrase)
    assert not (tmp_path / "s.store").exists()


def odd(name, kind):
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = "/etc/passwd"
    return info


GOOD = bytes(4 * DIM)
NAN = np.array([0, 0, np.nan, 0, 0, 0], "<f4").tobytes()
HOSTILE = {
    "leads up": ([("../../0.a", GOOD)], "leads out of its folder"),
    "leads up inside": ([("x/../../0.a", GOOD)], "leads out of its folder"),
    "absolute": ([("/tmp/0.a", GOOD)], "leads out of its folder"),
    "symbolic link": ([odd("0.a", tarfile.SYMTYPE)], "a link, a device or a sparse file"),
    "hard link": ([odd("0.a", tarfile.LNKTYPE)], "a link, a device or a sparse file"),
    "device": ([odd("0.a", tarfile.CHRTYPE)], "a link, a device or a sparse file"),
    "fifo": ([odd("0.a", tarfile.FIFOTYPE)], "a link, a device or a sparse file"),
    "not UTF-8": ([("caf\udce9.a", GOOD)], "whose name is not UTF-8"),
    "short vector": ([("0.a", GOOD), ("1.a", GOOD[:-4])], "has 20 bytes; expected 24 bytes, as the first sample's"),
    "half a number": ([("0.a", GOOD[:-1])], "has 23 bytes; expected 4 bytes for every float32 number"),
    "empty vector": ([("0.a", b"")], "has 0 bytes"),
    "no vector": ([("0.a", GOOD), ("1.b", GOOD)], "sample '1' (position 1)"),
    "key twice": ([("0.a", GOOD), ("1.a", GOOD), ("0.a", GOOD)], "sample key '0' comes twice"),
    "member twice": ([("0.a", GOOD), ("0.A", GOOD)], "sample '0' has two members .a"),
    "nan": ([("0.a", GOOD), ("1.a", NAN)], "the vector of key '1' is NaN or infinite"),
    "infinite": ([("0.a", np.full(DIM, np.inf, "<f4").tobytes())], "the vector of key '0' is NaN or infinite"),
    "no member": ([], "holds no vectors"),
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("what", ["sidecar", "merged"])
def test_a_hostile_tar_is_one_sentence_and_leaves_everything_as_it_was(tmp_path, capsys, what, case):
    members, phrase = HOSTILE[case]
    good = write_tar(tmp_path / "good_text_embeddings.tar", [(f"{i}.a", GOOD) for i in "xyz"])
    flags = {"check": False} if what == "sidecar" else {"caption_fields": "a"}
    assert do_import(tmp_path, what, good, **flags) == 0
    before = contents(tmp_path)
    bad = write_tar(tmp_path / "bad_text_embeddings.tar", members)
    before |= {"bad_text_embeddings.tar": Path(bad).read_bytes()}
    capsys.readouterr()
    fails(
        capsys,
        do_import(tmp_path, what, bad, block_size=1, **flags),
        "bad_text_embeddings",
        phrase,
    )
    assert changed(before, contents(tmp_path)) == set()


@pytest.mark.parametrize("length", [0, 100, 512, 700, 1024, 1536, 2000])
def test_a_tar_that_is_cut_short_is_refused_wherever_the_cut_is(tmp_path, capsys, length):
    """Two members of one header and one block each: the end mark begins at byte 2048."""
    whole = Path(write_tar(tmp_path / "x.tar", [("0.a", GOOD), ("1.a", GOOD)])).read_bytes()
    (tmp_path / "x_text_embeddings.tar").write_bytes(whole[:length])
    status = do_import(tmp_path, "sidecar", tmp_path / "x_text_embeddings.tar", check=False)
    fails(capsys, status, "x_text_embeddings.tar'")
    assert not (tmp_path / "s.store").exists()


def test_keys_of_another_dataset_are_refused_though_they_have_the_same_names(sidecars, columns, tmp_path, capsys):
    assert do_import(tmp_path, "sidecar", *sidecars, check=False) == 0
    other = {name: rows + 1 for name, rows in columns["00000"].items()}
    write_tar(sidecars[0], vector_members(SHARDS["00000"], other))
    status = do_import(tmp_path, "sidecar", *sidecars, check=False)
    fails(capsys, status, f"has key {SHARDS['00000'][0]!r} of {sidecars[0]!r} already, with another vector")
    assert do_import(tmp_path, "sidecar", sidecars[1]) == 0  # captions known now, then unknown: the same vectors


def test_changed_captions_are_refused(sidecars, tmp_path, capsys):
    assert do_import(tmp_path, "sidecar", *sidecars) == 0
    key = SHARDS["00000"][0]
    changed = [(f"{key}.jpg", b""), (f"{key}.json", b'{"shortSV_captions": "another"}')]
    rest = [member for key in SHARDS["00000"][1:] for member in image_members(key)]
    write_tar(tmp_path / "images/00000.tar", changed + rest)
    fails(capsys, do_import(tmp_path, "sidecar", *sidecars), f"has key {key!r} of {sidecars[0]!r}", "another caption")


def test_a_sidecar_without_its_image_tar_or_name_is_refused(sidecars, tmp_path, capsys):
    (tmp_path / "images/00002.tar").unlink()
    fails(capsys, do_import(tmp_path, "sidecar", sidecars[2]), "no image tar 00002.tar beside it", "--check False")
    shards = str(tmp_path / "images/00001.tar")
    status = do_import(tmp_path, "sidecar", sidecars[0], shards=shards)
    fails(capsys, status, "no image tar 00000.tar among the shards")
    fails(capsys, do_import(tmp_path, "sidecar", shards), "is not named X_text_embeddings.tar")


def test_another_width_or_dtype_than_the_fields_is_refused(sidecars, tmp_path, capsys):
    assert do_import(tmp_path, "sidecar", sidecars[0]) == 0
    wide = {field: make_vectors(field, len(SHARDS["00001"]), dim=DIM + 1) for field in FIELDS}
    write_tar(sidecars[1], vector_members(SHARDS["00001"], wide))
    fails(capsys, do_import(tmp_path, "sidecar", sidecars[1]), "dim is 6, not 7")
    fails(capsys, do_import(tmp_path, "sidecar", sidecars[2], dtype="float16"), "dtype is 'float32', not 'float16'")


def test_a_sample_without_vectors_stops_the_export_or_is_left_out(shards, tmp_path, capsys):
    fill(tmp_path / "s.store", [*SHARDS["00000"][1:], *SHARDS["00001"], *SHARDS["00002"]])
    fails(capsys, export(tmp_path, "merged"), "1 of 5 keys of", f"first {SHARDS['00000'][0]!r}", "--missing skip")
    assert not list((tmp_path / "out").glob("*.tar"))
    assert export(tmp_path, "merged", missing="skip") == 0
    assert "1 samples without vectors were left out" in capsys.readouterr().out
    samples = read(tmp_path / "out/00000.tar")
    assert [sample["__key__"] for sample in samples] == SHARDS["00000"][1:]


def test_a_key_list_chooses_what_goes_out(shards, tmp_path):
    fill(tmp_path / "s.store", [key for keys in SHARDS.values() for key in keys])
    wanted = SHARDS["00001"][2:4]
    (tmp_path / "keys.txt").write_text("\n".join(wanted))
    assert export(tmp_path, "merged", keys=tmp_path / "keys.txt", fields="llm/shortSV_captions") == 0
    samples = read(tmp_path / "out/00001.tar")
    assert [sample["__key__"] for sample in samples] == wanted
    assert "longsv_captions" not in samples[0]


def test_an_export_goes_on_where_it_stopped_and_replaces_only_when_asked(shards, tmp_path, capsys):
    fill(tmp_path / "s.store", [key for keys in SHARDS.values() for key in keys])
    assert export(tmp_path, "sidecar", shards=shards[:2]) == 0
    first = contents(tmp_path / "out")
    capsys.readouterr()
    assert export(tmp_path, "sidecar", json=True) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["num_files"], report["num_files_before"], report["num_vectors"]) == (1, 2, 14)
    assert contents(tmp_path / "out").items() > first.items()
    (tmp_path / "out/00000_text_embeddings.tar").write_bytes(b"mine")
    fails(capsys, export(tmp_path, "sidecar"), "is there, and not as this export wrote it", "--overwrite True")
    fails(
        capsys, export(tmp_path, "sidecar", fields="llm/longSV_captions"), "is there, and not as this export wrote it"
    )
    assert (tmp_path / "out/00000_text_embeddings.tar").read_bytes() == b"mine"
    assert export(tmp_path, "sidecar", overwrite=True) == 0
    assert "in 1 file(s)" in capsys.readouterr().out
    name = "00000_text_embeddings.tar"
    assert contents(tmp_path / "out")[name] == first[name]


@pytest.mark.parametrize("output", ["images", "link"])
def test_the_image_tars_are_never_the_output(shards, tmp_path, capsys, output):
    (tmp_path / "link").symlink_to(tmp_path / "images")
    fill(tmp_path / "s.store", [key for keys in SHARDS.values() for key in keys])
    before = contents(tmp_path / "images")
    status = export(tmp_path, "merged", output=output, overwrite=True)
    fails(capsys, status, "is an input of this export")
    assert contents(tmp_path / "images") == before


def test_names_that_webdataset_would_confuse_are_refused(shards, tmp_path, capsys):
    fill(tmp_path / "s.store", [key for keys in SHARDS.values() for key in keys])
    status = export(tmp_path, "sidecar", fields=["llm/shortSV_captions", "llm/longSV_captions=SHORTsv_captions"])
    fails(capsys, status, "two fields would be named 'SHORTsv_captions'")
    fails(capsys, export(tmp_path, "merged", fields="llm/shortSV_captions=JSON"), "has a member .json already")
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").glob("*.tar"))


def test_what_was_being_written_when_the_export_failed_is_gone(shards, tmp_path, capsys):
    """The second image tar is damaged; the first sidecar stays, of the second nothing is left."""
    fill(tmp_path / "s.store", [key for keys in SHARDS.values() for key in keys])
    Path(shards[1]).write_bytes(Path(shards[1]).read_bytes()[:1500])
    fails(capsys, export(tmp_path, "sidecar"), "00001.tar'")
    out = contents(tmp_path / "out")
    assert {name for name in out if not name.startswith(".keyclip-export")} == {"00000_text_embeddings.tar"}


def test_an_unknown_field_is_named_with_those_there_are(shards, tmp_path, capsys):
    fill(tmp_path / "s.store", SHARDS["00000"])
    fails(capsys, export(tmp_path, "sidecar", fields="llm/other"), "llm/other", "llm/shortSV_captions")


def test_what_a_killed_export_left_is_removed_a_day_later(shards, tmp_path):
    fill(tmp_path / "s.store", [key for keys in SHARDS.values() for key in keys])
    for name, age in (("old", 90_000), ("young", 60)):
        left = tmp_path / "out" / f".unfinished-{name}"
        left.mkdir(parents=True)
        (left / "00000_text_embeddings.tar").write_bytes(b"half")
        os.utime(left, (time.time() - age,) * 2)
    assert export(tmp_path, "sidecar") == 0
    assert [left.name for left in (tmp_path / "out").glob(".unfinished-*")] == [".unfinished-young"]


@pytest.mark.slow
def test_an_import_that_is_killed_again_and_again_ends_with_every_vector_once(tmp_path):
    """Killed a little later each time; the last run is left alone."""
    keys = {f"{shard:05d}": keys_of(shard, 400) for shard in range(8)}
    expected = {name: make_vectors(name, 400) for name in keys}
    for name, some in keys.items():
        write_images(tmp_path / f"{name}.tar", some)
        write_tar(tmp_path / f"{name}_text_embeddings.tar", vector_members(some, {"shortSV_captions": expected[name]}))
    command = [sys.executable, "-m", "tools", "vectors", "import", "sidecar", str(tmp_path / "*_text_embeddings.tar")]
    command += ["--store", str(tmp_path / "s.store"), "--model", "llm", "--block-size", "50"]
    counts = []
    for seconds in (0.1, 0.3, 0.3, 0.2, 0.4):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while process.poll() is None and not (tmp_path / "s.store/fields").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(seconds)
        process.kill()
        process.wait()
        counts.append(len(field(tmp_path, "shortSV_captions")))
    assert sorted(counts) == counts
    assert main(command[3:]) == 0
    assert field(tmp_path, "shortSV_captions").keys() == [key for some in keys.values() for key in some]
    for name, some in keys.items():
        assert field(tmp_path, "shortSV_captions").get(some).tobytes() == expected[name].tobytes()
    assert store.open(tmp_path / "s.store").verify() == []
