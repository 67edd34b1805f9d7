"""Tables of results as plain text for terminals and as Markdown.

Results come parsed, or still as the json objects that ``keyclip eval`` writes.
"""

import textwrap
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from tools.reporting.average import average_results, seeds_in_words
from tools.reporting.columns import aligned, widths_of
from tools.reporting.compare import LEGEND, RECALLS, Spread, Table, spreads, summary
from tools.reporting.inputs import RETRIEVAL_MEASURES, Result, as_results


def text_table(results: Sequence[Result | Mapping[str, Any]]) -> str:
    """A single result with all its measures; several side by side in the measures that tell them apart.

    Seeds of an arm become one line, mean ± standard deviation. In the comparison a ``*`` marks the best of a column,
    an arrow the good direction; a legend follows.
    """
    parsed = as_results(results)
    return _single(parsed[0]) if len(parsed) == 1 else _comparison(parsed)


def markdown_table(results: Sequence[Result | Mapping[str, Any]]) -> str:
    """The arms side by side as a Markdown table, seeds as mean ± deviation; the best of a column is bold."""
    parsed = as_results(results)
    table, spread = summary(average_results(parsed)), spreads(parsed)
    header = ["arm", *(f"{column.group}: {column.name} {column.arrow}" for column in table.columns)]
    lines = [header, ["---", *("---:" for _ in table.columns)]]
    for arm, values in table.rows:
        cells = [
            f"**{text}**" if table.is_best(arm, index) else text
            for index, (column, value) in enumerate(zip(table.columns, values, strict=True))
            for text in [column.text(value, spread.get((arm, index)))]
        ]
        lines.append([arm, *cells])
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _single(result: Result) -> str:
    title = f"{result.name}, {result.num_images:,} images"
    lines = [[title, *(name.replace("_", " ") for name in RETRIEVAL_MEASURES)]]
    for name, directions in [*result.retrieval.items(), *([("drift", result.drift)] if result.drift else [])]:
        for way, values in directions.items():
            shown = [f"{100 * values[m]:.1f} %" if m in RECALLS else f"{values[m]:.1f}" for m in RETRIEVAL_MEASURES]
            lines.append([f"{name}, {way.replace('_', ' ')}", *shown])
    text = "\n".join(aligned(lines))
    if result.zeroshot:
        top1, top5, classes = (result.zeroshot[name] for name in ("top1", "top5", "num_classes"))
        text += f"\nzero-shot over {classes:.0f} classes: top-1 {100 * top1:.1f} %, top-5 {100 * top5:.1f} %"
    return text


def _comparison(results: Sequence[Result]) -> str:
    arms, spread = average_results(results), spreads(results)
    table = summary(arms)
    shown = {word for column in table.columns for word in (column.group, column.name)}
    legend = [f"{word}: {meaning}" for word, meaning in LEGEND if word in shown]
    if spread:
        legend.append(f"±: standard deviation over seeds ({seeds_in_words(arms)})")
    wrapped = [line for text in legend for line in textwrap.wrap(text, 100, subsequent_indent="  ")]
    return "\n".join([*_ruled(table, spread), "", *wrapped])


def _ruled(table: Table, spread: Mapping[tuple[str, int], Spread]) -> list[str]:
    """The table's lines: groups, names, a rule, and a line for each arm."""
    lines = [["arm", *(f"{column.name} {column.arrow} " for column in table.columns)]]
    for arm, values in table.rows:
        cells = [
            column.text(value, spread.get((arm, index))) + ("*" if table.is_best(arm, index) else " ")
            for index, (column, value) in enumerate(zip(table.columns, values, strict=True))
        ]
        lines.append([arm, *cells])
    widths = widths_of(lines)
    groups = " " * widths[0]
    for group, span in groupby(range(len(table.columns)), key=lambda index: table.columns[index].group):
        indices = [index + 1 for index in span]
        width = sum(widths[index] for index in indices) + 2 * (len(indices) - 1)
        widths[indices[0]] += max(0, len(group) - width)
        groups += f"  {group:<{max(width, len(group))}}"
    names, *rows = aligned(lines, widths)
    rule = "-" * max(map(len, (groups.rstrip(), names, *rows)))
    return [groups.rstrip(), names, rule, *rows]
