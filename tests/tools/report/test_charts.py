"""Axes, smoothing and thinning of the small charts."""

import pytest

from tools.report.pages.charts import Series, line_chart, short_number, smooth, thin, ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 4, [0, 1, 2, 3, 4]),
        (0.3, 3.9, [0, 1, 2, 3, 4]),
        (2, 2, [1.8, 1.9, 2.0, 2.1, 2.2]),
        (0, 0, [-0.1, -0.05, 0, 0.05, 0.1]),
        (-3, 17, [-5, 0, 5, 10, 15, 20]),
        (0, 1e-4, [0, 5e-5, 1e-4]),
        (10, 3000, [0, 1000, 2000, 3000]),
    ],
)
def test_ticks_are_round_and_enclose_the_values(low, high, expected):
    assert ticks(low, high, 4) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"),
        (0.25, "0.25"),
        (3, "3"),
        (1500, "1500"),
        (12000, "12k"),
        (3e-5, "3e-5"),
        (2.5e8, "2.5e8"),
        (-0.5, "-0.5"),
    ],
)
def test_numbers_are_short(value, expected):
    assert short_number(value) == expected


def test_smoothing_keeps_a_constant_and_flattens_a_zigzag():
    assert smooth([(x, 2.0) for x in range(100)]) == [(x, pytest.approx(2.0)) for x in range(100)]
    # a window of 2 * (120 // 40) + 1 = 7 values of +1, -1 in turn leaves a seventh
    assert smooth([(x, (-1.0) ** x) for x in range(120)])[60] == (60, pytest.approx(-1 / 7))


def test_few_points_are_not_thinned():
    points = [(float(x), float(x)) for x in range(10)]
    assert thin(points, 10) == points
    assert thin(points, 4) == [(0.0, 0.0), (4.0, 4.0), (5.0, 5.0), (9.0, 9.0)]


def test_noisy_curves_get_a_smoothed_line_and_schedules_do_not():
    zigzag = line_chart([Series([(x, x + 5 * (-1.0) ** x) for x in range(60)])], "zigzag")
    assert [kind for kind, _ in zigzag.curves] == ["raw", "curve smooth"]
    straight = line_chart([Series([(x, float(x)) for x in range(60)])], "straight")
    assert [kind for kind, _ in straight.curves] == ["curve"]
