"""Uncertainty of measures: bootstrap intervals over queries, deviations over seeds, and paired differences.

Legend: R resamples, G groups that are drawn together (an image with all its captions), Q queries. The same number of
groups, number of resamples and seed draw the same groups, so replicates of two models can be subtracted one by one.
Percentile intervals: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

RECALLS_AT = (1, 5, 10)
_CELLS = 4_000_000  # resamples x queries held at a time
# Student's t, two-sided 95 %, for 1 to 30 degrees of freedom
_T95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Bootstrap:
    """The draws of replicates: their number (0 draws none), the share of them within an interval, and the seed."""

    resamples: int = 1000
    level: float = 0.95
    seed: int = 0


def rank_replicates(
    ranks: np.ndarray, group: np.ndarray, num_groups: int, bootstrap: Bootstrap
) -> dict[str, np.ndarray]:
    """Replicates of :func:`trainer.evaluation.metrics.rank_summary` with whole groups drawn with replacement.

    Each is (R,) float64. ``group`` (Q,) is the group of each query, in [0, num_groups); a group may have no query.
    """
    columns = [*((ranks <= k) for k in RECALLS_AT), ranks, np.ones(len(ranks))]
    sums = np.stack([np.bincount(group, weights=column, minlength=num_groups) for column in columns], axis=1)
    medians_of = _medians(ranks, group, num_groups)
    totals, medians = [np.zeros((0, len(columns)))], [np.zeros(0)]
    for drawn in _drawn(num_groups, bootstrap):
        totals.append(drawn @ sums)
        medians.append(medians_of(drawn))
    total = np.concatenate(totals)
    names = [*(f"R@{k}" for k in RECALLS_AT), "mean_rank"]
    with np.errstate(invalid="ignore"):  # a draw without any query, where few groups have one
        replicates = {name: total[:, i] / total[:, -1] for i, name in enumerate(names)}
    return replicates | {"median_rank": np.concatenate(medians)}


def _drawn(num_groups: int, bootstrap: Bootstrap) -> Iterator[np.ndarray]:
    """Draws of each group, in blocks of resamples (r, G) float32; the size of the blocks changes no draw."""
    random = np.random.default_rng(bootstrap.seed)
    step = max(1, _CELLS // num_groups)
    for start in range(0, bootstrap.resamples, step):
        size = min(step, bootstrap.resamples - start)
        draws = (random.integers(0, num_groups, num_groups) for _ in range(size))
        yield np.stack([np.bincount(draw, minlength=num_groups) for draw in draws]).astype(np.float32)


def _medians(ranks: np.ndarray, group: np.ndarray, num_groups: int) -> Callable[[np.ndarray], np.ndarray]:
    """A function from draws (r, G) to the medians (r,) of the drawn queries; NaN for a draw without a query.

    It counts upwards from a rank that lies below all medians: the number of resampled queries that rank below the
    median of all varies by less than sqrt(queries x largest group), and no median falls beyond four times that number.
    """
    order = np.argsort(ranks, kind="stable")
    largest = int(np.bincount(group).max())
    reach = int(4 * (len(ranks) * largest) ** 0.5) + largest
    low, high = max(0, len(ranks) // 2 - reach), len(ranks) // 2 + reach
    near, near_group = ranks[order[low:high]].astype(np.float64), group[order[low:high]]
    counted = [np.bincount(groups, minlength=num_groups) for groups in (group[order[:low]], group)]
    below_and_all = np.stack(counted, axis=1).astype(np.float64)
    step = max(1, _CELLS // len(near))

    def medians_of(drawn: np.ndarray) -> np.ndarray:
        blocks = []
        for block in (drawn[start : start + step] for start in range(0, len(drawn), step)):
            below, total = (block @ below_and_all).T
            cumulated = block[:, near_group].cumsum(axis=1, dtype=np.float64) + below[:, None]
            medians = np.zeros(len(block))
            for place in ((total - 1) // 2, total // 2):
                index = (cumulated <= place[:, None]).sum(axis=1)
                medians += near[np.minimum(index, len(near) - 1)] / 2
            blocks.append(np.where(total > 0, medians, np.nan))
        return np.concatenate(blocks)

    return medians_of


def accuracy_replicates(ranks: np.ndarray, labels: np.ndarray, bootstrap: Bootstrap) -> dict[str, np.ndarray]:
    """Replicates of :func:`trainer.evaluation.metrics.accuracy`, (R,) each; images are drawn within their class."""
    order = np.argsort(labels, kind="stable")
    _, first, size = np.unique(labels[order], return_index=True, return_counts=True)
    first, size = np.repeat(first, size), np.repeat(size, size)
    top1, top5 = (ranks[order] <= 1).astype(np.float64), (ranks[order] <= 5).astype(np.float64)
    share = 1 / size / len(np.unique(labels))
    random = np.random.default_rng(bootstrap.seed)
    rows = np.zeros((bootstrap.resamples, 3))
    for row in rows:
        drawn = first + (random.random(len(ranks)) * size).astype(np.int64)
        right = top1[drawn]
        row[:] = right.mean(), top5[drawn].mean(), right @ share
    return dict(zip(("top1", "top5", "mean_per_class"), rows.T, strict=True))


def share_replicates(right: np.ndarray, group: np.ndarray, num_groups: int, bootstrap: Bootstrap) -> np.ndarray:
    """Replicates (R,) of the share of right answers (Q,), with whole groups drawn with replacement."""
    return rank_replicates(np.where(right, 1, 2), group, num_groups, bootstrap)["R@1"]


def interval(replicates: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The percentile interval that holds ``level`` of the replicates. Raises: ValueError: there is no replicate."""
    finite = replicates[np.isfinite(replicates)]
    if not len(finite):
        raise ValueError("an interval needs at least one replicate")
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@dataclass(frozen=True, slots=True)
class Spread:
    """A measure over seeds: mean, standard deviation (of a sample; None for one seed), and the number of seeds."""

    mean: float
    deviation: float | None
    num_seeds: int


def over_seeds(values: Sequence[float]) -> Spread:
    """Mean and deviation of one measure over seeds. Example: 1, 2, 3 -> mean 2, deviation 1."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(float(np.mean(values)), deviation, len(values))


@dataclass(frozen=True, slots=True)
class Difference:
    """Ours minus theirs, with a 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def within_noise(self) -> bool:
        """Whether the interval holds zero."""
        return self.low <= 0 <= self.high


@dataclass(frozen=True, slots=True)
class Measured:
    """One model's value of a measure, and its replicates (R,)."""

    value: float
    replicates: np.ndarray


def difference(ours: Sequence[Measured], theirs: Sequence[Measured]) -> Difference:
    """Compare two arms that were evaluated on the same queries, one measurement for each seed.

    With one seed each, the interval is the percentile interval of the paired differences: noise of the queries alone.
    With several, noise of the queries (normal) and of the seeds (Student's t, paired by order) are added in quadrature.
    A side with a single measurement, such as CLIP itself, is compared with every seed of the other.

    Raises:
        ValueError: nothing on a side, differing numbers of seeds above one, or of replicates.
    """
    num_seeds = max(len(ours), len(theirs))
    if not ours or not theirs or {len(ours), len(theirs)} - {1, num_seeds}:
        raise ValueError(f"{len(ours)} against {len(theirs)} seeds; expected as many on both sides, or one")
    if len({len(one.replicates) for one in (*ours, *theirs)}) > 1:
        raise ValueError("the replicates differ in number; draw them with the same bootstrap")
    value = float(np.mean([one.value for one in ours]) - np.mean([one.value for one in theirs]))
    replicates = np.mean([m.replicates for m in ours], axis=0) - np.mean([m.replicates for m in theirs], axis=0)
    if num_seeds == 1:
        return Difference(value, *interval(replicates))
    per_seed = np.array([one.value for one in ours]) - np.array([one.value for one in theirs])
    of_seeds = t95(num_seeds - 1) * float(np.std(per_seed, ddof=1)) / num_seeds**0.5
    of_queries = 1.96 * float(np.nanstd(replicates)) if len(replicates) else 0.0
    half = float(np.hypot(of_seeds, of_queries))
    return Difference(value, value - half, value + half)


def t95(degrees: int) -> float:
    """Two-sided 95 % quantile of Student's t (above 30 degrees of freedom the normal value, 1.96)."""
    return _T95[degrees - 1] if degrees <= len(_T95) else 1.96
