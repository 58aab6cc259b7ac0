"""Charts: what is drawn where, and figures that cannot break them."""

import json
import math
import re
from xml.etree import ElementTree

import pytest

from vae_cli.drawing.curves import HEIGHT, WIDTH, Line, line_chart


def chart(points: tuple[tuple[float, float], ...], title: str = "loss", name: str = "training") -> str:
    """A chart of one line that spans all steps."""
    steps = [step for step, _ in points] or [0]
    return line_chart(title, [Line(name, points)], (min(steps), max(steps)))


def lines_of(figure: str) -> list[list[tuple[float, float]]]:
    """The points of each line, pixels from the upper left corner."""
    found = re.findall(r'<polyline points="([^"]+)"', figure)
    return [[tuple(map(float, pair.split(","))) for pair in points.split()] for points in found]


def test_larger_values_lie_higher_and_later_steps_further_right() -> None:
    figure = chart(((0, 4.5), (10, 5.0), (20, 3.0), (30, 4.0)))
    (points,) = lines_of(figure)
    xs, ys = zip(*points, strict=True)
    assert list(xs) == sorted(xs) and ys[1] < ys[0] < ys[3] < ys[2]
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)
    assert "training: <output>4 at step 30</output>" in figure


def test_the_start_does_not_flatten_the_rest() -> None:
    falling = tuple((float(step), 1e6 if step < 3 else 100.0 - step) for step in range(100))
    (points,) = lines_of(chart(falling))
    assert points[3][1] < 0.2 * HEIGHT and points[99][1] > 0.7 * HEIGHT
    assert points[0][1] < 0, "cut off above"
    rare = ((0.0, 1e6), (33.0, 67.0), (66.0, 34.0), (99.0, 1.0))
    (points,) = lines_of(chart(rare))
    assert points[0][1] < 0 < points[1][1] < 0.2 * HEIGHT


@pytest.mark.parametrize("values", [(), (1.0,), (math.nan, 1.0), (math.inf, math.nan, -math.inf)])
def test_nothing_is_drawn_of_less_than_two_points(values: tuple[float, ...]) -> None:
    assert chart(tuple(enumerate(values))) == ""


@pytest.mark.parametrize("values", [(0.0, 0.0), (7.0, 7.0), (1e-30, 2e-30), (-1e30, 1e30), (1.0, math.nan, 2.0)])
def test_any_range_has_an_axis(values: tuple[float, ...]) -> None:
    figure = chart(tuple(enumerate(values)), "a <b>", "c & d")
    ElementTree.fromstring(figure)
    assert lines_of(figure) and "nan" not in figure and "inf" not in figure


def test_a_long_line_is_thinned() -> None:
    (points,) = lines_of(chart(tuple((float(i), float(i % 7)) for i in range(50_000))))
    assert len(points) <= WIDTH


def test_both_phases_share_the_steps_and_have_an_axis_each() -> None:
    vae = Line("bound", tuple((float(step), 900.0 - step) for step in range(0, 41, 10)))
    flow = Line("flow", tuple((float(step), 2.0 - step / 100) for step in range(50, 101, 10)))
    figure = line_chart("both", [vae, Line("none", ()), flow], (0, 100), border=40)
    first, second = lines_of(figure)
    left, right = first[0][0], second[-1][0]
    assert first[-1][0] == pytest.approx(left + 0.4 * (right - left), abs=0.1)
    assert second[0][0] == pytest.approx(left + 0.5 * (right - left), abs=0.1)
    assert first[-1][1] == pytest.approx(second[-1][1], abs=1), "each line fills the height"
    ElementTree.fromstring(figure)
    border = re.search(r'<rect class="phase" x="([\d.]+)"', figure)
    assert border is not None and float(border[1]) == pytest.approx(first[-1][0], abs=0.1)
    values = [json.loads(found) for found in re.findall(r'data-values="([^"]+)"', figure)]
    assert values == [[[step, 900 - step] for step in range(0, 41, 10)],
                      [[step, pytest.approx(2 - step / 100)] for step in range(50, 101, 10)]]  # fmt: skip
