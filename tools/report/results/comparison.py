"""Whether arms differ beyond noise: their differences on the same queries and seeds, with intervals."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

from store.common.errors import ConfigError
from tools.report.material.average import average_results, split_seed
from tools.report.material.inputs import Result
from tools.report.material.queries import Measurements, mean_of, measurements, require_same_queries
from tools.report.results.tables import Address, Column, Table, spreads
from trainer.evaluation.uncertainty import Difference, Measured, difference


class Comparison:
    """Differences between arms that were evaluated on the same queries, from the ranks in their results.

    Arms are compared seed by seed, over the seeds that both have; an arm without seeds is compared with every seed.
    Results without ranks, or of other queries than the first's, take no part.

    Attributes:
        results: one for each arm and seed.
        arms: their means over seeds.
    """

    def __init__(self, results: Sequence[Result]) -> None:
        self.results, self.arms = results, average_results(results)
        self._seeds: dict[str, dict[int | None, Result]] = {}
        self._measured = cache(lambda name: measurements(by_name[name].data))
        by_name = {result.name: result for result in results if result.data.get("queries")}
        first = next(iter(by_name.values()), None)
        for name, result in by_name.items():
            if first is not None and _comparable(first, result):
                arm, seed = split_seed(name)
                self._seeds.setdefault(arm, {})[seed] = result

    def difference(self, arm: str, other: str, column: Column) -> Difference | None:
        """``arm`` minus ``other`` in a measure; None where it cannot be compared."""
        if arm not in self._seeds or other not in self._seeds:
            return None
        ours, theirs = self._seeds[arm], self._seeds[other]
        if None not in ours and None not in theirs:
            shared = [seed for seed in ours if seed in theirs]
            ours, theirs = ({seed: side[seed] for seed in shared} for side in (ours, theirs))
        sides = [[self._value(result, column.address) for result in side.values()] for side in (ours, theirs)]
        left, right = ([one for one in side if one and len(one.replicates)] for side in sides)
        if not left or not right or len(left) < len(ours) or len(right) < len(theirs):
            return None
        return difference(left, right)

    def within(self, table: Table) -> frozenset[tuple[str, int]]:
        """The (arm, column) pairs whose distance from the column's best arm is within noise."""
        pairs = set()
        for index, column in enumerate(table.columns):
            for arm, value in (ranking := table.ranking(index))[1:]:
                best, highest = ranking[0]
                found = self.difference(best, arm, column) if value != highest else None
                if found is not None and found.within_noise:
                    pairs.add((arm, index))
        return frozenset(pairs)

    def table(self, build: Callable[[Sequence[Result]], Table]) -> Table:
        """The table that ``build`` makes of the arms' means, with the scatter of seeds and the marks of noise."""
        table = build(self.arms)
        table = replace(table, spread=spreads(self.results, build, table.columns))
        return replace(table, level=self.within(table))

    def _value(self, result: Result, address: Address) -> Measured | None:
        kind, names, measure = address
        found: Measurements = self._measured(result.name)
        values = [found.get(kind, {}).get(name, {}).get(measure) for name in names]
        known = [value for value in values if value is not None]
        return mean_of(known) if known and len(known) == len(values) else None


def _comparable(one: Result, other: Result) -> bool:
    try:
        require_same_queries([one.data, other.data])
    except ConfigError:
        return False
    return True
