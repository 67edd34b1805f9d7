"""Means over seeds: results named ``ARM (seed N)`` become one result named ``ARM``."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tools.report.material.inputs import Result

_NAME = re.compile(r"(?P<arm>.*\S) \(seed (?P<seed>\d+)\)")


def split_seed(name: str) -> tuple[str, int | None]:
    """``("ProCLIP", 2)`` for ``ProCLIP (seed 2)``; the seed is None for other names."""
    match = _NAME.fullmatch(name)
    return (match["arm"], int(match["seed"])) if match else (name, None)


def average_results(results: Sequence[Result]) -> list[Result]:
    """One result for each arm, in the order of first appearance, with the mean of every measure.

    Measures that a seed of the arm lacks are left out. Examples are the ones of the arm's first seed. A single result
    keeps its values.
    """
    arms: dict[str, list[Result]] = {}
    for result in results:
        arms.setdefault(split_seed(result.name)[0], []).append(result)
    return [_average(arm, seeds) for arm, seeds in arms.items()]


def seeds_in_words(arms: Sequence[Result]) -> str:
    """``3 seeds``, or ``2 to 3 seeds`` where arms that depend on a seed have different numbers of them."""
    counts = [arm.num_seeds for arm in arms if arm.num_seeds > 1]
    fewest, most = min(counts), max(counts)
    return f"{most} seeds" if fewest == most else f"{fewest} to {most} seeds"


def _average(arm: str, seeds: Sequence[Result]) -> Result:
    measures = ("retrieval", "drift", "zeroshot", "languages", "scores")
    values = {name: [getattr(seed, name) for seed in seeds] for name in measures}
    means: dict[str, Any] = {name: None if None in each else _mean(each) for name, each in values.items()}
    return replace(seeds[0], name=arm, num_seeds=len(seeds), **means)


def _mean(values: Sequence[Any]) -> Any:
    """The mean of numbers; of mappings, a mapping of the means of all keys that they share."""
    if not isinstance(values[0], Mapping):
        return sum(values) / len(values)
    return {key: _mean([v[key] for v in values]) for key in values[0] if all(key in v for v in values)}
