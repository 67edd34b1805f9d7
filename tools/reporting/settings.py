"""The effective settings of the runs: where they differ, side by side, and what they share."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tools.reporting.element import Markup, group, tag
from tools.reporting.inputs import Run

ABSENT = "not set"
MOST_VALUES = 3  # of one setting over the seeds of an arm

Rows = list[tuple[str, list[str]]]


def compared(runs: Sequence[Run]) -> tuple[list[str], Rows, dict[str, str]]:
    """The columns' names, (setting, value of each column) where they differ, and the settings that all share.

    The runs of an arm's seeds are one column; values that differ over its seeds stand together.
    """
    arms: dict[str, list[dict[str, str]]] = {}
    for run in runs:
        arms.setdefault(run.arm if len(runs) > 1 else run.name, []).append(dict(_flatten(run.config)))
    names = list(dict.fromkeys(name for configs in arms.values() for config in configs for name in config))
    values = {
        name: [_joined([config.get(name, ABSENT) for config in configs]) for configs in arms.values()] for name in names
    }
    shared = {name: row[0] for name, row in values.items() if len(set(row)) == 1}
    return list(arms), [(name, row) for name, row in values.items() if name not in shared], shared


def section(runs: Sequence[Run]) -> Markup:
    """The settings in which the runs differ, and below them those that they share."""
    columns, differing, shared = compared(runs)
    parts = []
    if len(runs) > 1:
        rows = [tag("tr", tag("th", name, scope="row"), [_cell(value) for value in row]) for name, row in differing]
        head = tag("tr", tag("th", "setting", scope="col"), [tag("th", name, scope="col") for name in columns])
        table = tag("div", tag("table", tag("thead", head), tag("tbody", rows), class_="settings"), class_="scroll")
        parts.append(tag("h3", "Where the runs differ"))
        parts.append(table if rows else tag("p", "All settings are the same.", class_="note"))
    if shared:
        parts.append(tag("h3", "Shared by all runs" if len(runs) > 1 else runs[0].name))
        pairs = [tag("div", tag("dt", name), tag("dd", value)) for name, value in shared.items()]
        parts.append(tag("dl", pairs, class_="shared"))
    return group(parts)


def _joined(values: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(values))
    more = f", and {len(distinct) - MOST_VALUES} more" if len(distinct) > MOST_VALUES else ""
    return ", ".join(distinct[:MOST_VALUES]) + more


def _flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """``{"optimizer": {"lr": 0.1}}`` gives ``("optimizer.lr", "0.1")``."""
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value)


def _cell(value: str) -> Markup:
    return tag("td", value, class_="missing") if value == ABSENT else tag("td", tag("code", value))
