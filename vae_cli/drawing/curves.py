"""Line charts as SVG inside a page: they need no plotting library, and stay sharp at any size."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from vae_cli.drawing.page import page

WIDTH, HEIGHT = 380, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, WIDTH - 54, 18, HEIGHT - 20  # the edges of the part that the axes span, pixels
_NUM_TICKS = 4
_START_SHARE = 0.1  # share of a line's steps, from its first one on, that the range of its axis ignores
_LARGEST_VALUE = 1e100  # values beyond it are not drawn: their differences overflow


@dataclass(frozen=True)
class Line:
    """A figure over the steps of a phase: points (step, value), in order."""

    name: str
    points: Sequence[tuple[float, float]]


def line_chart(title: str, lines: Sequence[Line], steps: tuple[float, float], border: float | None = None) -> Markup:
    """An HTML `figure`; empty where no line has two finite points, which others are left out for.

    steps: the first and last one of the whole training, which all charts of a page span. border: the step at which the
    flow takes over from the VAE. The first line has its axis on the left, the second one on the right; each covers what
    its line does after the first tenth of its steps, because the fall from the start of training would flatten all that
    follows. What lies outside is cut off.
    """
    x_axis, drawn = _Axis(*steps, _LEFT, _RIGHT), list[dict[str, Any]]()
    for line in lines:
        points = [point for point in line.points if abs(point[1]) < _LARGEST_VALUE]
        if len(points) < 2:
            continue
        y_axis = _y_axis(points)
        # At most about one point for each pixel: means of neighbours.
        means = [part.mean(axis=0) for part in np.array_split(np.array(points, float), min(len(points), WIDTH))]
        drawn.append({
            "name": line.name, "last": points[-1], "ticks": y_axis.ticks(),
            "path": " ".join(f"{x_axis.at(step):.1f},{y_axis.at(value):.1f}" for step, value in means),
            "values": json.dumps([[round(step), float(f"{value:.5g}")] for step, value in means]),
        })  # fmt: skip
    if not drawn:
        return Markup()
    edges = {"left": _LEFT, "right": _RIGHT, "top": _TOP, "bottom": _BOTTOM, "width": WIDTH, "height": HEIGHT}
    at_border = None if border is None else x_axis.at(border)
    pieces = page("chart.html.j2", title=title, lines=drawn, steps=steps, border=at_border,
                  x_ticks=x_axis.ticks(), **edges)  # fmt: skip
    return Markup("").join(map(Markup, pieces))


def _y_axis(points: Sequence[tuple[float, float]]) -> "_Axis":
    begin = points[0][0] + _START_SHARE * (points[-1][0] - points[0][0])
    later = [value for step, value in points if step >= begin]
    margin = 0.05 * (max(later) - min(later)) or 0.05 * abs(max(later)) or 1.0  # an axis is never of length zero
    return _Axis(min(later) - margin, max(later) + margin, _BOTTOM, _TOP)


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
