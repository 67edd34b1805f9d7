"""Tables of measures: arms as rows, measures as columns, each with a direction and its best value."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tools.reporting.average import split_seed
from tools.reporting.inputs import DIRECTIONS, Result

Reader = Callable[[Result], float | None]

RECALLS = ("R@1", "R@5", "R@10")
LEGEND = (
    ("recall", "mean of R@1, R@5 and R@10, from image to text and from text to image"),
    ("rank", "rank of the true match, 1 being the best: mean of all queries in both directions"),
    (
        "drift",
        "retrieval between the arm's image encoder and the text encoder of the original CLIP: a higher rank means that "
        "fine-tuning has moved images away from what CLIP knew; arms that left the image encoder alone do not compete",
    ),
    ("zero-shot", "share of images whose class is the first, or among the first five, by class prompts alone"),
)

LEVEL = "not told apart from the best: the 95 % interval of the difference, over queries and seeds, holds zero"


@dataclass(frozen=True, slots=True)
class Spread:
    """How a measure scatters over seeds: sample standard deviation (n - 1), lowest and highest value."""

    deviation: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(statistics.stdev(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Column:
    """A measure: its group and name, which direction is good, how it is written, and its name in a sentence.

    ``address`` is its kind, set and measure in :mod:`tools.reporting.paired`.
    """

    group: str
    name: str
    higher_is_better: bool
    percent: bool
    phrase: str = ""
    drift: bool = False
    address: tuple[str, str, str] | None = None

    @property
    def arrow(self) -> str:
        return "↑" if self.higher_is_better else "↓"

    def text(self, value: float | None, spread: Spread | None = None) -> str:
        """The value as tables show it, with its deviation over seeds; comparisons are made at this precision."""
        if value is None:
            return "-"
        factor, unit = (100, " %") if self.percent else (1, "")
        deviation = f" ± {factor * spread.deviation:.1f}" if spread else ""
        return f"{factor * value:.1f}{deviation}{unit}"

    def number(self, value: float) -> float:
        """The value as shown: rounded, and recalls and accuracies in percent."""
        return round(100 * value if self.percent else value, 1)


@dataclass(frozen=True, slots=True)
class Table:
    """``rows`` are (arm, one value per column; None where the arm was not measured).

    ``unranked`` holds (arm, column) pairs that take no part in the comparison, ``spread`` how seeds scatter, ``level``
    those that noise alone may part from the best; ``references`` are arms that were published, not measured here.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, tuple[float | None, ...]], ...]
    unranked: frozenset[tuple[str, int]] = frozenset()
    spread: Mapping[tuple[str, int], Spread] = field(default_factory=dict)
    level: frozenset[tuple[str, int]] = frozenset()
    references: tuple[str, ...] = ()

    def text(self, arm: str, index: int) -> str:
        """A cell: the value, ± its deviation over seeds, ``≈`` where noise alone may part it from the best."""
        value = dict(self.rows)[arm][index]
        level = "≈" if (arm, index) in self.level else ""
        return self.columns[index].text(value, self.spread.get((arm, index))) + level

    def ranking(self, index: int) -> list[tuple[str, float]]:
        """(arm, value as shown) of one column, best first; arms without a value or unranked are left out."""
        column = self.columns[index]
        values = [
            (arm, column.number(value))
            for arm, row in self.rows
            if (value := row[index]) is not None and (arm, index) not in self.unranked and arm not in self.references
        ]
        return sorted(values, key=lambda pair: pair[1], reverse=column.higher_is_better)

    def is_best(self, arm: str, index: int) -> bool:
        """Whether the arm's value is the best, alone or with others, in a column whose values are not all the same."""
        ranking = self.ranking(index)
        return bool(ranking) and ranking[0][1] != ranking[-1][1] and (arm, ranking[0][1]) in ranking


MOST_SETS = 4  # beyond, the summary holds their mean


def summary(results: Sequence[Result]) -> Table:
    """The few measures that tell the arms apart: of each caption set (or of their mean, where there are many) the mean
    of the six recalls and the mean rank; then drift and zero-shot accuracy. Measures that no arm has are left out.
    """
    columns: list[tuple[Column, Reader]] = []
    sets = caption_sets(results)
    whole = [name for name in sets if not any(name in result.parts for result in results)]
    groups = [(name, name, [name]) for name in sets] if len(sets) <= MOST_SETS else [(f"{len(whole)} sets", "", whole)]
    for group, address, names in groups:
        recall = Column(group, "recall", True, True, f"recall on {group}", address=("retrieval", address, "recall"))
        rank = Column(group, "rank", False, False, f"mean rank on {group}", address=("retrieval", address, "mean_rank"))
        columns += [(recall, _mean(names, RECALLS)), (rank, _mean(names, ("mean_rank",)))]
    drift = Column("drift", "rank", False, False, "mean rank in the drift probe", True, ("drift", "", "mean_rank"))
    columns.append((drift, _mean_drift))
    for key, label in (("top1", "top-1"), ("top5", "top-5")):
        phrase = f"zero-shot {label} accuracy"
        columns.append((Column("zero-shot", label, True, True, phrase, address=("zeroshot", "", key)), _zeroshot(key)))
    return make_table(results, columns)


def spreads(
    per_seed: Sequence[Result], build: Callable[[Sequence[Result]], Table] = summary
) -> dict[tuple[str, int], Spread]:
    """(arm, column of the table that ``build`` makes) -> how its seeds scatter; for arms of two seeds or more."""
    table = build(per_seed)
    found: dict[tuple[str, int], list[float]] = {}
    for name, row in table.rows:
        arm, seed = split_seed(name)
        for index, value in enumerate(row):
            if seed is not None and value is not None:
                found.setdefault((arm, index), []).append(value)
    return {place: Spread.of(values) for place, values in found.items() if len(values) > 1}


def wins_by_seed(per_seed: Sequence[Result], subject: str) -> list[tuple[str, tuple[tuple[int, int], ...]]]:
    """(other arm, per column of the summary: in how many seeds ``subject`` is better, out of how many compared).

    An arm without seeds, such as CLIP itself, is compared with every seed.
    """
    table = summary(per_seed)
    own = {split_seed(name)[1]: name for name, _ in table.rows if split_seed(name)[0] == subject}
    others: dict[str, list[tuple[str, str]]] = {}
    for name, _ in table.rows:
        arm, seed = split_seed(name)
        if arm != subject:
            mine = own.values() if seed is None else [own[seed]] if seed in own else []
            others.setdefault(arm, []).extend((one, name) for one in mine)
    return [
        (arm, tuple(_wins(table, index, pairs) for index in range(len(table.columns)))) for arm, pairs in others.items()
    ]


def _wins(table: Table, index: int, pairs: Sequence[tuple[str, str]]) -> tuple[int, int]:
    values = dict(table.ranking(index))
    compared = [(values[own], values[other]) for own, other in pairs if own in values and other in values]
    higher = table.columns[index].higher_is_better
    return sum(own != other and (own > other) == higher for own, other in compared), len(compared)


def details(results: Sequence[Result]) -> list[tuple[str, Table]]:
    """(heading, table) for every caption set and the drift probe, with both directions in full."""
    tables = []
    for name in [*caption_sets(results), None]:
        columns = [
            (_detail_column(way, measure, name is None), _single(name, way, measure))
            for way in DIRECTIONS
            for measure in (*RECALLS, "mean_rank", "median_rank")
        ]
        table = make_table(results, columns)
        if table.columns:
            tables.append((f"Retrieval, {name}" if name else "Drift probe", table))
    return tables


def unmoved(results: Sequence[Result]) -> frozenset[str]:
    """Arms whose image encoder is the original one: the untouched CLIP, and those with its drift figures."""
    originals = [result.drift for result in results if result.checkpoint is None and result.drift]
    return frozenset(
        result.name
        for result in results
        if result.checkpoint is None or (result.drift and any(_same(result.drift, one) for one in originals))
    )


def _same(one: Mapping[str, Mapping[str, float]], other: Mapping[str, Mapping[str, float]]) -> bool:
    """Equal up to the rounding of a mean over seeds."""
    return all(math.isclose(value, other[way][name], rel_tol=1e-9) for way in one for name, value in one[way].items())


def make_table(results: Sequence[Result], columns: Sequence[tuple[Column, Reader]]) -> Table:
    """A row for each result; columns that no result has a value for are left out."""
    kept = [(column, read) for column, read in columns if any(read(result) is not None for result in results)]
    still = unmoved(results)
    rows = tuple((result.name, tuple(read(result) for _, read in kept)) for result in results)
    drift = [index for index, (column, _) in enumerate(kept) if column.drift]
    return Table(tuple(column for column, _ in kept), rows, frozenset((arm, i) for arm in still for i in drift))


def caption_sets(results: Sequence[Result]) -> list[str]:
    """The names of the retrieval sets, in the order of first appearance."""
    return list(dict.fromkeys(name for result in results for name in result.retrieval))


def _mean(names: Sequence[str], measures: Sequence[str]) -> Reader:
    def read(result: Result) -> float | None:
        if any(name not in result.retrieval for name in names):
            return None
        values = [result.retrieval[name][way][m] for name in names for way in DIRECTIONS for m in measures]
        return sum(values) / len(values)

    return read


def _mean_drift(result: Result) -> float | None:
    if result.drift is None:
        return None
    return sum(result.drift[way]["mean_rank"] for way in DIRECTIONS) / len(DIRECTIONS)


def _zeroshot(key: str) -> Reader:
    return lambda result: result.zeroshot[key] if result.zeroshot else None


def _single(name: str | None, way: str, measure: str) -> Reader:
    def read(result: Result) -> float | None:
        values = result.drift if name is None else result.retrieval.get(name)
        return values[way][measure] if values else None

    return read


def _detail_column(way: str, measure: str, drift: bool) -> Column:
    group = {"image_to_text": "image → text", "text_to_image": "text → image"}[way]
    recall = measure in RECALLS
    return Column(group, measure if recall else measure.replace("_", " "), recall, recall, drift=drift)
