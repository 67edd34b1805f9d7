"""The report's training curves: for each stage a chart of every logged quantity, the runs in common axes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tools.report.material.inputs import Run
from tools.report.material.settings import by_stage
from tools.report.pages.charts import Chart, Series, colour_class, line_chart, short_number

POSITIONS = frozenset({"step", "epoch", "samples"})
COUNTS = frozenset({"skipped_samples"})  # charted only where they are not zero
NAMES = {
    "loss": "loss, total",
    "temperature": "temperature",
    "lr": "learning rate",
    "grad_norm": "gradient norm",
    "samples_per_second": "samples per second",
    "data_wait_share": "waiting for data, share of time",
}
"""Titles of the usual quantities, in the order of their charts; the terms of the loss follow the loss."""


@dataclass(frozen=True, slots=True)
class Plot:
    """A chart with its title, its last value where it is of one run, and a warning of values that are not finite."""

    title: str
    last: str
    warning: str
    chart: Chart


@dataclass(frozen=True, slots=True)
class Stage:
    """The charts of a stage: a heading, how far it was trained, (arm, colour) pairs of its key, and plots."""

    heading: str
    reached: str
    key: tuple[tuple[str, str], ...]
    plots: tuple[Plot, ...]


def stages(runs: Sequence[Run]) -> list[Stage]:
    """For every stage a chart of each logged quantity over the steps, losses first; seeds share their arm's colour."""
    colours = {arm: number for number, arm in enumerate(dict.fromkeys(run.arm for run in runs))}
    return [_stage(stage, members, colours) for stage, members in by_stage(runs).items()]


def _stage(stage: str, runs: Sequence[Run], colours: Mapping[str, int]) -> Stage:
    last = max((run.log[-1] for run in runs), key=lambda line: int(line["step"]))
    reached = f"{int(last['step']):,} steps"
    reached += f", {last['epoch']:.4g} epochs" if "epoch" in last else ""
    reached += f", {int(last['samples']):,} samples" if "samples" in last else ""
    plots = tuple(_plot(runs, name, colours) for name in _quantities(runs))
    if len(runs) == 1:
        return Stage(runs[0].name, reached, (), plots)
    arms = dict.fromkeys(run.arm for run in runs)
    reached += f", {len(runs)} runs" if len(arms) < len(runs) else ""
    number = stage.removeprefix("stage")
    heading = f"stage {number}" if number.isdigit() else stage or "runs"
    return Stage(heading, reached, tuple((arm, colour_class(colours[arm])) for arm in arms), plots)


def _quantities(runs: Sequence[Run]) -> list[str]:
    """The names of logged numbers: the total loss, its terms, the usual quantities, then the others as they come."""
    logged = dict.fromkeys(
        name
        for run in runs
        for entry in run.log
        for name, value in entry.items()
        if name not in POSITIONS and _is_number(value) and (value or name not in COUNTS)
    )
    total, *others = NAMES
    first = [total, *(name for name in logged if name.startswith("loss/")), *others]
    return [name for name in first if name in logged] + [name for name in logged if name not in first]


def _plot(runs: Sequence[Run], name: str, colours: Mapping[str, int]) -> Plot:
    points = [[(float(e["step"]), float(e[name])) for e in run.log if _is_number(e.get(name))] for run in runs]
    logged = [(run, curve) for run, curve in zip(runs, points, strict=True) if curve]
    values = [value for _, curve in logged for _, value in curve]
    broken = sum(1 for value in values if not math.isfinite(value))
    title = f"{name.removeprefix('loss/')} loss" if name.startswith("loss/") else name.replace("_", " ")
    title = NAMES.get(name, title)
    label = f"{title} of {', '.join(dict.fromkeys(run.arm for run, _ in logged))} over {len(values)} logged steps"
    series = [Series(curve, colours[run.arm] if len(runs) > 1 else None) for run, curve in logged]
    last = f"last {short_number(values[-1])}" if len(logged) == 1 else ""
    warning = f"{broken:,} of {len(values):,} values are not finite" if broken else ""
    return Plot(title, last, warning, line_chart(series, label))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
