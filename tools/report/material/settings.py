"""The effective settings of the runs: where they differ, side by side, and what they share."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tools.report.material.inputs import Run

ABSENT = "not set"
MOST_VALUES = 3  # of one setting over the seeds of an arm


@dataclass(frozen=True, slots=True)
class Stage:
    """The settings of the runs of one stage.

    Attributes:
        name: of the stage; empty where runs do not say.
        columns: the arms; the runs of an arm's seeds are one column.
        differing: a row for each setting that differs: its name and its value in each column.
        shared: settings that all runs share.
    """

    name: str
    columns: list[str]
    differing: list[list[str]]
    shared: dict[str, str]


def by_stage(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs of each stage, in the order of first appearance."""
    stages: dict[str, list[Run]] = {}
    for run in runs:
        stages.setdefault(str(run.config.get("stage", "")), []).append(run)
    return stages


def stages(runs: Sequence[Run]) -> list[Stage]:
    """The settings stage by stage; the values of different seeds are joined."""
    return [_stage(name, members) for name, members in by_stage(runs).items()]


def _stage(stage: str, runs: Sequence[Run]) -> Stage:
    arms: dict[str, list[dict[str, str]]] = {}
    for run in runs:
        # the folder and the stage are elsewhere; the data too, where flags say the same
        left_out = {"output", "stage", *([] if run.config.get("datasets") else ["data"])}
        settings = dict(_flatten({name: value for name, value in run.config.items() if name not in left_out}))
        arms.setdefault(run.arm if len(runs) > 1 else run.name, []).append(settings)
    names = dict.fromkeys(name for configs in arms.values() for config in configs for name in config)
    values = {
        name: [_joined([config.get(name, ABSENT) for config in configs]) for configs in arms.values()] for name in names
    }
    shared = {name: row[0] for name, row in values.items() if len(set(row)) == 1}
    return Stage(stage, list(arms), [[name, *row] for name, row in values.items() if name not in shared], shared)


def _joined(values: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(values))
    more = f", and {len(distinct) - MOST_VALUES} more" if len(distinct) > MOST_VALUES else ""
    return ", ".join(distinct[:MOST_VALUES]) + more


def _flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """``{"optimizer": {"lr": 0.1}}`` gives ``("optimizer.lr", "0.1")``; so do lists of mappings."""
    for name, value in config.items():
        if isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
            value = {str(place): item for place, item in enumerate(value)} if len(value) > 1 else value[0]
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value)
