"""Line charts as inline SVG: no script, no font, no file beside the page.

Colours come from the page's style sheet by class names, so that they follow light, dark and print.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Final, Literal

WIDTH: Final = 520
WIDE: Final = 1060
HEIGHT: Final = 264
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 22, 14, 44

Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """One line."""

    name: str
    points: Sequence[Point]
    style: str
    """Class name in the style sheet."""
    dots: bool = False
    """Whether each point is marked: where there are few, each a measurement of its own."""


@dataclass(frozen=True)
class Scale:
    """Where a value stands on an axis, as a share of its length, and which values are named."""

    label: str
    low: float
    high: float
    kind: Literal["linear", "log", "percentile"] = "linear"
    ticks: Sequence[tuple[float, str]] = field(default=())

    def at(self, value: float) -> float:
        """Return the position of a value, from 0 to 1."""
        low, high, here = (self._stretched(item) for item in (self.low, self.high, value))
        return min(max((here - low) / (high - low), 0.0), 1.0) if high > low else 0.5

    def _stretched(self, value: float) -> float:
        if self.kind == "log":
            return math.log10(max(value, 1e-12))
        # Half of the axis for every other "nine": 0, 90, 99 and 99.9 % are equally far apart.
        return -math.log10(max(1 - value / 100, 1e-12)) if self.kind == "percentile" else value


@dataclass(frozen=True)
class Chart:
    """A chart and its caption."""

    title: str
    note: str
    x: Scale
    y: Scale
    series: Sequence[Series]
    marks: Sequence[tuple[float, str]] = ()
    """Values of y with a dashed line across, and what they are."""
    hints: Sequence[tuple[float, str]] = ()
    """Values of x, and what a pointer that rests there is told."""
    wide: bool = False
    """Whether it takes the width of the page, not half of it."""

    def svg(self) -> str:
        """Return the picture."""
        parts = [
            f'<svg viewBox="0 0 {self._width} {HEIGHT}" role="img" ',
            f'aria-label="{escape(self.title)}">',
            *self._grid(),
            *(part for line in self.series for part in self._line(line)),
            *(self._mark(value, text) for value, text in self.marks),
            *self._hint_areas(),
            "</svg>",
        ]
        return "".join(parts)

    def html(self) -> str:
        """Return the picture with its title, its note and a legend."""
        legend = "".join(
            f'<li><span class="key {line.style}"></span>{escape(line.name)}</li>'
            for line in self.series
        )
        kind = "wide" if self.wide else "half"
        return (
            f'<figure class="{kind}"><figcaption><h3>{escape(self.title)}</h3>'
            f"<p>{escape(self.note)}</p></figcaption>"
            f'<ul class="legend">{legend}</ul><div class="plot">{self.svg()}</div></figure>'
        )

    @property
    def _width(self) -> int:
        return WIDE if self.wide else WIDTH

    @property
    def _right(self) -> int:
        return self._width - _RIGHT

    def _grid(self) -> list[str]:
        right, bottom = self._right, HEIGHT - _BOTTOM
        parts = []
        for value, text in self.y.ticks:
            y = _rounded(self._y(value))
            parts.append(f'<path class="grid" d="M{_LEFT} {y}H{right}"/>')
            parts.append(f'<text class="tick end" x="{_LEFT - 7}" y="{y}" dy=".32em">{text}</text>')
        for value, text in self.x.ticks:
            x = _rounded(self._x(value))
            parts.append(f'<path class="grid" d="M{x} {_TOP}V{bottom}"/>')
            parts.append(f'<text class="tick middle" x="{x}" y="{bottom + 15}">{text}</text>')
        parts.append(f'<path class="axis" d="M{_LEFT} {bottom}H{right}"/>')
        parts.append(
            f'<text class="label middle" x="{(_LEFT + right) / 2}" y="{HEIGHT - 8}">'
            f"{escape(self.x.label)}</text>"
        )
        parts.append(
            f'<text class="label middle" transform="translate(12 {(_TOP + bottom) / 2}) '
            f'rotate(-90)">{escape(self.y.label)}</text>'
        )
        return parts

    def _line(self, line: Series) -> list[str]:
        points = [(_rounded(self._x(x)), _rounded(self._y(y))) for x, y in line.points]
        if not points:
            return []
        path = "L".join(f"{x} {y}" for x, y in points)
        parts = [f'<path class="line {line.style}" d="M{path}"/>']
        if line.dots or len(points) == 1:
            parts += [
                f'<circle class="dot {line.style}" cx="{x}" cy="{y}" r="3"/>' for x, y in points
            ]
        return parts

    def _mark(self, value: float, text: str) -> str:
        y = _rounded(self._y(value))
        return (
            f'<path class="mark" d="M{_LEFT} {y}H{self._right}"/>'
            f'<text class="mark end" x="{self._right - 4}" y="{_rounded(y - 5)}">'
            f"{escape(text)}</text>"
        )

    def _hint_areas(self) -> list[str]:
        """Return areas that reach halfway to the neighbours and tell their values."""
        places = sorted((self._x(value), text) for value, text in self.hints)
        parts = []
        for index, (x, text) in enumerate(places):
            left = (places[index - 1][0] + x) / 2 if index else _LEFT
            right = (places[index + 1][0] + x) / 2 if index + 1 < len(places) else self._right
            parts.append(
                f'<rect class="hint" x="{_rounded(left)}" y="{_TOP}" '
                f'width="{_rounded(max(right - left, 0.1))}" height="{HEIGHT - _TOP - _BOTTOM}">'
                f"<title>{escape(text)}</title></rect>"
            )
        return parts

    def _x(self, value: float) -> float:
        return _LEFT + self.x.at(value) * (self._right - _LEFT)

    def _y(self, value: float) -> float:
        return HEIGHT - _BOTTOM - self.y.at(value) * (HEIGHT - _TOP - _BOTTOM)


def linear(label: str, values: Sequence[float], *, most_ticks: int = 6) -> Scale:
    """Return a scale from 0 past the largest value, with round ticks."""
    high = max([*values, 0.0]) or 1.0
    step = _round_step(high / most_ticks)
    count = math.ceil(high / step - 1e-9)
    ticks = [(index * step, _figure(index * step, step)) for index in range(count + 1)]
    return Scale(label, 0.0, count * step, ticks=ticks)


def exact(label: str, high: float, *, most_ticks: int = 8) -> Scale:
    """Return a scale from 0 to a value, as for time: the end is where the measurement ended."""
    step = _round_step(high / most_ticks) if high > 0 else 1.0
    ticks = [
        (index * step, _figure(index * step, step)) for index in range(int(high / step + 1e-9) + 1)
    ]
    return Scale(label, 0.0, high or 1.0, ticks=ticks)


def logarithmic(label: str, values: Sequence[float]) -> Scale:
    """Return a scale around all values above 0, with ticks at 1, 2 and 5 of each decade."""
    above = [value for value in values if value > 0] or [1.0]
    steps = [factor * 10.0**power for power in range(-6, 13) for factor in (1, 2, 5)]
    low = max((step for step in steps if step <= min(above)), default=steps[0])
    high = min((step for step in steps if step >= max(above) and step > low), default=steps[-1])
    inside = [step for step in steps if low <= step <= high]
    if len(inside) > 10:
        inside = [step for step in inside if f"{step:e}".startswith("1")]
    return Scale(label, low, high, "log", [(step, f"{step:,.6g}") for step in inside])


def latency_scale(label: str, values: Sequence[float]) -> Scale:
    """Return a linear scale, or a logarithmic one where the values span too much for that."""
    above = [value for value in values if value > 0]
    if above and max(above) > 15 * min(above):
        return logarithmic(label, above)
    return linear(label, above)


def percentile_scale(label: str, count: int) -> Scale:
    """Return a scale of percentiles up to the last one that so many values have."""
    nines = [value for value in (0, 50, 90, 99, 99.9, 99.99, 99.999) if value == 0 or count >= 1]
    high = 100 - 100 / max(count, 10)
    return Scale(
        label,
        0.0,
        high,
        "percentile",
        [(value, f"{value:g}") for value in nines if value <= high + 1e-9],
    )


def _round_step(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step - 1e-12)


def _figure(value: float, step: float) -> str:
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value:,.{decimals}f}"


def _rounded(value: float) -> float:
    return round(value, 1)
