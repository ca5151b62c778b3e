"""Line plots as SVG, without a plotting library: a report is one file that opens anywhere."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_WIDTH, _HEIGHT = 720, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 40, 50
_COLOURS = ("#1f6fb2", "#d0651a")
_TICKS = 5
# From here on decimals do not matter.
_WHOLE = 10


@dataclass(frozen=True, slots=True)
class Series:
    """A line.

    Attributes:
        name: what it shows.
        points: x and y, in order of x.
        dashed: whether the line is.
        spread: x, and the ends of an interval of y, where there is one.
    """

    name: str
    points: Sequence[tuple[float, float]]
    dashed: bool = False
    spread: Sequence[tuple[float, float, float]] = ()


def line_plot(title: str, across: str, series: Sequence[Series], at: float | None = None) -> str:
    """Lines with their names; both axes have 0.

    Args:
        title: what y is.
        across: what x is.
        series: the lines, at most two.
        at: x of a moment that is marked.
    """
    points = [point for each in series for point in each.points]
    xs, ys = [x for x, _ in points], [y for _, y in points]
    ys += [end for each in series for _, *ends in each.spread for end in ends]
    ticks_x = _axis(min(xs), max(xs))
    ticks_y = _axis(min(ys), _round_up(max(ys) or 1.0) if min(ys) >= 0 else max(ys))
    (low_x, most_x), (low_y, most_y) = ((each[0], each[-1]) for each in (ticks_x, ticks_y))

    def place(x: float, y: float) -> str:
        left = _LEFT + (_WIDTH - _LEFT - _RIGHT) * (x - low_x) / (most_x - low_x)
        return f"{left:.1f},{_HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * (y - low_y) / (most_y - low_y):.1f}"

    parts = [
        (
            f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}" '
            'font-family="system-ui, sans-serif" font-size="13" fill="currentColor">'
        ),
        f'<text x="{_LEFT}" y="20" font-weight="600">{escape(title)}</text>',
        f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 10}" text-anchor="end">{escape(across)}</text>',
    ]
    parts += [each for y in ticks_y for each in _up(y, (y - low_y) / (most_y - low_y))]
    parts += [_across(x, (x - low_x) / (most_x - low_x)) for x in ticks_x]
    if low_y < 0:
        parts.append(_line(place(low_x, 0), place(most_x, 0), ".4"))
    if at is not None:
        parts.append(_line(place(at, low_y), place(at, most_y), ".6"))
    for i, each in enumerate(series):
        line = " ".join(place(x, y) for x, y in each.points)
        dash = ' stroke-dasharray="7 5"' if each.dashed else ""
        colour = _COLOURS[i % len(_COLOURS)]
        parts += [
            *(
                f'<polyline points="{place(x, low)} {place(x, high)}" fill="none" stroke="{colour}" stroke-opacity=".6"/>'
                for x, low, high in each.spread
            ),
            f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2.5"{dash}/>',
            f'<text x="{_WIDTH - _RIGHT - 170 + 90 * i}" y="20" fill="{colour}">{escape(each.name)}</text>',
        ]
    return "\n".join([*parts, "</svg>"])


def _axis(lowest: float, highest: float) -> list[float]:
    """The ticks of an axis that has 0, which is a tick, and all values."""
    if lowest >= 0:
        return [(highest or 1.0) * i / _TICKS for i in range(_TICKS + 1)]
    step = _round_up((max(highest, 0.0) - lowest) / _TICKS)
    return [i * step for i in range(math.floor(lowest / step), math.ceil(max(highest, 0.0) / step) + 1)]


def _line(begin: str, end: str, opacity: str) -> str:
    return f'<polyline points="{begin} {end}" fill="none" stroke="currentColor" stroke-opacity="{opacity}"/>'


def _up(y: float, part: float) -> list[str]:
    up = _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * part
    return [
        (
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{up:.1f}" y2="{up:.1f}" stroke="currentColor" '
            'stroke-opacity=".15"/>'
        ),
        f'<text x="{_LEFT - 8}" y="{up + 4:.1f}" text-anchor="end">{y:,.4g}</text>',
    ]


def _across(x: float, part: float) -> str:
    across = _LEFT + (_WIDTH - _LEFT - _RIGHT) * part
    return f'<text x="{across:.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{_short(x)}</text>'


def _short(x: float) -> str:
    return f"{x:,.0f}" if abs(x) >= _WHOLE else f"{x:.3g}"


def _round_up(value: float) -> float:
    """The next number with one digit that is 1, 2 or 5."""
    power = 10 ** math.floor(math.log10(value))
    return float(next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-12)))
