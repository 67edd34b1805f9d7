"""The benchmark of search: all contenders give the same answers. Times are not asserted."""

import importlib.util
import json

import pytest

from tools.__main__ import main


def bench(capsys, *arguments):
    assert main(["bench", "search", "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)["contenders"]


def assert_agreement(contenders):
    names = ["in memory", "streamed", "the limit", *(["faiss"] if importlib.util.find_spec("faiss") else [])]
    assert list(contenders) == names
    for name in set(names) - {"the limit"}:
        assert contenders[name]["same_keys"]
        assert contenders[name]["largest_difference"] < 1e-6
        assert contenders[name]["seconds"] > 0


def test_all_contenders_agree_with_brute_force(capsys, tmp_path):
    assert_agreement(bench(capsys, "--vectors", "21000", "--dim", "16", "--repeats", "1", "--folder", str(tmp_path)))
    assert list(tmp_path.iterdir()) == []


def test_fewer_vectors_than_neighbours_are_no_trouble(capsys):
    assert_agreement(bench(capsys, "--vectors", "3", "--dim", "4", "--repeats", "2"))


def test_the_table_is_readable(capsys):
    assert main(["bench", "search", "--vectors", "100", "--dim", "4", "--repeats", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("100 vectors of 4, 10 nearest; read into memory in ")
    assert lines[1].split() == ["seconds", "of", "the", "limit", "same", "keys", "difference"]
    assert "True" in lines[2]


@pytest.mark.slow
def test_a_million_vectors_are_searched_as_brute_force_does(capsys):
    assert_agreement(bench(capsys, "--vectors", "1000000", "--dim", "384", "--repeats", "1"))
