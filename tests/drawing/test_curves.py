"""Charts: what is drawn where, and figures that cannot break them."""

import math
import re
from xml.etree import ElementTree

import pytest

from vae_cli.drawing.curves import HEIGHT, WIDTH, line_chart


def lines_of(figure: str) -> list[list[tuple[float, float]]]:
    """The points of each line, pixels from the upper left corner."""
    found = re.findall(r'<polyline points="([^"]+)"', figure)
    return [[tuple(map(float, pair.split(","))) for pair in points.split()] for points in found]


def test_larger_values_lie_higher_and_later_steps_further_right() -> None:
    figure = line_chart("loss", "training", ((0, 4.5), (10, 5.0), (20, 3.0), (30, 4.0)))
    (points,) = lines_of(figure)
    xs, ys = zip(*points, strict=True)
    assert list(xs) == sorted(xs) and ys[1] < ys[0] < ys[3] < ys[2]
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)
    assert "training: 4 at step 30" in figure


def test_the_start_does_not_flatten_the_rest() -> None:
    falling = tuple((float(step), 1e6 if step < 3 else 100.0 - step) for step in range(100))
    (points,) = lines_of(line_chart("loss", "training", falling))
    assert points[3][1] < 0.2 * HEIGHT and points[99][1] > 0.7 * HEIGHT
    assert points[0][1] < 0, "cut off above"
    rare = ((0.0, 1e6), (33.0, 67.0), (66.0, 34.0), (99.0, 1.0))
    (points,) = lines_of(line_chart("loss", "validation", rare))
    assert points[0][1] < 0 < points[1][1] < 0.2 * HEIGHT


@pytest.mark.parametrize("values", [(), (1.0,), (math.nan, 1.0), (math.inf, math.nan, -math.inf)])
def test_nothing_is_drawn_of_less_than_two_points(values: tuple[float, ...]) -> None:
    assert line_chart("loss", "training", tuple(enumerate(values))) == ""


@pytest.mark.parametrize("values", [(0.0, 0.0), (7.0, 7.0), (1e-30, 2e-30), (-1e30, 1e30), (1.0, math.nan, 2.0)])
def test_any_range_has_an_axis(values: tuple[float, ...]) -> None:
    figure = line_chart("a <b>", "c & d", tuple(enumerate(values)))
    ElementTree.fromstring(figure)
    assert lines_of(figure) and "nan" not in figure and "inf" not in figure


def test_a_long_line_is_thinned() -> None:
    (points,) = lines_of(line_chart("loss", "training", tuple((float(i), float(i % 7)) for i in range(50_000))))
    assert len(points) <= WIDTH
