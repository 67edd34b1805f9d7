"""Damaged stores, generated from seeds: nothing but errors of ours, right vectors or none, and a way out."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import store
from store.common import errors
from store.lmdb_backend import layout
from store.lmdb_backend.pages import Pages, read_metas
from tests.store.damage import cases, damage_document, damage_file, make_store
from tests.store.examples import in_child, make_block, make_spec
from tools.__main__ import main

BLOCKS = 3


def look_at(path, repair):
    """Use a damaged store in every way. Raises whatever is no error of ours."""
    try:
        opened = store.open(path, mode="a")
    except errors.KeyclipError:
        return
    about = opened.survey()
    assert isinstance(about["sound"], store.FieldInfo)
    try:
        field = opened.field("f")
        for i in range(BLOCKS):
            keys, vectors, hashes = make_block(f"b{i}", 4)
            try:
                got, found = field.get(keys, missing="mask")
                np.testing.assert_array_equal(got[found], vectors[found])
                np.testing.assert_array_equal(field.caption_hashes(keys, missing="mask")[0][found], hashes[found])
                assert field.blocks()
            except errors.DamagedBlockError:
                assert opened.verify()
        opened.writer("f", make_spec()).commit("new", *make_block("new", 3))
    except errors.KeyclipError:
        assert opened.verify()
    if repair:
        opened.repair()
        for name in {damage.field for damage in opened.verify()}:
            opened.drop_field(name)
        assert opened.verify() == []


def look_at_all(template, folder, backend, seed, count):
    """One process for all cases, so that a crash is seen from outside; the file ``case`` names the last one."""
    for number, (path, rng) in enumerate(cases(template, folder, seed, count)):
        if backend == "pages":
            way = damage_file(path / "fields" / "f" / "data.mdb", rng)
        else:
            file = rng.choice(sorted(file for file in path.rglob("*.json") if "sound" not in file.parts))
            way = damage_document(file, rng, seal=rng.random() < 0.5)
        (folder / "case").write_text(f"{seed}/{number}: {way}")
        look_at(path, repair=number % 4 == 0)
    return count


def require_no_surprise(folder, backend, seed, count, blocks=BLOCKS):
    template = make_store(folder / "template.store", "zarr" if backend == "zarr" else "lmdb", blocks)
    done = in_child(look_at_all, template, folder, backend, seed, count, method="fork")
    assert done == count, (folder / "case").read_text()


def test_damaged_pages_of_lmdb_give_errors_and_no_crash(tmp_path):
    require_no_surprise(tmp_path, "pages", "few", 60)


def test_edited_documents_of_zarr_give_errors(tmp_path):
    require_no_surprise(tmp_path, "zarr", "few", 80)


def test_an_edited_store_json_gives_errors(tmp_path):
    require_no_surprise(tmp_path, "store.json", "few", 40)


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "blocks"), [("pages", BLOCKS), ("pages", 60), ("zarr", BLOCKS)])
@pytest.mark.parametrize("seed", range(10))
def test_many_damages_give_errors_and_no_crash(tmp_path, backend, blocks, seed):
    require_no_surprise(tmp_path, backend, f"many {blocks} {seed}", 60 if blocks == BLOCKS else 12, blocks)


def spoil(path, backend):
    """Damage the field ``f`` so that nothing of it can be read."""
    file = path / "fields" / "f" / ("data.mdb" if backend == "lmdb" else "zarr.json")
    file.write_bytes(bytes(file.stat().st_size))


@pytest.mark.parametrize("backend", ["lmdb", "zarr"])
def test_a_broken_field_is_named_and_dropped_and_the_others_are_shown(tmp_path, backend, capsys):
    path = make_store(tmp_path / "some.store", backend)
    spoil(path, backend)
    opened = store.open(path)
    assert list(opened.fields()) == ["sound"]
    assert list(opened.damaged_fields()) == ["f"]
    with pytest.raises(errors.DamagedFieldError, match="fields/f"):
        opened.field("f")
    with pytest.raises(errors.DamagedFieldError, match="fields/f"):
        store.open(path, mode="a").writer("f", make_spec())
    assert main(["store", "info", str(path)]) == 1
    out = capsys.readouterr().out
    assert "4 vectors of 6 float16" in out
    assert "\nf\n  damaged: " in out
    for command in ("verify", "repair"):
        assert main(["store", command, str(path)]) == 1
        assert "field 'f': " in capsys.readouterr().out
    copy = ["store", "merge", str(path), "--output", str(tmp_path / "copy.store")]
    assert main(copy) == 1
    assert "damaged" in capsys.readouterr().err
    assert main([*copy, "--fields", "sound"]) == 0
    assert main(["store", "drop", str(path), "--field", "f"]) == 0
    assert "the damaged field 'f' dropped" in capsys.readouterr().out
    assert main(["store", "verify", str(path)]) == 0
    assert store.open(path, mode="a").writer("f", make_spec()).commit("b0", *make_block("b0", 4))


def test_a_field_whose_trees_are_damaged_is_mended_from_its_blocks(tmp_path):
    path = make_store(tmp_path / "some.store", "lmdb")
    file = path / "fields" / "f" / "data.mdb"
    before = store.open(path).fields()["f"]
    data = file.read_bytes()
    leaf = _root_page(data, layout.VALUES)
    file.write_bytes(data[: leaf * 4096] + bytes(4096) + data[(leaf + 1) * 4096 :])
    with pytest.raises(errors.DamagedFieldError, match=f"page {leaf} is damaged.*keyclip store repair"):
        store.open(path).field("f")
    opened = store.open(path, mode="a")
    assert [damage.block for damage in opened.repair()] == [None]
    assert opened.verify() == []
    assert opened.fields()["f"] == before
    for i in range(BLOCKS):
        keys, vectors, hashes = make_block(f"b{i}", 4)
        np.testing.assert_array_equal(opened.field("f").get(keys), vectors)
        np.testing.assert_array_equal(opened.field("f").caption_hashes(keys), hashes)
    assert [entry.name for entry in (path / "fields").iterdir() if entry.name.startswith(".")] == []


def _root_page(data, name):
    pages = np.frombuffer(data, np.uint8)
    return Pages(pages, read_metas(pages)[0][0]).trees()[name].root


@pytest.mark.parametrize("backend", ["lmdb", "zarr"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_regular_file_is_refused_and_nobody_waits_for_it(tmp_path, backend, kind):
    path = make_store(tmp_path / "some.store", backend)
    for file in ("fields/f/data.mdb", "store.json") if backend == "lmdb" else ("fields/f/zarr.json", "zarr.json"):
        place = path / file
        place.unlink()
        if kind == "pipe":
            os.mkfifo(place)
        elif kind == "folder":
            place.mkdir()
        else:
            place.symlink_to("/dev/zero")
        if "/" in file:
            assert list(store.open(path).damaged_fields()) == ["f"]
            assert [damage.field for damage in store.open(path).verify()] == ["f"]
        else:
            with pytest.raises((errors.StoreNotFoundError, errors.DamagedFieldError), match=r"some.store"):
                store.open(path)


def test_a_document_of_senseless_size_is_not_read(tmp_path):
    path = make_store(tmp_path / "some.store", "lmdb")
    os.truncate(path / "store.json", 2**40)
    with pytest.raises(errors.StoreNotFoundError, match="not what keyclip wrote"):
        store.open(path)


def test_a_field_folder_that_was_copied_under_another_name_is_not_taken_for_the_field(tmp_path):
    for backend in ("lmdb", "zarr"):
        path = make_store(tmp_path / backend, backend)
        shutil.copytree(path / "fields" / "f", path / "fields" / "g")
        assert list(store.open(path).fields()) == ["f", "sound"]
        assert "it is the record of field 'f'" in str(store.open(path).damaged_fields()["g"])
        store.open(path, mode="a").drop_field("g")
        assert store.open(path).damaged_fields() == {}
        assert len(store.open(path).field("f")) == 12


def test_names_that_no_field_can_have_are_not_found(tmp_path):
    for backend in ("lmdb", "zarr"):
        opened = store.open(make_store(tmp_path / backend, backend))
        for name in ("", "\ud800", "a\0b", "x" * 1000, 3):
            with pytest.raises(errors.FieldNotFoundError, match="there are 'f', 'sound'"):
                opened.field(name)


@pytest.mark.parametrize("path", ["", "a\0b", 3, None])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(errors.ConfigError, match="the path of a store is"):
        store.open(path)


@pytest.mark.parametrize("mode", ["w", "rw", None, 3])
def test_a_mode_that_there_is_not_is_refused_with_those_there_are(tmp_path, mode):
    with pytest.raises(errors.ConfigError, match=r"expected 'r' to read or 'a' .*store.create"):
        store.open(make_store(tmp_path / "some.store", "lmdb"), mode=mode)


def _make_at_once(path, backend, number):
    opened = store.open_or_create(Path(path), backend)
    return opened.writer(f"f{number}", make_spec()).commit("b", *make_block("b", 3))


@pytest.mark.parametrize("backend", ["lmdb", "zarr"])
def test_commands_that_start_together_make_one_store(tmp_path, backend):
    for attempt in range(5):
        path = tmp_path / f"{attempt}.store"
        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(_make_at_once, [path] * 4, [backend] * 4, range(4)))
        assert list(store.open(path).fields()) == ["f0", "f1", "f2", "f3"]
    with pytest.raises(errors.ConfigError, match=f"exists with the backend '{backend}'"):
        store.open_or_create(path, "zarr" if backend == "lmdb" else "lmdb")
    assert store.open_or_create(path).backend == backend


@pytest.mark.parametrize("backend", ["lmdb", "zarr"])
def test_names_cannot_steer_the_terminal_and_json_is_exact(tmp_path, backend, capsys, monkeypatch):
    name, key = "f\x1b[2J\u202e", "k\x1b]0;x\x07"
    written = store.create(tmp_path / "some.store", backend=backend)
    _, vectors, hashes = make_block("b", 1)
    written.writer(name, make_spec(model="m\x9b1m")).commit("b\x1b[1m", [key], vectors, hashes)
    path = str(tmp_path / "some.store")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    for command in (["info"], ["keys"], ["stats"], ["get", key], ["search", "--key", key], ["verify"]):
        main(["store", command[0], path, *command[1:]])
        said = capsys.readouterr()
        assert not set("\x1b\x9b\x07\u202e") & set(said.out + said.err)
    assert main(["store", "keys", path, "--json"]) == 0
    assert capsys.readouterr().out == '["k\\u001b]0;x\\u0007"]\n'
    monkeypatch.undo()
    assert main(["store", "keys", path]) == 0
    assert capsys.readouterr().out == f"{key}\n"
