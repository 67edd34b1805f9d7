"""The subject against every other arm: differences with their intervals, and in how many seeds it is better."""

from collections.abc import Sequence
from dataclasses import dataclass

from tools.reporting.compare import Column, wins_by_seed
from tools.reporting.element import Markup, group, tag
from tools.reporting.report import Report


@dataclass(frozen=True, slots=True)
class Cell:
    """Subject minus other arm in one measure, as shown: the difference, its interval, and the seeds.

    Attributes:
        kind: ``better``, ``worse``, ``aside`` where the difference is within noise; empty without an interval.
    """

    difference: str
    interval: str = ""
    seeds: str = ""
    kind: str = ""

    @property
    def text(self) -> str:
        return " ".join(part for part in (self.difference, self.interval, self.seeds) if part)


def pairs(report: Report) -> list[tuple[str, list[Cell]]]:
    """(other arm, a cell per column of the summary); empty where nothing can be said beyond the tables."""
    subject, table = report.verdict.subject, report.summary
    if not subject:
        return []
    wins = dict(wins_by_seed(report.comparison.results, subject))
    rows = []
    for arm, _ in table.rows:
        if arm != subject:
            counts = wins.get(arm, ((0, 0),) * len(table.columns))
            cells = [_cell(report, arm, index, counts[index]) for index in range(len(table.columns))]
            rows.append((arm, cells))
    return rows if any(cell.interval or cell.seeds for _, cells in rows for cell in cells) else []


def section(report: Report) -> Markup | None:
    """The table for the report; None where there is neither an interval nor a second seed."""
    rows = pairs(report)
    if not rows:
        return None
    columns = report.summary.columns
    head = tag("tr", tag("th", "against", scope="col"), [tag("th", column.phrase, scope="col") for column in columns])
    body = [tag("tr", tag("th", arm, scope="row"), [_html(cell) for cell in cells]) for arm, cells in rows]
    return group(
        tag("h3", f"{report.verdict.subject} minus the other arms"),
        tag("div", tag("table", tag("thead", head), tag("tbody", body), class_="numbers"), class_="scroll"),
        tag("p", NOTE, class_="note"),
    )


NOTE = (
    "In brackets the 95 % interval of the difference, paired over queries and seeds: bootstrap of the queries, "
    "Student's t over the seeds. Green and red stand beyond noise; grey means that the interval holds zero."
)


def _cell(report: Report, arm: str, index: int, wins: tuple[int, int]) -> Cell:
    subject, column = report.verdict.subject, report.summary.columns[index]
    values = dict(report.summary.ranking(index))
    if not {subject, arm} <= values.keys():
        return Cell("-")
    won, compared = wins
    seeds = f"{won} of {compared} seeds" if compared > 1 else ""
    found = report.comparison.difference(subject, arm, column)
    if found is None:
        return Cell(_signed(values[subject] - values[arm]), seeds=seeds)
    better = (found.value > 0) == column.higher_is_better
    kind = "aside" if found.within_noise else "better" if better else "worse"
    low, high = (_signed(_shown(column, one)) for one in (found.low, found.high))
    return Cell(_signed(_shown(column, found.value)), f"[{low}, {high}]", seeds, kind)


def _shown(column: Column, difference: float) -> float:
    return 100 * difference if column.percent else difference


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "\N{MINUS SIGN}")


def _html(cell: Cell) -> Markup:
    small = [tag("span", text, class_="span") for text in (cell.interval, cell.seeds) if text]
    return tag("td", cell.difference, small, class_="missing" if cell.difference == "-" else cell.kind or None)


def markdown_cells(cells: Sequence[Cell]) -> list[str]:
    """The cells as text; bold where they stand beyond noise."""
    return [f"**{cell.text}**" if cell.kind in ("better", "worse") else cell.text for cell in cells]
