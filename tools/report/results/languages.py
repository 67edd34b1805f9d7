"""Retrieval by language: languages as rows, arms as columns."""

from collections.abc import Sequence

from tools.report.material.inputs import DIRECTIONS, Result

Rows = list[tuple[str, list[float | None]]]


def tables(arms: Sequence[Result]) -> list[tuple[str, list[str], Rows]]:
    """(set, its arms, their rows) for each set of several languages: R@1, mean of both directions."""
    found = []
    for name in dict.fromkeys(name for arm in arms for name in arm.languages):
        having = [arm for arm in arms if name in arm.languages]
        found.append((name, [arm.name for arm in having], rows(name, having)))
    return found


def rows(name: str, arms: Sequence[Result]) -> Rows:
    """(language, R@1 of each arm), and first of all the mean over languages."""
    languages = sorted({language for arm in arms for language in arm.languages[name]})
    found = [(language, [_recall(arm, name, language) for arm in arms]) for language in languages]
    mean: list[float | None] = [
        sum(values) / len(languages) if len(values := [v for v in column if v is not None]) == len(languages) else None
        for column in zip(*(values for _, values in found), strict=True)
    ]
    return [("all", mean), *found]


def _recall(arm: Result, name: str, language: str) -> float | None:
    values = arm.languages[name].get(language)
    return sum(values[way]["R@1"] for way in DIRECTIONS) / len(DIRECTIONS) if values else None
