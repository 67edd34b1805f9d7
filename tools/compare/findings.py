"""Says in plain words what the demonstration on generated scenes has shown: each figure, and in how many seeds."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.compare.arms import ARMS
from tools.evaluate.packed_ranks import WAYS

Entries = Mapping[str, Any]
SHOWN = ("clip", "stage1", "llm2clip", "no-distillation", "proclip")
"""The arms that a line of means names, in its order."""


@dataclass(frozen=True, slots=True)
class Measure:
    """What is compared, and which arm the paper's result lets one expect to be ahead of which.

    Attributes:
        title: with its unit.
        read: its value in a result file.
        claims: words ``ARM>ARM``, the first of which is expected to beat the second.
        higher: whether more is better.
    """

    title: str
    read: Callable[[Entries], float]
    claims: str
    higher: bool = True


def _recall(name: str) -> Callable[[Entries], float]:
    return lambda entries: 50 * sum(float(entries["retrieval"][name][way]["R@1"]) for way in WAYS)


def _accuracy(name: str) -> Callable[[Entries], float]:
    return lambda entries: 100 * float(entries["zeroshot_sets"][name]["top1"])


def _drift(entries: Entries) -> float:
    """On alt text, the words that the original CLIP's text encoder knows."""
    return sum(float(entries["drift_sets"]["alt"][way]["mean_rank"]) for way in WAYS) / 2


MEASURES = (
    Measure(
        "long captions of topics that stage 2 showed, R@1 in % (mean of both ways)",
        _recall("long, shown"),
        "llm2clip>clip proclip>clip stage1>clip no-distillation>stage1 proclip>llm2clip",
    ),
    Measure(
        "long captions of topics that it did not show, R@1 in %",
        _recall("long, others"),
        "proclip>llm2clip proclip>clip",
    ),
    Measure("short captions of topics that it did not show, R@1 in %", _recall("short, others"), "proclip>llm2clip"),
    Measure(
        "zero-shot accuracy over all classes, top-1 in %",
        _accuracy("classes"),
        "clip>proclip proclip>llm2clip proclip>no-distillation proclip>stage1",
    ),
    Measure(
        "zero-shot accuracy on the classes that stage 2 did not show, top-1 in %",
        _accuracy("classes, others"),
        "proclip>llm2clip proclip>no-distillation",
    ),
    Measure(
        "drift: mean rank between the tuned images and the original CLIP's alt text, lower is better",
        _drift,
        "proclip>llm2clip proclip>no-distillation",
        higher=False,
    ),
)


def sentences(results: Mapping[str, Sequence[Path]]) -> list[str]:
    """A line of means for each measure, and under it each claim with the number of seeds in which it holds.

    Args:
        results: arm, one of ``SHOWN`` -> result files, one a seed; CLIP as it is has one for all seeds.
    """
    entries = {arm: [json.loads(file.read_text("utf-8")) for file in files] for arm, files in results.items()}
    lines = []
    for measure in MEASURES:
        values = {arm: [measure.read(found) for found in entries[arm]] for arm in SHOWN if arm in entries}
        means = ", ".join(f"{ARMS[arm].title} {sum(found) / len(found):.1f}" for arm, found in values.items())
        lines.append(f"{measure.title}: {means}")
        claims = [claim.partition(">") for claim in measure.claims.split()]
        lines += [_outcome(measure, a, b, values) for a, _, b in claims if {a, b} <= values.keys()]
    return lines


def _outcome(measure: Measure, better: str, worse: str, values: Mapping[str, Sequence[float]]) -> str:
    count = max(len(values[better]), len(values[worse]))
    ours, theirs = ([*values[arm]] * (count if len(values[arm]) == 1 else 1) for arm in (better, worse))
    held = sum((one > other) == measure.higher and one != other for one, other in zip(ours, theirs, strict=False))
    word = "as in the paper" if held == count else "NOT as in the paper"
    titles = f"{ARMS[better].title} is better than {ARMS[worse].title}"
    return f"  {titles} in {held} of {count} seed{'s' * (count > 1)}: {word}"
