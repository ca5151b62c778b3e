"""Drawings as SVG: lines over time, margins on an axis, levels. Classes carry the colours, so both themes are in the stylesheet.

Every drawing has a table beside it that says the same, or is decoration of a cell that says it (`aria-hidden`).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, log10
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Point = tuple[float | None, float | None]
"""A value and its margin; None where there is none."""

_LEVELS = ("none", "elevated", "high", "critical")
_STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis across: from value to place.

    Attributes:
        low, high: values at the ends.
        width: of the drawing, with an inset at both ends.
    """

    low: float
    high: float
    width: float = 150
    inset: float = 12

    def at(self, value: float) -> float:
        """The place of a value; values outside are put at the ends."""
        share = (value - self.low) / (self.high - self.low)
        return self.inset + min(1.0, max(0.0, share)) * (self.width - 2 * self.inset)

    def ticks(self, most: int = 5) -> list[float]:
        """Round values, at most so many."""
        return ticks(self.low, self.high, most)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round values between two, at most so many."""
    span = (high - low) or 1.0
    size = 10 ** floor(log10(span / most))
    step = next(size * each for each in _STEPS if span / (size * each) <= most)
    first = round(low / step)
    found = [round((first + n) * step, 10) for n in range(most + 2)]
    return [value for value in found if low - 1e-9 <= value <= high + 1e-9]


def axis_for(values: Sequence[float | None], width: float = 150, *, zero: bool = True) -> Axis:
    """An axis that holds the values, and 0, with round ends."""
    known = [value for value in values if value is not None] or [0.0, 1.0]
    low, high = min(known), max(known)
    if zero:
        low, high = min(0.0, low), max(0.0, high)
    if low == high:
        high = low + 1
    step = ticks(low, high)
    size = step[1] - step[0] if len(step) > 1 else high - low
    return Axis(size * floor(low / size + 1e-9), -size * floor(-high / size + 1e-9), width)


def axis_head(axis: Axis, number: Callable[[float], str]) -> Markup:
    """The numbers of an axis, for the head of a column."""
    texts = Markup("").join(
        Markup('<text x="{:.1f}" y="11" text-anchor="middle" class="t11">{}</text>').format(
            axis.at(tick), number(tick)
        )
        for tick in axis.ticks()
    )
    return _svg(axis.width, 14, texts, "dax")


def margin(axis: Axis, value: Point, before: float | None = None, tone: str = "e") -> Markup:
    """An estimate with its margin on a common axis, and a ring where it was before.

    Args:
        axis: of the column.
        value: estimate and margin.
        before: estimate of the period before.
        tone: e for effort, s for satisfaction, k for what is neither.
    """
    middle = 17.5
    parts = [_line("gr", axis.at(tick), 0, axis.at(tick), 35) for tick in axis.ticks()]
    estimate, half = value
    if estimate is not None:
        if half is not None:
            low, high = axis.at(estimate - half), axis.at(estimate + half)
            parts.append(_rect(f"m{tone}", low, 12.5, max(high - low, 3), 10))
        if before is not None:
            parts.append(
                Markup('<circle class="hol hg" cx="{:.1f}" cy="{}" r="3.2"/>').format(axis.at(before), middle)
            )
        parts.append(_rect(f"f{tone}", axis.at(estimate) - 1.25, 10.5, 2.5, 14, 1))
    return _svg(axis.width, 35, Markup("").join(parts))


def bar(share: float, tone: str = "e", width: float = 128) -> Markup:
    """A share of 0..1 as a bar."""
    filled = _rect(f"f{tone}", 0, 2, max(0.0, min(1.0, share)) * width, 10, 2)
    return _svg(width, 14, _rect("fsel2", 0, 2, width, 10, 2) + filled)


def spark(points: Sequence[Point], tone: str = "e", width: float = 96, high: float | None = None) -> Markup:
    """A small line with its margin, without an axis.

    Args:
        points: one for each period; None where there are no data.
        tone: as of `margin`.
        width: of the drawing.
        high: the top of the scale, where several lines are compared; else the largest value.
    """
    plot = _plot(points, (2, width - 6), (3, 23), (0.0, high))
    return _svg(width, 26, _band(plot, tone) + _path(plot, f"l{tone} thin") + _end(plot, tone, 2.2, ""))


def trend(
    points: Sequence[Point],
    days: Sequence[str],
    number: Callable[[float], str],
    title: str,
    *,
    tone: str = "e",
    size: tuple[float, float] = (340, 170),
    low: float | None = 0.0,
    usual: tuple[float, float] | None = None,
    before: Sequence[Point] = (),
) -> Markup:
    """A line over time with its margin, an axis, and its last value at the end.

    Args:
        points: one for each period.
        days: the text of each period; some are shown.
        number: how values are written.
        title: what it shows, for those who do not see it.
        tone: as of `margin`.
        size: width and height.
        low: the floor of the axis; None for the smallest value.
        usual: the range that is usual, shaded.
        before: the same of the period before, dashed.
    """
    width, height = size
    bounds = [(v or 0) + s * (m or 0) for v, m in (*points, *before) if v is not None for s in (-1, 1)]
    bounds += usual or ()
    axis = axis_for(bounds, zero=low == 0.0)
    left, right, top, bottom = 36.0, width - 52.0, 12.0, height - 22.0
    plot = _plot(points, (left, right), (top, bottom), (axis.low, axis.high))
    span = axis.high - axis.low
    parts = []
    for tick in axis.ticks(4):
        y = bottom - (tick - axis.low) / span * (bottom - top)
        parts.append(_line("ax" if tick == axis.low else "gr", left, y, right, y))
        parts.append(_text(left - 8, y + 4, number(tick), "t11", "end"))
    if usual is not None:
        high_y, low_y = (bottom - (each - axis.low) / span * (bottom - top) for each in reversed(usual))
        parts.append(_rect("bg", left, high_y, right - left, low_y - high_y, 0))
    shown = sorted({round(n * (len(days) - 1) / 3) for n in range(4)}) if days else []
    for place in shown:
        x = left + (right - left) * place / max(1, len(days) - 1)
        parts.append(_text(x, height - 5, days[place], "t11", "middle"))
    if before:
        earlier = _plot(before, (left, right), (top, bottom), (axis.low, axis.high))
        parts.append(_path(earlier, "lg thin dsh"))
    parts += [_band(plot, tone), _path(plot, f"l{tone}"), _dots(plot, tone), _end(plot, tone, 4)]
    last = next(((v, m) for v, m in reversed(points) if v is not None), None)
    ends = [place for place in plot if place is not None]
    if last is not None and ends:
        x, y = ends[-1][0] + 9, ends[-1][1]
        parts.append(_text(x, y + 1, number(last[0]), {"e": "te", "s": "ts"}.get(tone, "tb")))
        if last[1] is not None:
            parts.append(_text(x, y + 15, f"±{number(last[1])}", "t11"))
    return Markup(
        '<svg class="ch" viewBox="0 0 {0:g} {1:g}" width="{0:g}" height="{1:g}" role="img" aria-label="{2}">{3}</svg>'
    ).format(width, height, title, Markup("").join(parts))


def compared(
    now: Sequence[Point], before: Sequence[Point], days: Sequence[str], words: tuple[str, str], tone: str
) -> Markup:
    """A small line of this period with the one before dashed; only shape is compared, the figures stand beside it.

    Args:
        now: one for each day.
        before: the same days of the period before.
        days: a letter for each day, or a text of which a few are shown.
        words: what the two lines are called.
        tone: as of `margin`.
    """
    margins = [(value, half) for value, half in now if value is not None]
    margins += [(value, 0) for value, _ in before if value is not None]
    values = [value + sign * (half or 0) for value, half in margins for sign in (-1, 1)]
    if not values:
        return Markup("")
    slack = (max(values) - min(values)) * 0.05 or 1.0
    scale, across, down = (min(values) - slack, max(values) + slack), (4.0, 170.0), (8.0, 62.0)
    this, that = (_plot(points, across, down, scale) for points in (now, before))
    short = max((len(day) for day in days), default=1) == 1
    step = 1 if short else max(1, (len(days) - 1) // 2)
    parts = [_line("gr", 0, 66, 174, 66)]
    for number in range(0, len(days), step):
        x = across[0] + (across[1] - across[0]) * number / max(1, len(days) - 1)
        anchor = (
            "middle"
            if short
            else ("start" if number == 0 else "end" if number == len(days) - 1 else "middle")
        )
        parts.append(_text(x, 81, days[number], "t11", anchor))
    parts += [_band(this, tone), _path(that, "lg thin dsh"), _path(this, f"l{tone}"), _end(this, tone, 4)]
    ends = [next((place for place in reversed(plot) if place), None) for plot in (this, that)]
    heights = [place[1] if place else None for place in ends]
    if heights[0] is not None:
        near = heights[1] is not None and abs(heights[1] - heights[0]) < 12  # noqa: PLR2004 - the height of a line of text
        nudge = 0.0 if not near else (-5.0 if heights[0] <= (heights[1] or 0) else 7.0)
        parts.append(_text(182, heights[0] + 4 + nudge, words[0], "t1 t11"))
        if heights[1] is not None:
            parts.append(_text(182, heights[1] + 4 - nudge, words[1], "t11"))
    return Markup(
        '<svg class="ch fix" viewBox="0 0 236 86" width="236" height="86" aria-hidden="true">{}</svg>'
    ).format(Markup("").join(parts))


def level(code: str, word: str, *, hidden: bool = False) -> Markup:
    """A risk level: a glyph and its word, which may be for screen readers only."""
    rank = _LEVELS.index(code) if code in _LEVELS else 0
    if rank == len(_LEVELS) - 1:
        glyph = Markup(
            '<rect class="f3" x="1" y="1" width="14" height="14" rx="3"/>'
            '<path class="k3" d="M4 8.5h2v3.5H4zM7 6h2v6H7zM10 3.5h2V12h-2z"/>'
        )
    elif rank:
        glyph = Markup("").join(
            _rect(f"f{rank}" if n < rank else "off", 2 + 4.5 * n, 9 - 3 * n, 3, 4 + 3 * n, 0.75)
            for n in range(3)
        )
    else:
        glyph = Markup("").join(_rect("off", 2 + 4.5 * n, 11, 3, 2, 0.75) for n in range(3))
    picture = Markup(
        '<svg class="lvg" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">{}</svg>'
    ).format(glyph)
    text = Markup('<span class="sr">{}</span>').format(word) if hidden else escape(word)
    kind = " c" if code == "critical" else ""
    return Markup('<span class="lv{}">{}{}</span>').format(kind, picture, text)


Place = tuple[float, float, float]
"""Where a point is: across, down, and half its margin."""


def _plot(
    points: Sequence[Point],
    across: tuple[float, float],
    down: tuple[float, float],
    scale: tuple[float, float | None],
) -> list[Place | None]:
    low, high = scale
    if high is None:
        high = max((value + (half or 0) for value, half in points if value is not None), default=1.0)
    span = (high - low) or 1.0
    size = down[1] - down[0]
    found: list[Place | None] = []
    for number, (value, half) in enumerate(points):
        if value is None:
            found.append(None)
            continue
        x = across[0] + (across[1] - across[0]) * number / max(1, len(points) - 1)
        y = down[1] - (value - low) / span * size
        found.append((x, y, (half or 0) / span * size))
    return found


def _runs(plot: Sequence[Place | None]) -> list[list[Place]]:
    """Stretches without a gap."""
    found: list[list[Place]] = [[]]
    for place in plot:
        if place is None:
            found.append([])
        else:
            found[-1].append(place)
    return [run for run in found if len(run) > 1]


def _path(plot: Sequence[Place | None], kind: str) -> Markup:
    steps = " ".join("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y, _ in run) for run in _runs(plot))
    return Markup('<path class="{}" d="{}"/>').format(kind, steps) if steps else Markup("")


def _band(plot: Sequence[Place | None], tone: str) -> Markup:
    shapes = []
    for run in _runs(plot):
        upper = [f"{x:.1f} {y - half:.1f}" for x, y, half in run]
        lower = [f"{x:.1f} {y + half:.1f}" for x, y, half in reversed(run)]
        shapes.append(f"M{'L'.join(upper + lower)}Z")
    kind = "bg" if tone in "kg" else f"b{tone}"
    return Markup('<path class="{}" d="{}"/>').format(kind, " ".join(shapes)) if shapes else Markup("")


def _dots(plot: Sequence[Place | None], tone: str) -> Markup:
    """Points between gaps, which no line shows."""
    alone = []
    for number, place in enumerate(plot):
        around = [plot[n] for n in (number - 1, number + 1) if 0 <= n < len(plot)]
        if place is not None and not any(around):
            alone.append(_circle(f"f{tone}", place[0], place[1], 2))
    return Markup("").join(alone)


def _end(plot: Sequence[Place | None], tone: str, radius: float, ring: str = " ring") -> Markup:
    last = next((place for place in reversed(plot) if place is not None), None)
    return Markup("") if last is None else _circle(f"f{tone}{ring}", last[0], last[1], radius)


def _svg(width: float, height: float, inner: Markup, kind: str = "") -> Markup:
    named = Markup(' class="{}"').format(kind) if kind else ""
    return Markup(
        '<svg{2} viewBox="0 0 {0:g} {1:g}" width="{0:g}" height="{1:g}" aria-hidden="true">{3}</svg>'
    ).format(width, height, named, inner)


def _rect(kind: str, x: float, y: float, width: float, height: float, radius: float = 1.5) -> Markup:
    return Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="{:g}"/>').format(
        kind, x, y, width, height, radius
    )


def _line(kind: str, x: float, y: float, to_x: float, to_y: float) -> Markup:
    return Markup('<path class="{}" d="M{:.1f} {:.1f}L{:.1f} {:.1f}"/>').format(kind, x, y, to_x, to_y)


def _circle(kind: str, x: float, y: float, radius: float) -> Markup:
    return Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="{:g}"/>').format(kind, x, y, radius)


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}" class="{}">{}</text>').format(
        x, y, anchor, kind, text
    )
