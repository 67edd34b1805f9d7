"""YAML 1.2 as settings are read from it."""

import pytest
import yaml

from store.common.yaml_text import load_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("key: [000000012, 12, -3]", {"key": ["000000012", 12, -3]}),
        ("a: 1e-1", {"a": 0.1}),
        ("[1e5, .5, 2., 1.0e+3, -0.5]", [1e5, 0.5, 2.0, 1000.0, -0.5]),
        ("[no, yes, on, off, 0x10, 0o17, 1_000, 1:30, 2026-01-01, '<<', =]",
         ["no", "yes", "on", "off", "0x10", "0o17", "1_000", "1:30", "2026-01-01", "<<", "="]),
        ("[true, False, null, ~, ]", [True, False, None, None]),
        ('{"a": ["b", 1.5, null]}', {"a": ["b", 1.5, None]}),
        ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
        ("", None),
    ],
)  # fmt: skip
def test_plain_values_are_those_of_json_and_all_else_is_text(text, value):
    assert load_yaml(text) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "'a' stands twice"),
        ("000000012: 1\n000000012: 2", "'000000012' stands twice"),
        ("[a]: 1", "a name must be text"),
        ("a: &a [*a]", "repeats itself"),
        ("a: *b", "repeats itself or nothing"),
        ("a: [1", "expected"),
        ("!!python/object:os.system {}", "constructor"),
        ("!!int x", "cannot be read"),
        ("[" * 100_000, "nested more than 50 deep"),
        ("a: " * 1000, "not allowed here"),
        ("- a\n" * 30_000, "stands for more than 20,000 values"),
        ("x" * 2**21, "more than 1,048,576 characters"),
        ("\0", "not allowed"),
        ("n: " + "9" * 5000, "cannot be read"),
    ],
)
def test_what_is_no_settings_text_is_refused(text, message):
    with pytest.raises(yaml.YAMLError, match=message):
        load_yaml(text)


def test_aliases_that_multiply_are_refused_before_anything_is_made():
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    with pytest.raises(yaml.YAMLError, match="stands for more than"):
        load_yaml("\n".join(lines))
