"""A customer's life as a drawing: scores with the intervals of their signals, the level, and every touchpoint below, on one time axis."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from markupsafe import Markup

from cxstream.console.labels import label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cxstream.console.language import Language

_LINE = Markup('<path class="{}" d="M{:.1f} {:.1f}L{:.1f} {:.1f}"/>')
_RECT = Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="{:g}"/>')
_TEXT = Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}" class="{}">{}</text>')
_CIRCLE = Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="{:g}"/>')
_LANE = 26
_HEIGHTS = {"none": 2, "elevated": 7, "high": 12, "critical": 18}
_FILLS = {"none": "off", "elevated": "p1", "high": "p2", "critical": "p3"}
_MARKS = {"hard": "fe", "other": "hol hg"}
_DIAMONDS = {"bad": "fe", "good": "fs", "neutral": "hol hg"}

Span = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Dot:
    """Touchpoints of a lane that are too near to each other to be told apart.

    Attributes:
        lane: its name.
        time: of the first.
        count: how many.
        sort: hard, other, complaint; bad, good, neutral of what was said; ours.
    """

    lane: str
    time: datetime
    count: int
    sort: str


@dataclass(frozen=True, slots=True)
class Score:
    """A score right after something.

    Attributes:
        time: of it.
        value: 0..100.
        halfwidth: of the interval of 95% of next answers; None where it is not known.
    """

    time: datetime
    value: float
    halfwidth: float | None = None


@dataclass(frozen=True, slots=True)
class Spell:
    """A level from one signal to the next."""

    level: str
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class _Axis:
    span: Span
    left: float
    right: float

    def at(self, time: datetime) -> float:
        share = (time - self.span[0]) / (self.span[1] - self.span[0])
        return self.left + min(1.0, max(0.0, share)) * (self.right - self.left)


def lanes_only(words: Language, dots: Sequence[Dot], span: Span) -> Markup:
    """The touchpoints alone, for wide and narrow windows."""
    title = words.gettext("Touchpoints by channel; the list follows")
    return Markup("").join(
        Markup('<div class="{}">{}</div>').format(kind, _lanes_drawing(words, dots, span, width, title))
        for kind, width in (("only-w", 560), ("only-n", 358))
    )


def _lanes_drawing(words: Language, dots: Sequence[Dot], span: Span, width: float, title: str) -> Markup:
    names = list(dict.fromkeys(dot.lane for dot in dots))
    axis = _Axis(span, 104, width - 10)
    bottom = _LANE * len(names)
    parts = [*_days(words, axis, 0, bottom, 5 if width > 400 else 3), *_lanes(axis, dots, names, 13)]  # noqa: PLR2004
    return _picture(width, bottom + 20, title, parts)


def life(
    words: Language,
    effort: Sequence[Score],
    satisfaction: Sequence[Score],
    spells: Sequence[Spell],
    dots: Sequence[Dot],
    span: Span,
) -> Markup:
    """Everything on one axis, for wide and narrow windows."""
    return Markup("").join(
        Markup('<div class="{}">{}</div>').format(
            kind, _life(words, (effort, satisfaction), spells, dots, span, width)
        )
        for kind, width in (("only-w", 1120), ("only-n", 358))
    )


def _life(
    words: Language,
    scores: tuple[Sequence[Score], Sequence[Score]],
    spells: Sequence[Spell],
    dots: Sequence[Dot],
    span: Span,
    width: float,
) -> Markup:
    is_wide = width > 400  # noqa: PLR2004
    names = list(dict.fromkeys(dot.lane for dot in dots))
    axis = _Axis(span, 128 if is_wide else 120, width - (120 if is_wide else 14))
    high, gap = (112, 32) if is_wide else (84, 32)
    top = 16.0
    level_y = top + 2 * (high + gap) + 20
    bottom = level_y + 18 + _LANE * len(names)
    parts = list(_days(words, axis, top, bottom, 8 if is_wide else 3))
    heads = (
        (words.gettext("Effort"), words.gettext("0 easy, 100 hard"), "e"),
        (words.gettext("Satisfaction"), words.gettext("0 bad, 100 good"), "s"),
    )
    for number, ((name, note, tone), found) in enumerate(zip(heads, scores, strict=True)):
        begin = top + number * (high + gap)
        parts += _scores(words, axis, found, (begin, begin + high), tone, is_wide=is_wide)
        parts += [
            _TEXT.format(0, begin + 12, "start", "tb", name),
            _TEXT.format(0, begin + 28, "start", "t11", note),
        ]
    parts.append(_TEXT.format(0, level_y, "start", "tb", words.gettext("Level")))
    parts += _spells(words, axis, spells, level_y, is_wide=is_wide)
    parts += _lanes(axis, dots, names, level_y + 31)
    parts.append(_LINE.format("now", axis.right, 8, axis.right, bottom))
    title = words.gettext("Effort, satisfaction, level and touchpoints over time; tables of the same follow")
    return _picture(width, bottom + 20, title, parts)


def _scores(
    words: Language,
    axis: _Axis,
    found: Sequence[Score],
    down: tuple[float, float],
    tone: str,
    *,
    is_wide: bool,
) -> list[Markup]:
    top, bottom = down

    def y(value: float) -> float:
        return bottom - min(100.0, max(0.0, value)) / 100 * (bottom - top)

    parts = []
    for tick in (0, 50, 100):
        parts.append(_LINE.format("gr" if tick else "ax", axis.left, y(tick), axis.right, y(tick)))
        if is_wide or tick:
            parts.append(_TEXT.format(axis.left - 8, y(tick) + 4, "end", "t11", words.number(tick)))
    for each in found:
        if each.halfwidth is not None:
            high, low = y(each.value + each.halfwidth), y(each.value - each.halfwidth)
            parts.append(_RECT.format(f"m{tone}", axis.at(each.time) - 2.5, high, 5, low - high, 1.5))
    places = [f"{axis.at(each.time):.1f} {y(each.value):.1f}" for each in found]
    if len(places) > 1:
        parts.append(Markup('<path class="l{}" d="M{}"/>').format(tone, "L".join(places)))
    if found:
        last = found[-1]
        parts.append(_CIRCLE.format(f"f{tone} ring", axis.at(last.time), y(last.value), 4.5))
        if is_wide:
            x = axis.right + 12
            # Between the ends of the axis, so that the two charts do not meet.
            middle = min(bottom - 8, max(top + 10, y(last.value) + 4))
            parts.append(_TEXT.format(x, middle, "start", f"t{tone}", words.number(last.value)))
            if last.halfwidth is not None:
                parts.append(_TEXT.format(x + 26, middle, "start", "t11", f"±{words.number(last.halfwidth)}"))
    return parts


def _spells(
    words: Language, axis: _Axis, spells: Sequence[Spell], base: float, *, is_wide: bool
) -> list[Markup]:
    parts = []
    for spell in spells:
        start, end = axis.at(spell.since), axis.at(spell.until)
        if end <= axis.left or (start >= axis.right and spell is not spells[-1]):
            continue
        height = _HEIGHTS.get(spell.level, 2)
        parts.append(
            _RECT.format(
                _FILLS.get(spell.level, "off"), start, base + 6 - height, max(1.5, end - start), height, 0
            )
        )
    if spells and is_wide:
        parts.append(
            _TEXT.format(axis.right + 12, base + 4, "start", "t1", label(words, "level", spells[-1].level))
        )
    return parts


def _lanes(axis: _Axis, dots: Sequence[Dot], names: Sequence[str], top: float) -> list[Markup]:
    parts = []
    for number, name in enumerate(names):
        y = top + number * _LANE
        parts.append(_TEXT.format(0, y + 4, "start", "t2", name))
        parts.append(_LINE.format("gr", axis.left, y, axis.right, y))
    parts += [_mark(dot.sort, axis.at(dot.time), top + names.index(dot.lane) * _LANE) for dot in dots]
    return parts


def _mark(sort: str, x: float, y: float) -> Markup:
    if sort == "complaint":
        return Markup('<path class="p3" d="M{:.1f} {:.1f}l6 10.5h-12z"/>').format(x, y - 5.5)
    if sort == "ours":
        return _RECT.format("fk", x - 4, y - 4, 8, 8, 1.5)
    if sort in _DIAMONDS:
        return Markup('<path class="{}" d="M{:.1f} {:.1f}l5.5 5.5-5.5 5.5-5.5-5.5z"/>').format(
            _DIAMONDS[sort], x, y - 5.5
        )
    return _CIRCLE.format(_MARKS[sort], x, y, 4.5 if sort == "hard" else 3.5)


def _days(words: Language, axis: _Axis, top: float, bottom: float, most: int) -> list[Markup]:
    since, until = axis.span
    first = datetime.combine(since.date(), datetime.min.time()) + timedelta(days=1)
    length = max(1, (until - since).days)
    step = next((size for size in (1, 2, 4, 7, 14, 30, 61, 91, 182) if length / size <= most), 365)
    parts = []
    day = first
    while day <= until:
        x = axis.at(day)
        parts += [
            _LINE.format("gr", x, top, x, bottom),
            _TEXT.format(x, bottom + 16, "middle", "t11", words.axis_day(day.date())),
        ]
        day += timedelta(days=step)
    return parts


def _picture(width: float, height: float, title: str, parts: Sequence[Markup]) -> Markup:
    return Markup(
        '<svg class="ch" viewBox="0 0 {0:g} {1:g}" width="{0:g}" height="{1:g}" role="img" aria-label="{2}">{3}</svg>'
    ).format(width, height, title, Markup("").join(parts))
