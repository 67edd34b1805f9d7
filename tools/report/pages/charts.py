"""Small line charts: what a template draws as inline SVG, in the coordinates of the picture."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 340, 190
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 10, 26
MAX_POINTS = 2000
COLOURS = 8

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Series:
    """A curve: (step, value) points with steps ascending, and the number of its colour, None for the only one."""

    points: Sequence[Point]
    colour: int | None = None


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawn chart; coordinates are text with one decimal.

    Attributes:
        label: read out aloud.
        heights: (y, number) of the horizontal lines.
        steps: (x, anchor, number) below the horizontal axis.
        curves: (classes, points) of the lines; empty where no value is finite.
        dots: (x, y) of lines of a single point.
    """

    label: str
    heights: tuple[tuple[str, str], ...] = ()
    steps: tuple[tuple[str, str, str], ...] = ()
    curves: tuple[tuple[str, str], ...] = ()
    dots: tuple[tuple[str, str], ...] = ()


def line_chart(series: Sequence[Series], label: str) -> Chart:
    """Curves on common axes.

    Every finite point is drawn, up to ``MAX_POINTS``; beyond that the lowest and highest of each stretch are kept. A
    line breaks where a value is not finite. Of a noisy curve of 50 points or more a smoothed line is drawn, on top of
    the curve itself if it is alone.
    """
    finite = [(x, y) for one in series for x, y in one.points if math.isfinite(y)]
    if not finite:
        return Chart(label)
    first, last = min(x for x, _ in finite), max(x for x, _ in finite)
    x_ticks = ticks(first, last, 4)
    y_ticks = ticks(min(y for _, y in finite), max(y for _, y in finite), 4)
    x_range = (first, max(last, first + 1))
    y_range = (min(y_ticks[0], *(y for _, y in finite)), max(y_ticks[-1], *(y for _, y in finite)))

    def place(point: Point) -> Point:
        x = LEFT + (point[0] - x_range[0]) / (x_range[1] - x_range[0]) * (WIDTH - LEFT - RIGHT)
        y = HEIGHT - BOTTOM - (point[1] - y_range[0]) / (y_range[1] - y_range[0]) * (HEIGHT - TOP - BOTTOM)
        return x, y

    lines = [line for one in series for line in _curves(one, place, alone=len(series) == 1)]
    steps = [(place((value, y_ticks[0]))[0], value) for value in x_ticks]
    return Chart(
        label,
        tuple((f"{place((x_ticks[0], value))[1]:.1f}", short_number(value)) for value in y_ticks),
        tuple(
            (f"{x:.1f}", "end" if x > WIDTH - RIGHT - 12 else "middle", short_number(value))
            for x, value in steps
            if LEFT - 1 <= x <= WIDTH - RIGHT + 1
        ),
        tuple((kind, " ".join(f"{x:.1f},{y:.1f}" for x, y in points)) for kind, points in lines if len(points) > 1),
        tuple((f"{points[0][0]:.1f}", f"{points[0][1]:.1f}") for _, points in lines if len(points) == 1),
    )


def colour_class(number: int) -> str:
    """The class of a colour in the style sheet; beyond ``COLOURS`` they begin again."""
    return f"c{number % COLOURS}"


def _curves(series: Series, place: Callable[[Point], Point], alone: bool) -> list[tuple[str, list[Point]]]:
    kind = "curve" if series.colour is None else f"curve {colour_class(series.colour)}"
    finite = [(x, y) for x, y in series.points if math.isfinite(y)]
    steps = [b - a for (_, a), (_, b) in itertools.pairwise(finite)]
    # a noisy curve often turns back, which a schedule does not
    noisy = len(finite) >= 50 and sum(a * b < 0 for a, b in itertools.pairwise(steps)) > len(steps) / 5
    curves = []
    if alone or not noisy:
        parts = _stretches(series.points)
        curves = [("raw" if noisy else kind, [place(p) for p in part]) for part in parts]
    if noisy:
        curves.append((f"{kind} smooth", [place(p) for p in thin(smooth(finite))]))
    return curves


def ticks(low: float, high: float, count: int) -> list[float]:
    """About ``count`` round numbers (1, 2 or 5 times a power of ten) that enclose or touch ``low`` to ``high``."""
    if high <= low:
        low, high = low - (abs(low) or 1) * 0.1, high + (abs(high) or 1) * 0.1
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def thin(points: Sequence[Point], most: int = MAX_POINTS) -> list[Point]:
    """All points, or if there are more than ``most``, the lowest and the highest of ``most // 2`` equal stretches."""
    if len(points) <= most:
        return list(points)
    kept: list[Point] = []
    for number in range(most // 2):
        part = points[len(points) * number // (most // 2) : len(points) * (number + 1) // (most // 2)]
        kept += sorted({min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])})
    return kept


def smooth(points: Sequence[Point]) -> list[Point]:
    """The mean over a centred window of a twentieth of the points, cut off at the ends."""
    reach = max(1, len(points) // 40)
    total = [0.0]
    for _, y in points:
        total.append(total[-1] + y)
    smoothed = []
    for index, (x, _) in enumerate(points):
        first, last = max(0, index - reach), min(len(points), index + reach + 1)
        smoothed.append((x, (total[last] - total[first]) / (last - first)))
    return smoothed


def short_number(value: float) -> str:
    """At most a few characters: ``0``, ``0.25``, ``12k``, ``3e-5``."""
    if value == 0:
        return "0"
    if abs(value) < 1e-3 or abs(value) >= 1e7:
        return f"{value:.1e}".replace(".0e", "e").replace("e-0", "e-").replace("e+0", "e")
    return f"{value / 1000:.4g}k" if abs(value) >= 10_000 else f"{value:.4g}"


def _stretches(points: Sequence[Point]) -> list[list[Point]]:
    """The points cut at values that are not finite, thinned."""
    parts: list[list[Point]] = [[]]
    for x, y in points:
        if math.isfinite(y):
            parts[-1].append((x, y))
        elif parts[-1]:
            parts.append([])
    share = max(2, MAX_POINTS // len(parts))
    return [thin(part, share if len(points) > MAX_POINTS else MAX_POINTS) for part in parts if part]
