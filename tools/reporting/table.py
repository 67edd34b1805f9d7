"""Tables of results as plain text for terminals and as Markdown."""

import textwrap
from collections.abc import Sequence
from itertools import groupby

from tools.reporting.compare import LEGEND, Table, details, summary
from tools.reporting.inputs import Result


def text_summary(results: Sequence[Result]) -> str:
    """The arms side by side in the few measures that tell them apart, for the terminal, with a legend."""
    table = summary(results)
    shown = {word for column in table.columns for word in (column.group, column.name)}
    legend = [f"{word}: {meaning}" for word, meaning in LEGEND if word in shown]
    return "\n".join(
        [text_table(table), "", *(line for text in legend for line in textwrap.wrap(text, 100, subsequent_indent="  "))]
    )


def text_details(results: Sequence[Result]) -> str:
    """Every recall and rank of every caption set and of the drift probe, for the terminal."""
    return "\n\n".join(f"{heading}\n{text_table(table)}" for heading, table in details(results))


def markdown_summary(results: Sequence[Result]) -> str:
    """The same table as :func:`text_summary` as Markdown."""
    return markdown_table(summary(results))


def text_table(table: Table) -> str:
    """Aligned columns under their groups. A ``*`` marks the best of a column, an arrow the good direction."""
    lines = [["arm", *(f"{column.name} {column.arrow} " for column in table.columns)]]
    for arm, values in table.rows:
        cells = [
            column.text(value) + ("*" if table.is_best(arm, index) else " ")
            for index, (column, value) in enumerate(zip(table.columns, values, strict=True))
        ]
        lines.append([arm, *cells])
    widths = [max(len(line[index]) for line in lines) for index in range(len(lines[0]))]
    groups = " " * widths[0]
    for group, span in groupby(range(len(table.columns)), key=lambda index: table.columns[index].group):
        indices = [index + 1 for index in span]
        width = sum(widths[index] for index in indices) + 2 * (len(indices) - 1)
        widths[indices[0]] += max(0, len(group) - width)
        groups += f"  {group:<{max(width, len(group))}}"
    body = [
        f"{line[0]:<{widths[0]}}  "
        + "  ".join(f"{cell:>{width}}" for cell, width in zip(line[1:], widths[1:], strict=True))
        for line in lines
    ]
    rule = "-" * max(len(line.rstrip()) for line in [groups, *body])
    return "\n".join(line.rstrip() for line in [groups, body[0], rule, *body[1:]])


def markdown_table(table: Table) -> str:
    """A Markdown table; the best of a column is bold."""
    header = ["arm", *(f"{column.group}: {column.name} {column.arrow}" for column in table.columns)]
    lines = [header, ["---", *("---:" for _ in table.columns)]]
    for arm, values in table.rows:
        cells = [
            f"**{column.text(value)}**" if table.is_best(arm, index) else column.text(value)
            for index, (column, value) in enumerate(zip(table.columns, values, strict=True))
        ]
        lines.append([arm, *cells])
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
