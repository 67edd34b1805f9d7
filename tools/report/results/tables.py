"""Tables of measures: arms as rows, measures as columns, each with a direction and its best value."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

from tools.evaluate.packed_ranks import WAYS
from tools.report.material.average import split_seed
from tools.report.material.inputs import Directions, Result

Address = tuple[str, tuple[str, ...], str]
"""Kind, sets and measure as in :mod:`tools.report.material.queries`, or ``cka``; of several sets the mean."""
Row = tuple[str, tuple[float | None, ...]]
"""An arm and a value for each column; None where the arm was not measured."""

RECALLS = ("R@1", "R@5", "R@10")
PUBLISHED = "published"
"""Kind of the columns that hold the paper's figures."""


class Spread(NamedTuple):
    """How a measure scatters over seeds: sample standard deviation (n - 1), lowest and highest value."""

    deviation: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Column:
    """A measure: its group and name in tables, its address, and its name in a sentence."""

    group: str
    name: str
    address: Address
    phrase: str = ""

    @property
    def published(self) -> bool:
        """Whether this is a figure of the paper, which is shown in grey and takes no part in the comparison."""
        return self.address[0] == PUBLISHED

    @property
    def drifts(self) -> bool:
        """Whether arms that left the image encoder alone do not compete in it."""
        return self.address[0] in ("drift", "cka")

    @property
    def higher_is_better(self) -> bool:
        return "rank" not in self.address[2]

    @property
    def arrow(self) -> str:
        return "↑" if self.higher_is_better else "↓"

    @property
    def factor(self) -> int:
        """100 for shares, which are shown in percent."""
        return 100 if self.higher_is_better and self.address[0] != "cka" else 1

    @property
    def digits(self) -> int:
        """Digits after the point."""
        return 3 if self.address[0] == "cka" else 1

    def text(self, value: float | None, spread: Spread | None = None) -> str:
        """The value as tables show it, with its deviation over seeds; comparisons are made at this precision."""
        if value is None:
            return "-"
        deviation = f" ± {self.factor * spread.deviation:.{self.digits}f}" if spread else ""
        return f"{self.factor * value:.{self.digits}f}{deviation}{' %' if self.factor == 100 else ''}"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of values.

    ``unranked`` holds (arm, column) pairs that take no part in the comparison, ``spread`` how seeds scatter, ``level``
    the pairs whose distance from the best is within noise; ``references`` are rows that were published, not measured.
    """

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    unranked: frozenset[tuple[str, int]] = frozenset()
    spread: Mapping[tuple[str, int], Spread] = field(default_factory=dict)
    level: frozenset[tuple[str, int]] = frozenset()
    references: tuple[str, ...] = ()

    @property
    def groups(self) -> list[tuple[str, int]]:
        """The groups of columns and how many columns each has; empty where no column has a group."""
        found = [(name, len(list(columns))) for name, columns in groupby(self.columns, key=lambda c: c.group)]
        return found if any(name for name, _ in found) else []

    def text(self, arm: str, index: int) -> str:
        """A cell: the value, ± its deviation over seeds, ``≈`` where its distance from the best is within noise."""
        level = "≈" if (arm, index) in self.level else ""
        return self.columns[index].text(dict(self.rows)[arm][index], self.spread.get((arm, index))) + level

    def share(self, arm: str, index: int) -> float:
        """The value as a share of the column's largest, for bars."""
        most = max((abs(row[index] or 0) for _, row in self.rows), default=0) or 1
        return abs(dict(self.rows)[arm][index] or 0) / most

    def span(self, arm: str, index: int) -> str:
        """The lowest and highest value over seeds; empty without seeds, or where they are all the same."""
        spread, column = self.spread.get((arm, index)), self.columns[index]
        return f"{column.text(spread.low)} – {column.text(spread.high)}" if spread and spread.deviation else ""

    def ranking(self, index: int) -> list[tuple[str, float]]:
        """(arm, value as shown) of one column, best first; arms without a value or unranked are left out."""
        column = self.columns[index]
        if column.published:
            return []
        values = [
            (arm, round(column.factor * value, column.digits))
            for arm, row in self.rows
            if (value := row[index]) is not None and (arm, index) not in self.unranked and arm not in self.references
        ]
        return sorted(values, key=lambda pair: pair[1], reverse=column.higher_is_better)

    def is_best(self, arm: str, index: int) -> bool:
        """Whether the arm's value is the best, alone or with others, in a column whose values are not all the same."""
        ranking = self.ranking(index)
        return bool(ranking) and ranking[0][1] != ranking[-1][1] and (arm, ranking[0][1]) in ranking


def value_of(result: Result, address: Address) -> float | None:
    """The mean of a measure over its sets and directions; None where one is absent."""
    kind, names, measure = address
    values: list[float | None] = []
    if kind in ("retrieval", "drift"):
        way, _, name = measure.rpartition("/")
        for found in [result.drift] if kind == "drift" else [result.retrieval.get(name) for name in names]:
            for direction in [way] if way else WAYS:
                for m in RECALLS if name == "recall" else (name,):
                    values.append(None if found is None else found[direction][m])
    elif names == ("",):
        values = [None if result.zeroshot is None else result.zeroshot[measure]]
    else:
        values = [result.scores.get(kind, {}).get(name) for name in names]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def make_table(
    results: Sequence[Result],
    columns: Sequence[Column],
    read: Callable[[Result, Address], float | None] = value_of,
) -> Table:
    """A row for each result; columns that no result has a value for are left out."""
    values = {column: [read(result, column.address) for result in results] for column in columns}
    kept = [column for column in columns if any(value is not None for value in values[column])]
    rows = tuple((result.name, tuple(values[column][i] for column in kept)) for i, result in enumerate(results))
    drifting = [index for index, column in enumerate(kept) if column.drifts]
    return Table(tuple(kept), rows, frozenset((arm, index) for arm in unmoved(results) for index in drifting))


def spreads(
    per_seed: Sequence[Result], build: Callable[[Sequence[Result]], Table], columns: Sequence[Column] | None = None
) -> dict[tuple[str, int], Spread]:
    """(arm, column) -> how its seeds scatter; for arms of two seeds or more.

    Args:
        per_seed: results of single seeds.
        build: makes the table.
        columns: of the arms' own table, where a measure that one seed lacks is absent; by default the seeds' columns.
    """
    table = build(per_seed)
    places = {column: index for index, column in enumerate(columns or table.columns) if not column.published}
    found: dict[tuple[str, int], list[float]] = {}
    for name, row in table.rows:
        arm, seed = split_seed(name)
        for column, value in zip(table.columns, row, strict=True):
            if seed is not None and value is not None and column in places:
                found.setdefault((arm, places[column]), []).append(value)
    return {
        place: Spread(statistics.stdev(values), min(values), max(values))
        for place, values in found.items()
        if len(values) > 1
    }


def unmoved(results: Sequence[Result]) -> frozenset[str]:
    """Arms whose image encoder is the original one: the untouched CLIP, and arms with its drift figures."""
    originals = [result.drift for result in results if result.checkpoint is None and result.drift]
    return frozenset(
        result.name
        for result in results
        if result.checkpoint is None or (result.drift and any(_same(result.drift, one) for one in originals))
    )


def _same(one: Directions, other: Directions) -> bool:
    """Equal up to the rounding of a mean over seeds."""
    return all(math.isclose(value, other[way][name], rel_tol=1e-9) for way in one for name, value in one[way].items())


def caption_sets(results: Sequence[Result]) -> list[str]:
    """The names of the retrieval sets, in the order of first appearance."""
    return list(dict.fromkeys(name for result in results for name in result.retrieval))


def whole_sets(results: Sequence[Result]) -> list[str]:
    """The retrieval sets that count in averages: neither parts of others nor sets in several languages."""
    aside = parts_of(results) | {name for result in results for name in result.languages}
    return [name for name in caption_sets(results) if name not in aside]


def parts_of(results: Sequence[Result]) -> set[str]:
    """The sets that are parts of others."""
    return {name for result in results for name in result.parts}


def score_names(results: Sequence[Result], kind: str) -> list[str]:
    """The sets, and SET/KIND, of a table of scores, in the order of first appearance."""
    return list(dict.fromkeys(name for result in results for name in result.scores.get(kind, {})))


def widths_of(lines: Sequence[Sequence[str]]) -> list[int]:
    """The widest cell of every column of plain text."""
    return [max(len(line[index]) for line in lines) for index in range(len(lines[0]))]


def aligned(lines: Sequence[Sequence[str]], widths: Sequence[int] | None = None) -> list[str]:
    """Columns as wide as their widest cell; the first cell of each line to the left, the others to the right."""
    widths = widths or widths_of(lines)
    rows = []
    for first, *cells in lines:
        padded = [f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True)]
        rows.append("  ".join([f"{first:<{widths[0]}}", *padded]).rstrip())
    return rows
