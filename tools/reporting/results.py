"""The report's tables of results."""

from collections.abc import Sequence
from itertools import groupby

from tools.reporting.charts import bar
from tools.reporting.compare import LEGEND, Table, details, summary
from tools.reporting.element import Markup, group, tag
from tools.reporting.inputs import Result


def section(results: Sequence[Result]) -> Markup:
    """The summary with bars and its legend, then every measure in full."""
    overview = summary(results)
    shown = {word for column in overview.columns for word in (column.group, column.name)}
    legend = [group(tag("dt", word), tag("dd", meaning)) for word, meaning in LEGEND if word in shown]
    full = [group(tag("h3", heading), html_table(table, bars=False)) for heading, table in details(results)]
    return group(html_table(overview, bars=True), tag("dl", legend, class_="legend"), full)


def html_table(table: Table, bars: bool) -> Markup:
    """Arms as rows; the best of a column is bold and marked, arrows tell the good direction."""
    spans = groupby(table.columns, key=lambda column: column.group)
    groups = [tag("th", name, colspan=len(list(columns)), scope="colgroup", class_="group") for name, columns in spans]
    names = [
        tag(
            "th",
            f"{column.name}\N{NO-BREAK SPACE}{column.arrow}",
            scope="col",
            class_="first" if _opens_group(table, index) else None,
        )
        for index, column in enumerate(table.columns)
    ]
    rows = [
        tag(
            "tr",
            tag("th", arm, scope="row"),
            [_cell(table, arm, index, value, bars) for index, value in enumerate(row)],
        )
        for arm, row in table.rows
    ]
    head = tag("thead", tag("tr", tag("td"), groups), tag("tr", tag("th", "arm", scope="col"), names))
    kind = "numbers wide" if bars else "numbers"
    return tag("div", tag("table", head, tag("tbody", rows), class_=kind), class_="scroll")


def _opens_group(table: Table, index: int) -> bool:
    return index == 0 or table.columns[index].group != table.columns[index - 1].group


def _cell(table: Table, arm: str, index: int, value: float | None, bars: bool) -> Markup:
    column = table.columns[index]
    best = table.is_best(arm, index)
    text = tag("strong", column.text(value), title="best") if best else column.text(value)
    if value is None:
        return tag("td", text, class_="missing")
    aside = (arm, index) in table.unranked
    kinds = ["first"] * _opens_group(table, index) + ["best"] * best + ["aside"] * aside
    most = max((row[index] or 0 for _, row in table.rows), default=0) or 1
    return tag(
        "td",
        text,
        bar(value / most, best) if bars else None,
        class_=" ".join(kinds) or None,
        title="the image encoder is the original one" if aside else None,
    )
