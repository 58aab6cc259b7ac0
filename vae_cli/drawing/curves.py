"""Line charts as SVG inside a page: they need no plotting library, and stay sharp at any size."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from vae_cli.drawing.page import page

WIDTH, HEIGHT = 340, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, WIDTH - 10, 12, HEIGHT - 34
"""The edges of the part that the axes span, pixels."""
_NUM_TICKS = 4
_START_SHARE = 0.1
"""Share of the steps, from the first one on, that the range of the y axis ignores."""
_LARGEST_VALUE = 1e100
"""Values beyond it are not drawn: their differences overflow."""
_COLORS = ("#3b7dd8", "#d9822b", "#3a9d5d")


@dataclass(frozen=True)
class Series:
    """One line: points (step, value), in order."""

    name: str
    points: tuple[tuple[float, float], ...]


def line_chart(title: str, series: Sequence[Series]) -> Markup:
    """An HTML `figure` with a chart of up to three lines; empty when no line has two finite points.

    The y axis covers what the lines do after the first tenth of the steps, because the fall from the start of training
    would flatten all that follows. What lies outside is cut off.
    """
    drawn = [
        Series(line.name, tuple(point for point in line.points if abs(point[1]) < _LARGEST_VALUE)) for line in series
    ]
    drawn = [line for line in drawn if len(line.points) > 1]
    if not drawn:
        return Markup()
    points = [point for line in drawn for point in line.points]
    x_axis = _Axis(min(x for x, _ in points), max(x for x, _ in points), _LEFT, _RIGHT)
    begin = x_axis.low + _START_SHARE * (x_axis.high - x_axis.low)
    y_axis = _Axis.around([y for x, y in points if x >= begin], _BOTTOM, _TOP)
    lines = [_line(line, x_axis, y_axis, color) for line, color in zip(drawn, _COLORS, strict=False)]
    edges = {"left": _LEFT, "right": _RIGHT, "top": _TOP, "bottom": _BOTTOM, "width": WIDTH, "height": HEIGHT}
    axes = {"x_ticks": x_axis.ticks(), "y_ticks": y_axis.ticks()}
    return Markup("").join(map(Markup, page("chart.html.j2", title=title, lines=lines, **edges, **axes)))


@dataclass(frozen=True)
class _Axis:
    """Values from `low` to `high` at positions from `start` to `end`, pixels."""

    low: float
    high: float
    start: float
    end: float

    @staticmethod
    def around(values: Sequence[float], start: float, end: float) -> "_Axis":
        """An axis for values, with a margin; its length is never zero."""
        low, high = min(values), max(values)
        margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
        return _Axis(low - margin, high + margin, start, end)

    def at(self, value: float) -> float:
        return self.start + (value - self.low) / ((self.high - self.low) or 1.0) * (self.end - self.start)

    def ticks(self) -> list[tuple[str, str]]:
        """Positions and round numbers in range, which are 1, 2 or 5 times a power of ten apart."""
        rough = (self.high - self.low) / _NUM_TICKS or 1.0
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
        numbers = [step * number for number in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]
        return [(f"{self.at(number):.1f}", _number(number)) for number in numbers]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _line(line: Series, x_axis: _Axis, y_axis: _Axis, color: str) -> dict[str, str]:
    """A line as the template needs it, with at most about one point for each pixel: means of neighbours."""
    parts = np.array_split(np.array(line.points), min(len(line.points), WIDTH))
    points = " ".join(f"{x_axis.at(x):.1f},{y_axis.at(y):.1f}" for x, y in (part.mean(axis=0) for part in parts))
    last_step, last_value = line.points[-1]
    tip = f"{line.name}: {last_value:.5g} at step {last_step:g}"
    return {"name": line.name, "color": color, "points": points, "tip": tip}
