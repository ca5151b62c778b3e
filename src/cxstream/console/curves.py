"""Curves of an experiment as SVG: steps with their bands, and a difference that narrows."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from markupsafe import Markup

from cxstream.console.charts import LINE, TEXT, axis_of, picture

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cxstream.console.effects import Leaving, Look
    from cxstream.console.figures import Estimate
    from cxstream.console.language import Language

_PATH = Markup('<path class="{}" d="{}"/>')
# By arm: those for whom nothing is done stand out in the colour of strain.
_TONES = {"holdout": "e", "treated": "s"}
# The least distance of two texts at the ends of lines.
_APART = 32.0


def leaving(
    arms: Sequence[Leaving], words: Language, names: dict[str, str], title: str, *, is_narrow: bool = False
) -> Markup:
    """Steps of the share who left, with bands, and who is still here under the axis.

    Args:
        arms: one or two.
        words: of the reader.
        names: of the arms, and `days` and `here`.
        title: what it shows, for those who do not see it.
        is_narrow: for a phone.
    """
    width, height, left, right, top, bottom = 680.0, 300.0, 34.0, 520.0, 18.0, 226.0
    if is_narrow:
        width, right = 358.0, 186.0
    axis = axis_of([each for arm in arms for each in arm.shares])
    days = len(arms[0].shares) - 1

    def down(value: float) -> float:
        return bottom - (value - axis.low) / (axis.high - axis.low) * (bottom - top)

    def across(day: float) -> float:
        return left + (right - left) * day / days

    parts = [*_grid(axis.ticks(4), down, (left, right), lambda tick: f"{words.number(tick)}%")]
    pieces = 3 if is_narrow else 6
    marks = sorted({round(days * n / pieces) for n in range(pieces + 1)})
    parts += [TEXT.format(across(day), bottom + 18, "middle", "t11", day) for day in marks]
    parts.append(TEXT.format(right + 22, bottom + 18, "start", "t11", names["days"]))
    heights = _apart([down(arm.shares[-1].value) - 2 for arm in arms], bottom - 18)
    for number, arm in enumerate(arms):
        tone = _TONES[arm.arm]
        parts += [
            _PATH.format(f"b{tone}", _band(arm.shares, across, down)),
            _PATH.format(f"l{tone}", _steps(arm.shares, across, down)),
        ]
        last = arm.shares[-1]
        y = heights[number]
        text = f"{names[arm.arm]} {words.number(last.value, 1)}%"
        parts.append(TEXT.format(right + 14, y, "start", f"t{tone}", text))
        line = f"{words.interval(last.low, last.high)}"
        parts.append(TEXT.format(right + 14, y + 15, "start", "t11", line))
        row = bottom + 56 + 15 * number
        parts += [
            TEXT.format(across(day), row, "middle", "t11 t2", words.number(arm.here[day])) for day in marks
        ]
        parts.append(TEXT.format(right + 22, row, "start", "t11 t2", names[arm.arm].lower()))
    parts.append(TEXT.format(0, bottom + 40, "start", "t11", names["here"]))
    return picture(width, height, title, parts)


def _apart(wanted: Sequence[float], lowest: float) -> list[float]:
    """Heights of texts near those that are wanted, apart from each other, and none below the lowest."""
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    found = list(wanted)
    for before, after in pairwise(order):
        found[after] = max(found[after], found[before] + _APART)
    for place, n in enumerate(reversed(order)):
        found[n] = min(found[n], lowest - place * _APART)
    return found


def looks(
    found: Sequence[Look], words: Language, names: dict[str, str], title: str, clear: int | None
) -> Markup:
    """A difference as customers came in, with the interval that holds at every look.

    Args:
        found: two looks or more, in their order.
        words: of the reader.
        names: `none`: no effect; `clear`: since when it is clear; `customers`.
        title: what it shows, for those who do not see it.
        clear: from which look on the interval does not hold 0.
    """
    width, height, left, right, top, bottom = 440.0, 300.0, 38.0, 330.0, 18.0, 256.0
    # The first looks are so wide that nothing could be seen of the later ones.
    later = [look.found for look in found[len(found) // 3 :]]
    axis = axis_of(later)
    first, last = found[0].customers, found[-1].customers

    def down(value: float) -> float:
        return bottom - (min(axis.high, max(axis.low, value)) - axis.low) / (axis.high - axis.low) * (
            bottom - top
        )

    def across(customers: float) -> float:
        return left + (right - left) * (customers - first) / max(1, last - first)

    parts = [*_grid(axis.ticks(5), down, (left, right), lambda tick: words.number(tick, sign=True))]
    places = [across(look.customers) for look in found]
    shares = [look.found for look in found]
    parts += [
        _PATH.format("bg", _band(shares, places.__getitem__, down)),
        _PATH.format("lk", _line(shares, places, down)),
        Markup('<circle class="fk ring" cx="{:.1f}" cy="{:.1f}" r="4.5"/>').format(
            right, down(shares[-1].value)
        ),
    ]
    if clear:
        x = places[clear]
        parts.append(LINE.format("now dsh", x, top, x, bottom))
        anchor, side = ("start", 6) if x < (left + right) / 2 else ("end", -6)
        parts.append(TEXT.format(x + side, top + 14, anchor, "t11 t2 halo", names["clear"]))
    y = down(shares[-1].value)
    parts += [
        TEXT.format(right + 14, y + 1, "start", "tb", words.number(shares[-1].value, 1, sign=True)),
        TEXT.format(
            right + 14,
            y + 16,
            "start",
            "t11",
            words.interval(shares[-1].low, shares[-1].high, sign=True),
        ),
    ]
    if abs(down(0) - y) > _APART / 2:
        parts.append(TEXT.format(right + 14, down(0) + 4, "start", "t11", names["none"]))
    for n in range(3):
        customers = first + (last - first) * n / 2
        anchor = ("start", "middle", "end")[n]
        parts.append(TEXT.format(across(customers), bottom + 20, anchor, "t11", words.number(customers)))
    parts.append(TEXT.format(right, height - 6, "end", "t11", names["customers"]))
    return picture(width, height, title, parts)


def _grid(
    ticks: Sequence[float],
    down: Callable[[float], float],
    ends: tuple[float, float],
    text: Callable[[float], str],
) -> list[Markup]:
    parts = []
    for tick in ticks:
        y = down(tick)
        parts.append(LINE.format("gr" if tick else "ax", ends[0], y, ends[1], y))
        parts.append(TEXT.format(ends[0] - 8, y + 4, "end", "t11", text(tick)))
    return parts


def _steps(found: Sequence[Estimate], across: Callable[[int], float], down: Callable[[float], float]) -> str:
    first = f"M{across(0):.1f} {down(found[0].value):.1f}"
    return first + "".join(
        f"H{across(day):.1f}V{down(each.value):.1f}" for day, each in enumerate(found) if day
    )


def _line(found: Sequence[Estimate], places: Sequence[float], down: Callable[[float], float]) -> str:
    return "M" + "L".join(f"{x:.1f} {down(each.value):.1f}" for x, each in zip(places, found, strict=True))


def _band(found: Sequence[Estimate], across: Callable[[int], float], down: Callable[[float], float]) -> str:
    high = [f"{across(n):.1f} {down(each.high or 0.0):.1f}" for n, each in enumerate(found)]
    low = [f"{across(n):.1f} {down(each.low or 0.0):.1f}" for n, each in enumerate(found)]
    return f"M{'L'.join([*high, *low[::-1]])}Z"
