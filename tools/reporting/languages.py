"""Retrieval by language: languages as rows, arms as columns, each with a bar."""

from collections.abc import Sequence

from tools.reporting.charts import bar
from tools.reporting.element import Markup, group, tag
from tools.reporting.inputs import DIRECTIONS, Result


def section(arms: Sequence[Result]) -> Markup | None:
    """A table for each set of several languages: R@1, mean of both directions; None where there is no such set."""
    names = dict.fromkeys(name for arm in arms for name in arm.languages)
    tables = [group(tag("h3", name), _table(name, [arm for arm in arms if name in arm.languages])) for name in names]
    note = tag("p", "R@1 in each language, mean of image to text and text to image.", class_="note")
    return group(note, tables) if tables else None


def rows(name: str, arms: Sequence[Result]) -> list[tuple[str, list[float | None]]]:
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


def _table(name: str, arms: Sequence[Result]) -> Markup:
    head = tag("tr", tag("th", "language", scope="col"), [tag("th", arm.name, scope="col") for arm in arms])
    body = []
    for language, values in rows(name, arms):
        best = max((round(value, 3) for value in values if value is not None), default=None)
        cells = [_cell(value, len(arms) > 1 and value is not None and round(value, 3) == best) for value in values]
        body.append(tag("tr", tag("th", language, scope="row"), cells))
    return tag("div", tag("table", tag("thead", head), tag("tbody", body), class_="numbers languages"), class_="scroll")


def _cell(value: float | None, best: bool) -> Markup:
    if value is None:
        return tag("td", "-", class_="missing")
    text = f"{100 * value:.1f} %"
    return tag("td", tag("strong", text) if best else text, bar(value, best), class_="best" if best else None)
