"""Charts as inline SVG: they follow the page's colours, light or dark, and need no library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

__all__ = ["bar_chart", "line_chart", "ticks"]

WIDTH, HEIGHT = 320, 200
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 10, 34  # margins around the plot, in the units of the view box
MAX_POINTS = 200  # of a line; more would not be seen

Point = tuple[float, float]


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers, about `count`, from `low` to `high`."""
    if not high > low:
        return [low]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first = math.ceil(low / step - 1e-9)
    return [round((first + i) * step, 12) for i in range(int((high - first * step) / step + 1e-9) + 1)]


class _Axes:
    """Values to places: the plot's range in x and y."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float]) -> None:
        self.x, self.y = x, y

    def at(self, x: float, y: float) -> Point:
        across = (x - self.x[0]) / ((self.x[1] - self.x[0]) or 1)
        up = (y - self.y[0]) / ((self.y[1] - self.y[0]) or 1)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    def grid(self, x_label: str) -> str:
        parts = []
        for value in ticks(*self.y):
            y = self.at(self.x[0], value)[1]
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text x="{LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
        for value in ticks(*self.x):
            x = self.at(value, self.y[0])[0]
            parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 14}" text-anchor="middle">{value:g}</text>')
        parts.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x_label)}</text>')
        return "".join(parts)


def _figure(title: str, inside: str, legend: Sequence[str] = ()) -> str:
    """A figure with its title, which is also what a screen reader says."""
    keys = "".join(f'<span class="key c{i % 6}">{escape(name)}</span>' for i, name in enumerate(legend))
    return (
        f'<figure class="chart"><figcaption>{escape(title)} {keys}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{inside}</svg></figure>'
    )


def line_chart(
    title: str,
    lines: Mapping[str, Sequence[Point]],
    x_label: str,
    x: tuple[float, float] | None = None,
    y: tuple[float, float] | None = None,
) -> str:
    """Lines by name, each points (x, y); points that are not finite are left out. Empty without any point.

    x, y  the range of an axis; None: that of the points, y from 0.
    """
    finite = {name: [p for p in points if all(map(math.isfinite, p))] for name, points in lines.items()}
    finite = {name: _thinned(points) for name, points in finite.items() if points}
    every = [point for points in finite.values() for point in points]
    if not every:
        return ""
    xs, ys = zip(*every, strict=True)
    plane = _Axes(x or (min(xs), max(xs)), y or (min(0.0, *ys), max(*ys, 1e-9)))
    drawn = []
    for i, points in enumerate(finite.values()):
        places = [plane.at(*point) for point in points]
        path = " ".join(f"{across:.1f},{down:.1f}" for across, down in places)
        mark = "".join(f'<circle class="c{i % 6}" cx="{a:.1f}" cy="{d:.1f}" r="2"/>' for a, d in places)
        drawn.append(f'<polyline class="c{i % 6}" points="{path}"/>{mark if len(places) <= 30 else ""}')
    return _figure(title, plane.grid(x_label) + "".join(drawn), list(finite))


def _thinned(points: Sequence[Point]) -> list[Point]:
    step = -(-len(points) // MAX_POINTS)
    return [*points[:-1:step], points[-1]]


def bar_chart(title: str, bars: Sequence[tuple[str, float]], x_label: str) -> str:
    """Bars with a name below each, and their value above. Empty without any."""
    if not bars:
        return ""
    plane = _Axes((0, len(bars)), (0, max(1.0, *(value for _, value in bars)) * 1.12))
    parts = []
    for i, (name, value) in enumerate(bars):
        (x1, y1), (x2, y2) = plane.at(i + 0.12, value), plane.at(i + 0.88, 0)
        middle = (x1 + x2) / 2
        parts.append(f'<rect class="c0" x="{x1:.1f}" y="{y1:.1f}" width="{x2 - x1:.1f}" height="{y2 - y1:.1f}"/>')
        parts.append(f'<text x="{middle:.1f}" y="{y1 - 3:.1f}" text-anchor="middle">{value:,.0f}</text>')
        below = HEIGHT - BOTTOM + 14
        parts.append(f'<text x="{middle:.1f}" y="{below}" text-anchor="middle">{escape(name)}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH) / 2}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x_label)}</text>')
    return _figure(title, "".join(parts))
