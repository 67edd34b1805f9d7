"""Results as plain text with their uncertainty: each set with its intervals, and two arms with their differences."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tools.report.material.queries import ALL, Measurements, differences, measurements
from tools.report.results.tables import aligned
from trainer.evaluation.uncertainty import Difference, interval, over_seeds

_ACCURACIES = (("accuracy", "accuracy", True), ("top1", "top-1", True), ("top5", "top-5", True))
_RETRIEVAL = (
    ("image_to_text/R@1", "R@1 image to text", True),
    ("text_to_image/R@1", "R@1 text to image", True),
    ("recall", "recall", True),
    ("mean_rank", "mean rank", False),
)
# kind -> (title, measures: name, heading, whether higher is better and shown in percent)
SHOWN = {
    "retrieval": ("retrieval", _RETRIEVAL),
    "zeroshot": ("zero-shot", _ACCURACIES),
    "robustness": ("robustness", (_ACCURACIES[0], _ACCURACIES[2])),
    "composition": ("composition", _ACCURACIES[:1]),
    "fine_grained": ("fine-grained", _ACCURACIES[:1]),
    "linear_probe": ("linear probe", _ACCURACIES),
    "drift": ("drift", _RETRIEVAL[3:]),
}


def interval_table(found: Measurements, level: float) -> str:
    """Every set in the measures that papers report, each with its interval; the mean of several sets comes last.

    ``recall`` is the mean of R@1, R@5 and R@10 in both directions, ``accuracy`` the one that papers report for a set.
    """

    def cell(kind: str, name: str, measure: str, percent: bool) -> str:
        measured = found[kind][name][measure]
        text = _number(measured.value, percent)
        if not len(measured.replicates):
            return text
        low, high = interval(measured.replicates, level)
        return f"{text} [{_number(low, percent)}, {_number(high, percent)}]"

    return _tables(found, cell)


def difference_table(ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]]) -> str:
    """Ours minus theirs on every set that both have, as value, 95 % interval and verdict; see ``queries.differences``.

    Raises:
        ConfigError: the results were evaluated on other queries, or hold no ranks.
    """
    found = differences(ours, theirs)

    def cell(kind: str, name: str, measure: str, percent: bool) -> str:
        one = found[kind][name][measure]
        span = f"[{_number(one.low, percent, '+')}, {_number(one.high, percent, '+')}]"
        return f"{_number(one.value, percent, '+')} {span} {verdict(one, higher_is_better=percent)}"

    return _tables(found, cell)


def verdict(one: Difference, higher_is_better: bool) -> str:
    """``better``, ``worse``, or ``~`` for a difference within noise."""
    if one.within_noise:
        return "~"
    return "better" if (one.value > 0) == higher_is_better else "worse"


def seeds_line(name: str, results: Sequence[Mapping[str, Any]]) -> str:
    """An arm's mean recall and accuracy over its seeds, with their deviation."""
    each = [measurements(result) for result in results]
    parts = []
    for kind, measure in (("retrieval", "recall"), ("zeroshot", "accuracy")):
        if all(ALL in one[kind] for one in each):
            spread = over_seeds([one[kind][ALL][measure].value for one in each])
            deviation = "" if spread.deviation is None else f" ± {100 * spread.deviation:.1f}"
            parts.append(f"{SHOWN[kind][0]} {measure} {100 * spread.mean:.1f}{deviation} %")
    seeds = f" ({len(results)} seeds)" if len(results) > 1 else ""
    return f"{name}{seeds}: {', '.join(parts)}"


def _tables(found: Mapping[str, Mapping[str, object]], cell: Callable[[str, str, str, bool], str]) -> str:
    tables = []
    for kind, (title, measures) in SHOWN.items():
        names = [name for name in found.get(kind, {}) if name != ALL]
        if not names:
            continue
        whole = [ALL] if sum("/" not in name for name in names) > 1 and ALL in found[kind] else []
        lines = [[title, *(heading for _, heading, _ in measures)]]
        for name in [*names, *whole]:
            lines.append([name or "mean", *(cell(kind, name, measure, percent) for measure, _, percent in measures)])
        tables.append("\n".join(aligned(lines)))
    return "\n\n".join(tables)


def _number(value: float, percent: bool, sign: str = "") -> str:
    return f"{100 * value if percent else value:{sign}.1f}"
