from pathlib import Path

import pytest
from pydantic import JsonValue
from typing_extensions import TypedDict

from store.common.checked import InvalidDataError, check, parse_json, read_json


class Point(TypedDict):
    x: int
    names: list[str]


def test_a_value_of_the_type_comes_back():
    assert parse_json(b'{"x": 1, "names": ["a"]}', Point, "the point") == {"x": 1, "names": ["a"]}
    assert check({"x": 1, "names": []}, Point, "the point") == {"x": 1, "names": []}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"x": "1", "names": []}', "the point is not as expected: at 'x', "),
        ('{"x": 1, "names": [2]}', "at 'names.0', "),
        ('{"x": 1}', "at 'names', field required"),
        ("[" * 100_000, "invalid JSON"),
        ('{"x": 1, "names": ["\\ud800"]}', "the point is not as expected"),
        ("", "invalid JSON"),
    ],
)
def test_other_values_are_refused_with_their_place_and_the_remedy(text: str, said: str):
    with pytest.raises(InvalidDataError, match="write it again") as caught:
        parse_json(text, Point, "the point", "write it again")
    assert said in str(caught.value)


def test_a_python_value_that_holds_itself_is_refused():
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(InvalidDataError, match="the list"):
        check(loop, JsonValue, "the list")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path):
    with pytest.raises(InvalidDataError, match=r"the point '.*none\.json' cannot be read"):
        read_json(tmp_path / "none.json", Point, "the point")
