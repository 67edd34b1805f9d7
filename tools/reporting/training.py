"""The report's training curves and the settings of the runs."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tools.reporting.charts import line_chart, short_number
from tools.reporting.element import Markup, group, tag
from tools.reporting.inputs import Run

POSITIONS = frozenset({"step", "epoch", "samples"})
ORDER = ("loss", "temperature", "lr", "grad_norm", "samples_per_second", "data_wait_share")
NAMES = {
    "loss": "loss, total",
    "lr": "learning rate",
    "grad_norm": "gradient norm",
    "samples_per_second": "samples per second",
    "data_wait_share": "waiting for data, share of time",
}


def curves(runs: Sequence[Run]) -> Markup:
    """For every run a chart of each logged quantity over the steps, losses first."""
    parts = []
    for run in runs:
        charts = [_figure(run, name) for name in _quantities(run)]
        last = run.log[-1]
        reached = [f"{int(last['step']):,} steps"]
        reached += [f"{last['epoch']:.4g} epochs"] if "epoch" in last else []
        reached += [f"{int(last['samples']):,} samples"] if "samples" in last else []
        parts.append(
            tag(
                "div",
                tag("h3", run.name, tag("small", " ", ", ".join(reached))),
                tag("div", charts, class_="charts"),
                class_="run",
            )
        )
    explanation = "Each chart has its own axis; the horizontal one counts steps. Pale: as logged; strong: smoothed."
    return group(tag("p", explanation, class_="note"), parts)


def settings(runs: Sequence[Run]) -> Markup:
    """The settings in which the runs differ, side by side, and below them those that they share."""
    flat = [dict(_flatten(run.config)) for run in runs]
    names = list(dict.fromkeys(name for config in flat for name in config))
    shared = [name for name in names if len({config.get(name, _ABSENT) for config in flat}) == 1]
    differing = [name for name in names if name not in shared]
    parts = []
    if len(runs) > 1:
        rows = [
            tag("tr", tag("th", name, scope="row"), [_setting(config.get(name, _ABSENT)) for config in flat])
            for name in differing
        ]
        head = tag("tr", tag("th", "setting", scope="col"), [tag("th", run.name, scope="col") for run in runs])
        parts.append(tag("h3", "Where the runs differ"))
        parts.append(tag("div", tag("table", head, rows, class_="settings"), class_="scroll") if rows else _SAME)
    if shared:
        parts.append(tag("h3", "Shared by all runs" if len(runs) > 1 else runs[0].name))
        pairs = [tag("div", tag("dt", name), tag("dd", flat[0][name])) for name in shared]
        parts.append(tag("dl", pairs, class_="shared"))
    return group(parts)


def _quantities(run: Run) -> list[str]:
    """The names of logged numbers: the total loss, its terms, the usual quantities, then the others as they come."""
    logged = dict.fromkeys(
        name
        for entry in run.log
        for name, value in entry.items()
        if name not in POSITIONS and isinstance(value, int | float) and not isinstance(value, bool)
    )
    terms = [name for name in logged if name.startswith("loss/")]
    first = [name for name in ORDER[:1] if name in logged] + terms + [name for name in ORDER[1:] if name in logged]
    return first + [name for name in logged if name not in first]


def _figure(run: Run, name: str) -> Markup:
    points = [(float(entry["step"]), float(entry[name])) for entry in run.log if _is_number(entry.get(name))]
    broken = sum(1 for _, value in points if not math.isfinite(value))
    title = NAMES.get(
        name, name.removeprefix("loss/") + " loss" if name.startswith("loss/") else name.replace("_", " ")
    )
    caption = tag(
        "figcaption",
        tag("b", title),
        f" last {short_number(points[-1][1])}",
        tag("span", f" {broken:,} of {len(points):,} values are not finite", class_="warning") if broken else None,
    )
    label = f"{title} of {run.name} over {len(points)} logged steps"
    return tag("figure", caption, line_chart(points, label), class_="plot")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """``{"optimizer": {"lr": 0.1}}`` gives ``("optimizer.lr", "0.1")``."""
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value)


def _setting(value: str) -> Markup:
    return tag("td", "not set", class_="missing") if value is _ABSENT else tag("td", tag("code", value))


_ABSENT = "\0absent"
_SAME = tag("p", "All settings are the same.", class_="note")
