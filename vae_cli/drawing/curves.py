"""Line charts as SVG inside a page: no program to draw them, no picture that blurs."""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

WIDTH, HEIGHT = 340, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 10, 12, 34
_NUM_TICKS = 4
_START_LEFT_OUT = 0.1
"""Share of the steps whose fall from the start of training does not count for the range of the y axis."""
_MOST = 1e100
"""Of what can be drawn: beyond it differences overflow."""
_COLORS = ("#3b7dd8", "#d9822b", "#3a9d5d")


@dataclass(frozen=True)
class Series:
    """One line: points (step, value), in order."""

    name: str
    points: tuple[tuple[float, float], ...]


def line_chart(title: str, series: Sequence[Series]) -> str:
    """A `figure` with one chart, its lines told apart by colour and name; '' when no line has two finite points.

    The y axis covers what the lines do after the first tenth of the steps: with the fall from the start in it
    everything later would be one flat line. What lies outside is cut off.
    """
    drawn = [Series(line.name, tuple(point for point in line.points if abs(point[1]) < _MOST)) for line in series]
    drawn = [line for line in drawn if len(line.points) > 1]
    if not drawn:
        return ""
    points = [point for line in drawn for point in line.points]
    x_axis = _Axis(min(x for x, _ in points), max(x for x, _ in points), _LEFT, WIDTH - _RIGHT)
    begin = x_axis.low + _START_LEFT_OUT * (x_axis.high - x_axis.low)
    y_axis = _Axis.around([y for x, y in points if x >= begin], HEIGHT - _BOTTOM, _TOP)
    lines = "".join(_polyline(line, x_axis, y_axis, color) for line, color in zip(drawn, _COLORS, strict=False))
    inside = f'<svg x="{_LEFT}" y="{_TOP}" width="{WIDTH - _LEFT - _RIGHT}" height="{HEIGHT - _TOP - _BOTTOM}" '
    inside += f'viewBox="{_LEFT} {_TOP} {WIDTH - _LEFT - _RIGHT} {HEIGHT - _TOP - _BOTTOM}">{lines}</svg>'
    label = html.escape(title)
    return (
        f'<figure><svg role="img" aria-label="{label}" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
        f' font-size="11" fill="currentColor">{_grid(x_axis, y_axis)}{inside}</svg>'
        f"<figcaption>{label}: {_legend(drawn)}</figcaption></figure>"
    )


@dataclass(frozen=True)
class _Axis:
    """Values from `low` to `high` at positions from `start` to `end`, pixels."""

    low: float
    high: float
    start: float
    end: float

    @staticmethod
    def around(values: Sequence[float], start: float, end: float) -> "_Axis":
        """With a margin, and never of no extent."""
        low, high = min(values), max(values)
        margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
        return _Axis(low - margin, high + margin, start, end)

    def at(self, value: float) -> float:
        return self.start + (value - self.low) / ((self.high - self.low) or 1.0) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round numbers in range: 1, 2 or 5 times a power of ten apart."""
        rough = (self.high - self.low) / _NUM_TICKS or 1.0
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
        return [step * number for number in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]


def _polyline(line: Series, x_axis: _Axis, y_axis: _Axis, color: str) -> str:
    points = " ".join(f"{x_axis.at(x):.1f},{y_axis.at(y):.1f}" for x, y in _thinned(line.points))
    tip = html.escape(f"{line.name}: {line.points[-1][1]:.5g} at step {line.points[-1][0]:g}")
    return (
        f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.5"><title>{tip}</title></polyline>'
    )


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most about one point a pixel: means of neighbours."""
    parts = np.array_split(np.array(points), min(len(points), WIDTH))
    return [(float(x), float(y)) for x, y in (part.mean(axis=0) for part in parts)]


def _grid(x_axis: _Axis, y_axis: _Axis) -> str:
    right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM
    lines = [
        f'<line x1="{_LEFT}" x2="{right}" y1="{y_axis.at(tick):.1f}" y2="{y_axis.at(tick):.1f}" stroke="#8884"/>'
        f'<text x="{_LEFT - 6}" y="{y_axis.at(tick) + 4:.1f}" text-anchor="end">{_number(tick)}</text>'
        for tick in y_axis.ticks()
    ]
    lines += [
        f'<text x="{x_axis.at(tick):.1f}" y="{bottom + 15}" text-anchor="middle">{_number(tick)}</text>'
        for tick in x_axis.ticks()
    ]
    lines.append(f'<text x="{(_LEFT + right) / 2}" y="{HEIGHT - 4}" text-anchor="middle">step</text>')
    return "".join(lines)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _legend(series: Sequence[Series]) -> str:
    return ", ".join(
        f'<span style="color: {color}">{html.escape(line.name)}</span>'
        for line, color in zip(series, _COLORS, strict=False)
    )
