"""YAML as settings are read from it: plain values, and no name twice."""

from collections.abc import Hashable
from typing import Any

import yaml


class _EachNameOnce(yaml.SafeLoader):
    """Refuses a name that stands twice, of which YAML would keep the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        names = [name.value for name, _ in node.value]
        for name in names:
            if names.count(name) > 1:
                raise yaml.YAMLError(f"{name!r} stands twice; give each its own name")
        return super().construct_mapping(node, deep)


def load_yaml(text: str) -> Any:
    """The value of a YAML text. Raises: yaml.YAMLError: it is no YAML, or a mapping has a name twice."""
    return yaml.load(text, _EachNameOnce)
