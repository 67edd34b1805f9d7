"""The report's training curves: for each stage a chart of every logged quantity, the runs in common axes."""

import math
from collections.abc import Mapping, Sequence

from tools.reporting.charts import Series, colour_class, line_chart, short_number
from tools.reporting.element import Markup, group, tag
from tools.reporting.inputs import Run

POSITIONS = frozenset({"step", "epoch", "samples"})
COUNTS = frozenset({"skipped_samples"})  # only worth a chart where they are not zero
ORDER = ("loss", "temperature", "lr", "grad_norm", "samples_per_second", "data_wait_share")
NAMES = {
    "loss": "loss, total",
    "lr": "learning rate",
    "grad_norm": "gradient norm",
    "samples_per_second": "samples per second",
    "data_wait_share": "waiting for data, share of time",
}


def curves(runs: Sequence[Run]) -> Markup:
    """For every stage a chart of each logged quantity over the steps, losses first; seeds share their arm's colour."""
    stages: dict[str, list[Run]] = {}
    for run in runs:
        stages.setdefault(str(run.config.get("stage", "")), []).append(run)
    colours = {arm: number for number, arm in enumerate(dict.fromkeys(run.arm for run in runs))}
    parts = [_stage(stage, members, colours) for stage, members in stages.items()]
    explanation = "The horizontal axis counts steps. Noisy curves are smoothed; a curve alone is shown as logged too."
    return group(tag("p", explanation, class_="note"), parts)


def _stage(stage: str, runs: Sequence[Run], colours: Mapping[str, int]) -> Markup:
    if len(runs) == 1:
        heading, legend = tag("h3", runs[0].name, tag("small", " ", _reached(runs[0]))), None
    else:
        arms = dict.fromkeys(run.arm for run in runs)
        seeds = f", {len(runs)} runs" if len(arms) < len(runs) else ""
        heading = tag("h3", stage or "runs", tag("small", f" {_reached(max(runs, key=_last_step))}{seeds}"))
        keys = [tag("li", tag("span", class_=f"swatch {colour_class(colours[arm])}"), arm) for arm in arms]
        legend = tag("ul", keys, class_="key")
    charts = [_figure(runs, name, colours) for name in _quantities(runs)]
    return tag("div", heading, legend, tag("div", charts, class_="charts"), class_="run")


def _last_step(run: Run) -> int:
    return int(run.log[-1]["step"])


def _reached(run: Run) -> str:
    last = run.log[-1]
    reached = [f"{int(last['step']):,} steps"]
    reached += [f"{last['epoch']:.4g} epochs"] if "epoch" in last else []
    reached += [f"{int(last['samples']):,} samples"] if "samples" in last else []
    return ", ".join(reached)


def _quantities(runs: Sequence[Run]) -> list[str]:
    """The names of logged numbers: the total loss, its terms, the usual quantities, then the others as they come."""
    logged = dict.fromkeys(
        name
        for run in runs
        for entry in run.log
        for name, value in entry.items()
        if name not in POSITIONS and _is_number(value) and (value or name not in COUNTS)
    )
    terms = [name for name in logged if name.startswith("loss/")]
    first = [name for name in ORDER[:1] if name in logged] + terms + [name for name in ORDER[1:] if name in logged]
    return first + [name for name in logged if name not in first]


def _figure(runs: Sequence[Run], name: str, colours: Mapping[str, int]) -> Markup:
    logged = [(run, points) for run in runs if (points := _points(run, name))]
    values = [value for _, points in logged for _, value in points]
    broken = sum(1 for value in values if not math.isfinite(value))
    title = NAMES.get(
        name, name.removeprefix("loss/") + " loss" if name.startswith("loss/") else name.replace("_", " ")
    )
    caption = tag(
        "figcaption",
        tag("b", title),
        f" last {short_number(values[-1])}" if len(logged) == 1 else None,
        tag("span", f" {broken:,} of {len(values):,} values are not finite", class_="warning") if broken else None,
    )
    label = f"{title} of {', '.join(dict.fromkeys(run.arm for run, _ in logged))} over {len(values)} logged steps"
    series = [Series(points, colours[run.arm] if len(runs) > 1 else None) for run, points in logged]
    return tag("figure", caption, line_chart(series, label), class_="plot")


def _points(run: Run, name: str) -> list[tuple[float, float]]:
    return [(float(entry["step"]), float(entry[name])) for entry in run.log if _is_number(entry.get(name))]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
