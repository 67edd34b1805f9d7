"""``keyclip store ...`` as a user calls it."""

import json

import numpy as np
import pytest

import store
from tests.store.contract.integrity import find_bytes, flip
from tests.store.examples import make_block, make_spec
from tools.__main__ import main


@pytest.fixture(params=["lmdb", "zarr"])
def path(request, tmp_path):
    made = store.create(tmp_path / "some.store", backend=request.param)
    writer = made.writer("f", make_spec())
    for block in "abc":
        writer.commit(block, *make_block(block, 20))
    return tmp_path / "some.store"


def test_info_tells_what_is_there(path, capsys):
    assert main(["store", "info", str(path)]) == 0
    out = capsys.readouterr().out
    assert "1 field\n" in out
    assert "60 vectors of 6 float16 in 3 blocks, 0.7 kB" in out
    assert "pooling       'mean'" in out
    assert main(["store", "info", str(path), "--json", "True"]) == 0
    about = json.loads(capsys.readouterr().out)["fields"]["f"]
    assert (about["num_vectors"], about["num_blocks"], about["num_bytes"]) == (60, 3, 720)
    assert store.FieldSpec.from_dict(about["spec"]) == make_spec()


def test_a_missing_store_is_one_sentence_and_status_1(tmp_path, capsys):
    for command in ("info", "verify", "repair"):
        assert main(["store", command, str(tmp_path / "no.store")]) == 1
        assert capsys.readouterr().err.startswith("keyclip: error: there is no store at")


def test_a_file_is_no_store(tmp_path, capsys):
    (tmp_path / "shard.tar").write_bytes(b"")
    for place in ("shard.tar", "shard.tar/x"):
        for command in (["info"], ["verify"], ["diff", str(tmp_path / "shard.tar")]):
            assert main(["store", *command, str(tmp_path / place)]) == 1
            error = capsys.readouterr().err
            assert error.startswith("keyclip: error: ")
            assert "store at" in error or "is not a store" in error


def test_a_store_cannot_be_made_below_a_file(path, tmp_path, capsys):
    (tmp_path / "file").write_bytes(b"")
    assert main(["store", "merge", str(path), "--output", str(tmp_path / "file")]) == 1
    error = capsys.readouterr().err
    assert "is not a store" in error
    assert error.endswith("choose another path\n")
    assert main(["store", "merge", str(path), "--output", str(tmp_path / "file" / "x")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("keyclip: error: ")
    assert error.count("\n") == 1


def test_verify_and_repair_name_the_damage_by_status_and_words(path, capsys):
    assert main(["store", "verify", str(path)]) == 0
    assert capsys.readouterr().out == "intact\n"
    flip(*find_bytes(path, make_block("b", 20)[1].tobytes()))
    assert main(["store", "verify", str(path)]) == 1
    assert capsys.readouterr().out.startswith("field 'f', block 'b': ")
    assert main(["store", "verify", str(path), "--json", "True"]) == 1
    assert [damage["block"] for damage in json.loads(capsys.readouterr().out)] == ["b"]
    assert main(["store", "repair", str(path)]) == 0
    assert "1 blocks dropped, 0 damages left" in capsys.readouterr().out
    assert main(["store", "verify", str(path)]) == 0
    assert store.open(path).field("f").blocks() == ["a", "c"]
    assert main(["store", "repair", str(path), "--json", "True"]) == 0


def test_merge_convert_and_compact_write_new_stores_and_can_be_given_again(path, tmp_path, capsys):
    other = store.create(tmp_path / "other.store")
    other.writer("f", make_spec()).commit("d", *make_block("d", 20))
    merge = ["store", "merge", str(path), str(tmp_path / "other.store"), "--output", str(tmp_path / "all.store")]
    assert main(merge) == 0
    assert capsys.readouterr().out == "80 vectors copied in 4 blocks\n"
    assert main(merge) == 0
    assert capsys.readouterr().out == "0 vectors copied in 0 blocks; 4 blocks were there already\n"
    convert = ["store", "convert", str(tmp_path / "all.store"), "--output", str(tmp_path / "small.store")]
    assert main([*convert, "--backend", "zarr", "--dtype", "int8", "--json", "True"]) == 0
    assert json.loads(capsys.readouterr().out) == {"num_blocks": 4, "num_vectors": 80, "num_blocks_before": 0}
    small = store.open(tmp_path / "small.store")
    assert small.backend == "zarr"
    assert small.fields()["f"].dtype == "int8"
    np.testing.assert_allclose(small.field("f").get(["d/3"]), make_block("d", 20)[1][[3]].astype(np.float32), atol=4)
    assert main(["store", "compact", str(path), "--output", str(tmp_path / "compact.store")]) == 0
    assert store.open(tmp_path / "compact.store").backend == store.open(path).backend
    assert store.open(path).verify() == []


def test_drop_removes_blocks_or_the_field(path, capsys):
    assert main(["store", "drop", str(path), "--field", "f", "--blocks", "a", "c"]) == 0
    assert capsys.readouterr().out == "40 vectors dropped from 'f', 20 left\n"
    assert main(["store", "drop", str(path), "--field", "f", "--blocks", "a"]) == 1
    assert "no block 'a'" in capsys.readouterr().err
    assert main(["store", "drop", str(path), "--field", "f", "--json", "True"]) == 0
    assert json.loads(capsys.readouterr().out) == {"num_vectors_dropped": 20, "num_vectors_left": 0}
    assert store.open(path).fields() == {}
    assert main(["store", "drop", str(path), "--field", "f"]) == 1
    assert "has no fields yet" in capsys.readouterr().err
