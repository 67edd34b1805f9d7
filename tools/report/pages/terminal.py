"""Tables of results as plain text for terminals.

Results come parsed, or still as the json objects that ``keyclip eval`` writes.
"""

import textwrap
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from tools.compare import reuse
from tools.report.material.average import seeds_in_words
from tools.report.material.inputs import RETRIEVAL_MEASURES, Result, as_results
from tools.report.results.comparison import Comparison
from tools.report.results.summary import LEGEND, LEVEL, summary
from tools.report.results.tables import RECALLS, Table, aligned, widths_of


def text_table(results: Sequence[Result | Mapping[str, Any]]) -> str:
    """A single result with all its measures; several side by side, see :func:`comparison_text`."""
    parsed = as_results(results)
    return _single(parsed[0]) if len(parsed) == 1 else comparison_text(Comparison(parsed))


def comparison_text(comparison: Comparison) -> str:
    """The arms side by side in the measures that distinguish them.

    Seeds of an arm become one line, mean ± standard deviation. A ``*`` marks the best of a column, ``≈`` values
    whose distance from it is within noise, an arrow the good direction; a legend follows.
    """
    table = comparison.table(summary)
    shown = {word for column in table.columns for word in (column.group, column.name)}
    legend = [f"{word}: {meaning}" for word, meaning in LEGEND if word in shown] + marks(comparison, table)
    wrapped = [line for text in legend for line in textwrap.wrap(text, 100, subsequent_indent="  ")]
    return "\n".join([*_ruled(table), "", *wrapped])


def uses_text(uses: Sequence[reuse.FieldUse]) -> str:
    """How often vectors were read: a sentence, and a line for each field."""
    return "\n".join([reuse.sentence(uses), "", *aligned([reuse.COLUMNS, *(use.row for use in uses)])])


def marks(comparison: Comparison, table: Table) -> list[str]:
    """What ``±`` and ``≈`` mean, where the table has them."""
    found = []
    if table.spread:
        found.append(f"±: standard deviation over seeds ({seeds_in_words(comparison.arms)})")
    if table.level:
        found.append(f"≈: {LEVEL}")
    return found


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


def _ruled(table: Table) -> list[str]:
    """The table's lines: groups, names, a rule, and a line for each arm."""
    lines = [["arm", *(f"{column.name} {column.arrow} " for column in table.columns)]]
    for arm, _ in table.rows:
        texts = [table.text(arm, index) for index in range(len(table.columns))]
        cells = [text + ("*" if table.is_best(arm, i) else "" if "≈" in text else " ") for i, text in enumerate(texts)]
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
