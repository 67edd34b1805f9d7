"""Who wins where, said in sentences that are computed from the numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

from tools.reporting.compare import Column, Table, summary
from tools.reporting.comparison import Comparison
from tools.reporting.inputs import Result


@dataclass(frozen=True, slots=True)
class Verdict:
    """One or two sentences; and, if one arm is their subject, a line per measure: won or not won."""

    headline: str
    subject: str = ""
    wins: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()


def verdict(comparison: Comparison, subject: str = "ProCLIP") -> Verdict:
    """Compare the arm named ``subject`` (upper or lower case, or the first whose name starts so) with the others.

    Without such an arm the headline names the best arm of each measure. Where the results hold their ranks, it also
    says what stands beyond noise.
    """
    results, table = comparison.arms, comparison.table(summary)
    if not results:
        return Verdict("These runs have not been evaluated yet.")
    if len(results) == 1:
        name, values = table.rows[0]
        shown = ", ".join(
            f"{_value(c, c.number(v))} {c.phrase}" for c, v in zip(table.columns, values, strict=True) if v is not None
        )
        return Verdict(f"{name} on {results[0].num_images:,} images: {shown}.")
    arms = [result.name for result in results]
    named = [arm for arm in arms if arm.lower() == subject.lower()]
    named += [arm for arm in arms if arm.lower().startswith(subject.lower())]
    return _about(named[0], table, comparison) if named else _leaders(table)


def noise(results: Sequence[Result]) -> str | None:
    """How far chance alone moves a recall on this many queries (standard error of a share, at its worst near 50 %)."""
    if not results:
        return None
    fewest = min(result.num_images for result in results)
    points = 100 * 2 * (0.25 / fewest) ** 0.5
    return (
        f"With {fewest:,} images, chance alone moves a single recall or accuracy by up to ±{points:.1f} points "
        "(two standard errors, at 50 %); smaller differences say little on their own."
    )


def _about(subject: str, table: Table, comparison: Comparison) -> Verdict:
    wins, losses, best, compared = [], [], 0, 0
    beaten: dict[str, list[bool]] = {arm: [] for arm, _ in table.rows}
    for index, column in enumerate(table.columns):
        ranking = table.ranking(index)
        own = dict(ranking).get(subject)
        if own is None or len(ranking) < 2:
            continue
        compared += 1
        for arm, value in ranking:
            if arm != subject and value != own:
                beaten[arm].append((own > value) == column.higher_is_better)
        first = ranking[0][1]
        line = f"{column.phrase}: {_value(column, own)}"
        others = [(arm, value) for arm, value in ranking if arm != subject]
        if own == first and own != others[0][1]:
            best += 1
            level = _noise(comparison, subject, others[0][0], column)
            wins.append(f"{line}; next is {_named(column, others)}{level}.")
        elif own == first:
            wins.append(f"{line}, level with {_level(others)}.")
        else:
            gap = _gap(column, abs(own - first))
            level = _noise(comparison, subject, others[0][0], column)
            losses.append(f"{line}; {_named(column, others)} is {gap} better{level}.")
    if not compared:
        return Verdict(f"{subject} shares no measure with another arm.")
    measures = f"{best} of {compared} measure{'s' if compared > 1 else ''}"
    headline = f"{subject} is the best arm in {measures if best else f'none of {compared} measures'}."
    pairs = ", ".join(f"{arm} in {sum(won)} of {len(won)}" for arm, won in beaten.items() if won)
    if beyond := _beyond_noise(subject, table, comparison):
        headline += f" {beyond}"
    elif pairs:
        headline += f" Taken in pairs, it beats {pairs}."
    return Verdict(headline, subject, tuple(wins), tuple(losses))


def _beyond_noise(subject: str, table: Table, comparison: Comparison) -> str:
    """Which arms the subject beats and is beaten by beyond noise, and in how many measures; empty without ranks."""
    better: list[str] = []
    worse: list[str] = []
    known = False
    for arm, _ in table.rows:
        found = [
            (apart, column.higher_is_better)
            for index, column in enumerate(table.columns)
            if arm != subject and {subject, arm} <= dict(table.ranking(index)).keys()
            if (apart := comparison.difference(subject, arm, column)) is not None
        ]
        known = known or bool(found)
        won = [(apart.value > 0) == higher for apart, higher in found if not apart.within_noise]
        for count, arms in ((sum(won), better), (len(won) - sum(won), worse)):
            if count:
                arms.append(f"{arm} in {count} of {len(found)}")
    if not known:
        return ""
    return (
        f"Beyond noise it beats {'; '.join(better) or 'none'}. It is beaten by {'; '.join(worse) or 'none'} "
        "(measures in which they differ more than queries and seeds explain)."
    )


def _noise(comparison: Comparison, subject: str, other: str, column: Column) -> str:
    apart = comparison.difference(subject, other, column)
    return ", within noise" if apart is not None and apart.within_noise else ""


def _leaders(table: Table) -> Verdict:
    leads: dict[str, list[str]] = {}
    for index, column in enumerate(table.columns):
        for arm, _ in table.rows:
            if table.is_best(arm, index):
                leads.setdefault(arm, []).append(column.phrase)
    if not leads:
        return Verdict("The arms share no measure.")
    return Verdict("Best arms: " + "; ".join(f"{arm} in {', '.join(titles)}" for arm, titles in leads.items()) + ".")


def _named(column: Column, others: Sequence[tuple[str, float]]) -> str:
    return f"{_level(others)} with {_value(column, others[0][1])}"


def _level(others: Sequence[tuple[str, float]]) -> str:
    return " and ".join(arm for arm, value in others if value == others[0][1])


def _value(column: Column, shown: float) -> str:
    return f"{shown:.1f} %" if column.percent else f"{shown:.1f}"


def _gap(column: Column, difference: float) -> str:
    return f"{difference:.1f} {'points' if column.percent else 'ranks'}"
