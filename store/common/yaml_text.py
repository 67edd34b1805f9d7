"""YAML 1.2 as settings are read from it: plain values, no name twice, and no text that grows when it is read.

A number is written as json writes it, a floating-point number also as ``.5`` or ``1.``; true, false, null and ``~`` are
the only other words with a meaning of their own. All else is text: ``000000012`` (a sample key), ``no`` (Norwegian),
``2026-01-01``, ``0x10``, ``1_000``.
"""

import re
from collections.abc import Hashable
from typing import Any

import yaml

MAX_CHARACTERS, MAX_VALUES, MAX_DEPTH = 2**20, 20_000, 50
"""Limits: size of a text; values in it, where ``*NAME`` counts as what it repeats; depth of lists and mappings."""

_PLAIN = {
    "null": (r"(?:null|Null|NULL|~|)", ["n", "N", "~", ""]),
    "bool": (r"(?:true|True|TRUE|false|False|FALSE)", list("tTfF")),
    "int": (r"-?(?:0|[1-9][0-9]*)", list("-0123456789")),
    "float": (
        r"(?:-?(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|[-+]?\.[0-9]+(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))",
        list("-+.0123456789"),
    ),
}


class _Loader(yaml.SafeLoader):
    """Reads plain values as the module says; refuses a name that is given twice, of which YAML would keep the last."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - as the base declares it

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for name, _ in node.value:
            if not isinstance(name, yaml.ScalarNode):
                raise yaml.YAMLError("a name must be text")
            if name.value in seen:
                raise yaml.YAMLError(f"{name.value!r:.80} stands twice; give each its own name")
            seen.add(name.value)
        return super().construct_mapping(node, deep)


for _kind, (_pattern, _first) in _PLAIN.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(_pattern + r"\Z"), _first)


def load_yaml(text: str) -> Any:
    """The value of a YAML text.

    Raises:
        yaml.YAMLError: it is not YAML, gives a name twice, or is too large or too deeply nested for settings.
    """
    if len(text) > MAX_CHARACTERS:
        raise yaml.YAMLError(f"it has more than {MAX_CHARACTERS:,} characters")
    try:
        _require_small(text)
        return yaml.load(text, _Loader)
    except (ValueError, TypeError, RecursionError) as error:  # a tag that does not fit its value; a huge number
        raise yaml.YAMLError(f"a value in it cannot be read: {error}") from error


def _require_small(text: str) -> None:
    """Count the values of the text before any is made; an alias counts as what it repeats."""
    anchors: dict[str, int] = {}
    opened: list[list[Any]] = [[None, 0]]
    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            opened.append([event.anchor, 1])
            if len(opened) > MAX_DEPTH:
                raise yaml.YAMLError(f"lists and mappings are nested more than {MAX_DEPTH} deep")
            continue
        size = 1
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, size = opened.pop()
            anchors[anchor] = size
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in anchors:
                raise yaml.YAMLError(f"*{event.anchor:.80} repeats itself or nothing")
            size = anchors[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            anchors[event.anchor or ""] = 1
        opened[-1][1] += size
        if opened[-1][1] > MAX_VALUES:
            raise yaml.YAMLError(f"it stands for more than {MAX_VALUES:,} values")
