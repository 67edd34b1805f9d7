"""The report's tables of results."""

from itertools import groupby

from tools.reporting import paper
from tools.reporting.charts import bar
from tools.reporting.compare import LEGEND, Spread, Table, details
from tools.reporting.element import Markup, group, tag
from tools.reporting.report import Report
from tools.reporting.table import marks


def section(report: Report) -> Markup:
    """The summary with bars and its legend, the paper's two tables, then every measure in full."""
    comparison, overview = report.comparison, report.summary
    shown = {word for column in overview.columns for word in (column.group, column.name)}
    legend = [group(tag("dt", word), tag("dd", meaning)) for word, meaning in LEGEND if word in shown]
    noted = [text.split(": ", 1) for text in marks(comparison, overview)]
    legend += [group(tag("dt", sign), tag("dd", meaning)) for sign, meaning in noted]
    return group(
        html_table(overview, bars=True),
        tag("dl", legend, class_="legend"),
        [_paper_table(heading, table) for heading, table in paper_tables(report)],
        [group(tag("h3", heading), html_table(table, bars=False)) for heading, table in details(comparison.arms)],
    )


def paper_tables(report: Report) -> list[tuple[str, Table]]:
    """The paper's tables, under their headings, that say more than the tables of single sets."""
    tables = [
        ("Retrieval, R@1, as in the paper", report.comparison.table(paper.retrieval)),
        ("Zero-shot classification, as in the paper", report.comparison.table(paper.zero_shot)),
    ]
    return [(heading, table) for heading, table in tables if len(table.columns) > 2 or table.references]


def _paper_table(heading: str, table: Table) -> Markup:
    note = f"{paper.SOURCE} Published rows are for orientation: other data, other models." if table.references else None
    return group(tag("h3", heading), html_table(table, bars=False), tag("p", note, class_="note") if note else None)


def html_table(table: Table, bars: bool) -> Markup:
    """Arms as rows; the best of a column is bold and marked, arrows tell the good direction, small print the lowest and
    highest values over seeds.
    """
    grouped = groupby(table.columns, key=lambda column: column.group)
    groups = [
        tag("th", name, colspan=len(list(columns)), scope="colgroup", class_="group" if name else None)
        for name, columns in grouped
    ]
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
            class_="published" if arm in table.references else None,
        )
        for arm, row in table.rows
    ]
    titles = tag("tr", tag("td"), groups) if any(column.group for column in table.columns) else None
    head = tag("thead", titles, tag("tr", tag("th", "arm", scope="col"), names))
    kind = "numbers wide" if bars else "numbers"
    return tag("div", tag("table", head, tag("tbody", rows), class_=kind), class_="scroll")


def _opens_group(table: Table, index: int) -> bool:
    return index == 0 or table.columns[index].group != table.columns[index - 1].group


def _cell(table: Table, arm: str, index: int, value: float | None, bars: bool) -> Markup:
    best = table.is_best(arm, index)
    text = table.text(arm, index)
    if value is None:
        return tag("td", text, class_="missing")
    aside = (arm, index) in table.unranked
    kinds = ["first"] * _opens_group(table, index) + ["best"] * best + ["aside"] * aside
    most = max((row[index] or 0 for _, row in table.rows), default=0) or 1
    return tag(
        "td",
        tag("strong", text, title="best") if best else text,
        bar(value / most, best) if bars else None,
        _span(table, table.spread.get((arm, index)), index) if bars else None,
        class_=" ".join(kinds) or None,
        title="the image encoder is the original one" if aside else None,
    )


def _span(table: Table, spread: Spread | None, index: int) -> Markup | None:
    if spread is None or not spread.deviation:
        return None
    column = table.columns[index]
    return tag("span", f"{column.text(spread.low)} – {column.text(spread.high)}", class_="span")
