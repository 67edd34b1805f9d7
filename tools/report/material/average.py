"""Means over seeds: results named ``ARM (seed N)`` become one result named ``ARM``."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tools.report.material.inputs import DIRECTIONS, Result, as_results

_NAME = re.compile(r"(?P<arm>.*\S) \(seed (?P<seed>\d+)\)")


def split_seed(name: str) -> tuple[str, int | None]:
    """``("ProCLIP", 2)`` for ``ProCLIP (seed 2)``; the seed is None for other names."""
    match = _NAME.fullmatch(name)
    return (match["arm"], int(match["seed"])) if match else (name, None)


def average_results(results: Sequence[Result | Mapping[str, Any]]) -> list[Result]:
    """One result for each arm, in the order of first appearance, with the mean of every measure.

    Measures that one of an arm's seeds lacks are left out. Examples are those of the arm's first seed. A single result
    stays as it is, but for its name.
    """
    arms: dict[str, list[Result]] = {}
    for result in as_results(results):
        arms.setdefault(split_seed(result.name)[0], []).append(result)
    return [_mean(arm, seeds) for arm, seeds in arms.items()]


def seeds_in_words(arms: Sequence[Result]) -> str:
    """``3 seeds``, or ``2 to 3 seeds`` where arms that depend on a seed have different numbers of them."""
    counts = [arm.num_seeds for arm in arms if arm.num_seeds > 1]
    fewest, most = min(counts), max(counts)
    return f"{most} seeds" if fewest == most else f"{fewest} to {most} seeds"


def _mean(arm: str, seeds: Sequence[Result]) -> Result:
    names = _shared([seed.retrieval for seed in seeds])
    drifts = [seed.drift for seed in seeds if seed.drift]
    zeroshots = [seed.zeroshot for seed in seeds if seed.zeroshot]
    return replace(
        seeds[0],
        name=arm,
        num_seeds=len(seeds),
        retrieval={name: _mean_directions([seed.retrieval[name] for seed in seeds]) for name in names},
        drift=_mean_directions(drifts) if len(drifts) == len(seeds) else None,
        zeroshot=_mean_values(zeroshots) if len(zeroshots) == len(seeds) else None,
        languages={
            name: {
                language: _mean_directions([seed.languages[name][language] for seed in seeds])
                for language in _shared([seed.languages[name] for seed in seeds])
            }
            for name in _shared([seed.languages for seed in seeds])
        },
        scores={
            table: {
                name: sum(seed.scores[table][name] for seed in seeds) / len(seeds)
                for name in _shared([seed.scores[table] for seed in seeds])
            }
            for table in _shared([seed.scores for seed in seeds])
        },
    )


def _shared(mappings: Sequence[Mapping[str, Any]]) -> list[str]:
    return [name for name in mappings[0] if all(name in other for other in mappings)]


def _mean_directions(values: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    return {way: _mean_values([value[way] for value in values]) for way in DIRECTIONS}


def _mean_values(values: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: sum(value[name] for value in values) / len(values) for name in values[0]}
