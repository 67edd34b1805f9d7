"""How two stores differ, in specs, keys, captions and vectors."""

import json

import numpy as np
import pytest

import store
from tests.store.examples import make_spec
from tools.__main__ import main
from tools.query import pieces as reading


def make(path, blocks, name="f", captions=None, **changes):
    """A store with one field of ``{key: vector}`` blocks; captions are the keys' own unless given."""
    writer = store.create(path).writer(name, make_spec(dim=2, **changes))
    for number, rows in enumerate(blocks):
        hashes = store.caption_hashes((captions or {}).get(key, key) for key in rows)
        writer.commit(f"b{number}", list(rows), np.array(list(rows.values()), np.float32), hashes)
    return str(path)


def diff(capsys, *arguments):
    status = main(["store", "diff", *map(str, arguments), "--json"])
    return status, json.loads(capsys.readouterr().out)


ROWS = {"a": (1, 0), "b": (0, 1), "c": (3, 4), "d": (5, 0)}


def test_the_same_vectors_in_other_blocks_are_the_same(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(reading, "PIECE_NUMBERS", 3 * 2)
    one = make(tmp_path / "one.store", [ROWS])
    two = make(tmp_path / "two.store", [{key: ROWS[key]} for key in "dbca"])
    status, found = diff(capsys, one, two)
    assert (status, found["same"]) == (0, True)
    assert (found["fields"]["f"]["num_shared"], found["fields"]["f"]["num_identical"]) == (4, 4)
    assert found["fields"]["f"]["least_cosine"] == 1
    assert main(["store", "diff", one, two]) == 0
    assert capsys.readouterr().out == (
        "f: 4 keys in both, 4 vectors identical, least cosine 1.000000\nthe stores are the same\n"
    )


def test_every_kind_of_difference_is_counted_and_named(tmp_path, capsys):
    one = make(tmp_path / "one.store", [ROWS, {"only one": (1, 1)}])
    other = {"a": (1, 0), "b": (1, 1), "c": (3, 4), "d": (5.2, 0), "only two": (1, 1)}
    two = make(tmp_path / "two.store", [other], captions={"c": "changed"}, pooling="last")
    status, found = diff(capsys, one, two)
    field = found["fields"]["f"]
    assert (status, found["same"]) == (1, False)
    assert field["spec"] == ["pooling is 'mean', not 'last'"]
    assert (field["num_shared"], field["num_identical"]) == (4, 2)
    assert field["only_in_a"] == {"count": 1, "examples": ["only one"]}
    assert field["only_in_b"] == {"count": 1, "examples": ["only two"]}
    assert field["captions"] == {"count": 1, "examples": ["c"]}
    assert field["vectors"] == {"count": 2, "examples": ["b", "d"]}  # another direction; 4 % longer
    assert field["least_cosine"] == pytest.approx(np.sqrt(0.5))
    assert main(["store", "diff", one, two]) == 1
    out = capsys.readouterr().out
    assert "  1 keys only in the first: only one\n" in out
    assert out.endswith("the stores differ\n")


def test_vectors_that_are_near_enough_are_the_same(tmp_path, capsys):
    one, two = (make(tmp_path / f"{x}.store", [{"a": (1, x), "z": (0, 0)}]) for x in (0, 0.1))
    assert diff(capsys, one, two)[0] == 1
    assert diff(capsys, one, two, "--cosine", "0.99")[0] == 0  # cosine 0.995, 0.5 % longer
    assert diff(capsys, one, two, "--cosine", "0.996")[0] == 1


def test_fields_of_one_store_alone_are_named_and_can_be_left_out(tmp_path, capsys):
    one, two = make(tmp_path / "one.store", [ROWS]), make(tmp_path / "two.store", [ROWS])
    store.open(two, mode="a").writer("g", make_spec(dim=2))
    status, found = diff(capsys, one, two)
    assert (status, found["only_in_a"], found["only_in_b"]) == (1, [], ["g"])
    assert diff(capsys, two, one)[1]["only_in_a"] == ["g"]
    assert diff(capsys, one, two, "--fields", "f")[0] == 0
    assert main(["store", "diff", one, two, "--fields", "h"]) == 1
    assert "neither store has a field 'h'; there are 'f', 'g'" in capsys.readouterr().err


def test_fields_of_other_widths_differ_without_comparing_numbers(tmp_path, capsys):
    one = make(tmp_path / "one.store", [ROWS])
    two = store.create(tmp_path / "two.store")
    two.writer("f", make_spec(dim=3)).commit("b", ["a"], np.ones((1, 3), np.float32), store.caption_hashes(["a"]))
    status, found = diff(capsys, one, two.path)
    assert (status, found["fields"]["f"]["spec"]) == (1, ["dim is 2, not 3"])
    assert (found["fields"]["f"]["num_shared"], found["fields"]["f"]["least_cosine"]) == (1, None)


def test_unknown_captions_are_no_difference(tmp_path, capsys):
    one = make(tmp_path / "one.store", [ROWS])
    two = store.create(tmp_path / "two.store")
    two.writer("f", make_spec(dim=2)).commit(
        "b", list(ROWS), np.array(list(ROWS.values()), np.float32), np.zeros(4, np.uint64)
    )
    assert diff(capsys, one, two.path)[0] == 0
