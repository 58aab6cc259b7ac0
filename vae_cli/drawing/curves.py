"""Line charts as SVG inside a page: they need no plotting library, and stay sharp at any size."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from vae_cli.drawing.page import page

WIDTH, HEIGHT = 340, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, WIDTH - 10, 12, HEIGHT - 34  # the edges of the part that the axes span, pixels
_NUM_TICKS = 4
_START_SHARE = 0.1  # share of the steps, from the first one on, that the range of the y axis ignores
_LARGEST_VALUE = 1e100  # values beyond it are not drawn: their differences overflow


def line_chart(title: str, name: str, points: Sequence[tuple[float, float]]) -> Markup:
    """An HTML `figure` with the line through points (step, value), in order; empty without two finite points.

    The y axis covers what the line does after the first tenth of the steps, because the fall from the start of training
    would flatten all that follows. What lies outside is cut off.
    """
    points = [point for point in points if abs(point[1]) < _LARGEST_VALUE]
    if len(points) < 2:
        return Markup()
    steps = [step for step, _ in points]
    x_axis = _Axis(min(steps), max(steps), _LEFT, _RIGHT)
    begin = x_axis.low + _START_SHARE * (x_axis.high - x_axis.low)
    later = [value for step, value in points if step >= begin]
    margin = 0.05 * (max(later) - min(later)) or 0.05 * abs(max(later)) or 1.0  # an axis is never of length zero
    y_axis = _Axis(min(later) - margin, max(later) + margin, _BOTTOM, _TOP)
    # At most about one point for each pixel: means of neighbours.
    means = (part.mean(axis=0) for part in np.array_split(np.array(points, float), min(len(points), WIDTH)))
    line = " ".join(f"{x_axis.at(step):.1f},{y_axis.at(value):.1f}" for step, value in means)
    tip = f"{name}: {points[-1][1]:.5g} at step {points[-1][0]:g}"
    edges = {"left": _LEFT, "right": _RIGHT, "top": _TOP, "bottom": _BOTTOM, "width": WIDTH, "height": HEIGHT}
    axes = {"x_ticks": x_axis.ticks(), "y_ticks": y_axis.ticks()}
    return Markup("").join(
        map(Markup, page("chart.html.j2", title=title, name=name, line=line, tip=tip, **edges, **axes))
    )


@dataclass(frozen=True)
class _Axis:
    """Values from `low` to `high` at positions from `start` to `end`, pixels."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        return self.start + (value - self.low) / ((self.high - self.low) or 1.0) * (self.end - self.start)

    def ticks(self) -> list[tuple[str, str]]:
        """Positions and round numbers in range, which are 1, 2 or 5 times a power of ten apart."""
        rough = (self.high - self.low) / _NUM_TICKS
        rough = rough if rough > 1 / _LARGEST_VALUE else 1.0
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
        numbers = [step * number for number in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]
        return [(f"{self.at(number):.1f}", f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.4g}")
                for number in numbers]  # fmt: skip
