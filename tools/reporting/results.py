"""The report's tables of results."""

from collections.abc import Mapping, Sequence
from itertools import groupby

from tools.reporting.charts import bar
from tools.reporting.compare import LEGEND, Spread, Table, details, spreads, summary, wins_by_seed
from tools.reporting.element import Markup, group, tag
from tools.reporting.inputs import Result

Spreads = Mapping[tuple[str, int], Spread]
NO_SPREADS: Spreads = {}


def section(arms: Sequence[Result], per_seed: Sequence[Result]) -> Markup:
    """The summary with bars and its legend, then every measure in full. ``arms`` are the means of ``per_seed``."""
    overview = summary(arms)
    shown = {word for column in overview.columns for word in (column.group, column.name)}
    legend = [group(tag("dt", word), tag("dd", meaning)) for word, meaning in LEGEND if word in shown]
    full = [group(tag("h3", heading), html_table(table, bars=False)) for heading, table in details(arms)]
    overview_table = html_table(overview, bars=True, spread=spreads(per_seed))
    return group(overview_table, tag("dl", legend, class_="legend"), full)


def seed_table(per_seed: Sequence[Result], subject: str) -> Markup | None:
    """In how many seeds the arm ``subject`` is better than each other arm; None if there is but one seed."""
    columns = summary(per_seed).columns
    rows = [
        tag("tr", tag("th", arm, scope="row"), [_count(won, compared) for won, compared in counts])
        for arm, counts in wins_by_seed(per_seed, subject)
        if max(compared for _, compared in counts) > 1
    ]
    if not rows:
        return None
    head = tag("tr", tag("th", "against", scope="col"), [tag("th", column.phrase, scope="col") for column in columns])
    table = tag("table", tag("thead", head), tag("tbody", rows), class_="numbers")
    return group(tag("h3", f"Seeds in which {subject} is better"), tag("div", table, class_="scroll"))


def _count(won: int, compared: int) -> Markup:
    if not compared:
        return tag("td", "-", class_="missing")
    return tag("td", f"{won} of {compared}", class_="best" if won == compared else None)


def html_table(table: Table, bars: bool, spread: Spreads = NO_SPREADS) -> Markup:
    """Arms as rows; the best of a column is bold and marked, arrows tell the good direction; ``spread`` says how
    the seeds scatter.
    """
    grouped = groupby(table.columns, key=lambda column: column.group)
    groups = [
        tag("th", name, colspan=len(list(columns)), scope="colgroup", class_="group") for name, columns in grouped
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
            [_cell(table, arm, index, value, bars, spread.get((arm, index))) for index, value in enumerate(row)],
        )
        for arm, row in table.rows
    ]
    head = tag("thead", tag("tr", tag("td"), groups), tag("tr", tag("th", "arm", scope="col"), names))
    kind = "numbers wide" if bars else "numbers"
    return tag("div", tag("table", head, tag("tbody", rows), class_=kind), class_="scroll")


def _opens_group(table: Table, index: int) -> bool:
    return index == 0 or table.columns[index].group != table.columns[index - 1].group


def _cell(table: Table, arm: str, index: int, value: float | None, bars: bool, spread: Spread | None) -> Markup:
    column = table.columns[index]
    best = table.is_best(arm, index)
    text = column.text(value, spread)
    text = tag("strong", text, title="best") if best else text
    if value is None:
        return tag("td", text, class_="missing")
    aside = (arm, index) in table.unranked
    kinds = ["first"] * _opens_group(table, index) + ["best"] * best + ["aside"] * aside
    most = max((row[index] or 0 for _, row in table.rows), default=0) or 1
    return tag(
        "td",
        text,
        bar(value / most, best) if bars else None,
        tag("span", f"{column.text(spread.low)} – {column.text(spread.high)}", class_="span")
        if spread and spread.deviation
        else None,
        class_=" ".join(kinds) or None,
        title="the image encoder is the original one" if aside else None,
    )
