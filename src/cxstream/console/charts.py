"""Charts of whole sections as SVG: intervals over time, intervals in a column, and flows from step to step."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from markupsafe import Markup

from cxstream.console.drawing import Axis, axis_for
from cxstream.console.figures import Estimate

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Sequence

    from cxstream.console.language import Language

LINE = Markup('<path class="{}" d="M{:.1f} {:.1f}L{:.1f} {:.1f}"/>')
_RECT = Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="{:g}"/>')
TEXT = Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}" class="{}">{}</text>')
_ROW = 35
_TICKS = 3


def axis_of(found: Sequence[Estimate | None], bounds: Sequence[float] = (0,), width: float = 150) -> Axis:
    """An axis that holds the estimates with their intervals; two or more bounds are its ends."""
    if len(bounds) > 1:
        return Axis(min(bounds), max(bounds), width)
    known = [end for each in found if each is not None for end in each if end is not None]
    return axis_for([*known, *bounds], width, zero=0 in bounds)


def axis_head(axis: Axis, words: Language) -> Markup:
    """The numbers of an axis, for the head of a column."""
    texts = [
        TEXT.format(axis.at(tick), 11, "middle", "t11", _tick(words, tick)) for tick in axis.ticks(_TICKS)
    ]
    return Markup(
        '<svg class="dax" viewBox="0 0 {0:g} 14" width="{0:g}" height="14" aria-hidden="true">{1}</svg>'
    ).format(axis.width, Markup("").join(texts))


def _tick(words: Language, value: float) -> str:
    """A number of an axis, with the decimals that it needs."""
    decimals = next((n for n in range(3) if abs(round(value, n) - value) < 1e-9), 3)  # noqa: PLR2004
    return words.number(value, decimals)


def interval(axis: Axis, found: Estimate | None, before: Estimate | None = None, tone: str = "s") -> Markup:
    """An estimate with its interval on a common axis, and a ring where it was before."""
    parts = [LINE.format("gr", axis.at(tick), 0, axis.at(tick), _ROW) for tick in axis.ticks(_TICKS)]
    if found is not None:
        if found.low is not None and found.high is not None:
            start, end = axis.at(found.low), axis.at(found.high)
            parts.append(_RECT.format(f"m{tone}", start, 12.5, max(end - start, 3), 10, 1.5))
        if before is not None:
            parts.append(
                Markup('<circle class="hol hg" cx="{:.1f}" cy="17.5" r="3.2"/>').format(axis.at(before.value))
            )
        parts.append(_RECT.format(f"f{tone}", axis.at(found.value) - 1.25, 10.5, 2.5, 14, 1))
    return _svg(axis.width, _ROW, parts)


def over_time(
    found: Sequence[Estimate | None],
    periods: Sequence[str],
    words: Language,
    title: str,
    *,
    tone: str = "s",
    bounds: Sequence[float] = (0,),
    size: tuple[float, float] = (280, 132),
    usual: float | None = None,
    mark: float | None = None,
    part: Container[int] = (),
) -> Markup:
    """An interval for each period, joined by a line; periods without an estimate stay empty.

    Args:
        found: one for each period.
        periods: their names; some are shown.
        words: of the reader.
        title: what it shows, for those who do not see it.
        tone: as of `drawing.margin`.
        bounds: values that the axis holds at least.
        size: width and height.
        usual: a value that is usual, dashed.
        mark: an upright line after so many periods.
        part: places of periods of which only a part is known; they are hollow, and the line to them is dashed.
    """
    width, height = size
    axis = axis_of([*found, None if usual is None else Estimate(usual, usual, usual)], bounds)
    # Room for the longest number of the axis.
    longest = max((len(_tick(words, tick)) for tick in axis.ticks(4)), default=0)
    left, right, top, bottom = max(34.0, 6.6 * longest + 10), width - 10.0, 10.0, height - 22.0
    span = axis.high - axis.low
    step = (right - left) / max(1, len(found))

    def down(value: float) -> float:
        return bottom - (min(axis.high, max(axis.low, value)) - axis.low) / span * (bottom - top)

    parts = [LINE.format("ax", left, down(axis.low), right, down(axis.low))]
    for tick in axis.ticks(4):
        parts.append(LINE.format("gr" if tick else "ax", left, down(tick), right, down(tick)))
        parts.append(TEXT.format(left - 6, down(tick) + 4, "end", "t11", _tick(words, tick)))
    if usual is not None:
        parts.append(
            Markup('<path class="lg thin dsh" d="M{:.1f} {:.1f}H{:.1f}"/>').format(left, down(usual), right)
        )
    if mark is not None:
        parts.append(LINE.format("now", left + step * mark, top, left + step * mark, bottom))
    middles = [left + step * (place + 0.5) for place in range(len(found))]
    shown = sorted({round(n * (len(periods) - 1) / 2) for n in range(3)}) if periods else []
    for place in shown:
        anchor = "start" if place == 0 else "end" if place == len(periods) - 1 else "middle"
        x = left if place == 0 else right if place == len(periods) - 1 else middles[place]
        parts.append(TEXT.format(x, height - 5, anchor, "t11", periods[place]))
    bar = min(10.0, step * 0.55)
    line: list[tuple[str, bool]] = []
    for place, (x, each) in enumerate(zip(middles, found, strict=True)):
        if each is None:
            continue
        if each.low is not None and each.high is not None:
            up, low = down(each.high), down(each.low)
            parts.append(_RECT.format(f"m{tone}", x - bar / 2, up, bar, max(2, low - up), 1.5))
        line.append((f"{x:.1f} {down(each.value):.1f}", place in part))
    return picture(width, height, title, [*parts, *_joined(line, tone)])


def _joined(line: Sequence[tuple[str, bool]], tone: str) -> Iterator[Markup]:
    """Points and what joins them; a point of a part of its period is hollow."""
    path = Markup('<path class="l{} thin{}" d="M{}"/>')
    whole = [point for point, is_part in line if not is_part]
    if len(whole) > 1:
        yield path.format(tone, "", "L".join(whole))
    for (one, is_part), (other, is_other_part) in pairwise(line):
        if is_part or is_other_part:
            yield path.format(tone, " dsh", f"{one}L{other}")
    for point, is_part in line:
        kind, size = (f"hol h{tone}", 3.2) if is_part else (f"f{tone}", 2.6)
        yield Markup('<circle class="{}" cx="{}" cy="{}" r="{}"/>').format(kind, *point.split(), size)


@dataclass(frozen=True, slots=True)
class Flow:
    """A link of a Sankey diagram.

    Attributes:
        step: of its start, from 1.
        source, target: names of the places; targets that are ends are in `ends`.
        size: how many go this way.
        kind: class of its colour.
        title: what it says.
    """

    step: int
    source: str
    target: str
    size: int
    kind: str
    title: str


def sankey(
    flows: Sequence[Flow],
    heads: Sequence[tuple[str, str]],
    labels: Callable[[str], str],
    number: Callable[[float], str],
    title: str,
    ends: dict[str, str],
) -> Markup:
    """Flows from step to step, so that none leads back.

    Args:
        flows: all links.
        heads: of each step: its name and a note.
        labels: from a place to its word.
        number: how counts are written.
        title: what it shows, for those who do not see it.
        ends: places where nothing goes on, in their order, and the class of their colour.
    """
    width, top, bottom, node = 1164.0, 40.0, 422.0, 8.0
    columns = _columns(flows, list(ends))
    total = max((sum(column.values()) for column in columns), default=1) or 1
    most = max((len(column) for column in columns), default=1)
    gap = min(22.0, 200.0 / max(1, most))
    unit = (bottom - top - gap * most) / total
    room = (width - 130.0) / max(1, len(columns) - 1)
    places: dict[tuple[int, str], tuple[float, float]] = {}
    parts: list[Markup] = []
    for step, column in enumerate(columns):
        x = step * room
        parts.append(TEXT.format(x, 12, "start", "tb", heads[step][0]))
        if heads[step][1]:
            parts.append(TEXT.format(x, 27, "start", "t11", heads[step][1]))
        y = top
        floor = bottom
        for place, size in reversed(column.items()):
            if place in ends:
                floor -= size * unit
                places[step, place] = x, floor
                floor -= gap
        for place, size in column.items():
            if place not in ends:
                places[step, place] = x, y
                y += size * unit + gap
    parts += _links(flows, columns, places, unit, node)
    for step, column in enumerate(columns):
        for place, size in column.items():
            x, y = places[step, place]
            tall = max(1.5, size * unit)
            parts.append(_RECT.format(ends.get(place, "fk"), x, y, node, tall, 1))
            middle = y + tall / 2 + 4
            parts.append(
                Markup(
                    '<text x="{:.1f}" y="{:.1f}" class="halo2"><tspan class="tb">{}</tspan> <tspan class="t2 t11">{}</tspan></text>'
                ).format(x + node + 6, middle, labels(place), number(size))
            )
    return picture(width, 430, title, parts)


def _columns(flows: Sequence[Flow], ends: Sequence[str]) -> list[dict[str, int]]:
    """The places of each step with their sizes: the largest first, ends last."""
    found: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    incoming: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for flow in flows:
        found[flow.step - 1][flow.source] += flow.size
        incoming[flow.step][flow.target] += flow.size
    columns = []
    for step in range(max([*found, *incoming], default=-1) + 1):
        sizes = {
            place: max(found[step].get(place, 0), incoming[step].get(place, 0))
            for place in {*found[step], *incoming[step]}
        }
        columns.append(
            dict(
                sorted(
                    sizes.items(),
                    key=lambda item: (ends.index(item[0]) + 1 if item[0] in ends else 0, -item[1], item[0]),
                )
            )
        )
    return columns


def _links(
    flows: Sequence[Flow],
    columns: Sequence[dict[str, int]],
    places: dict[tuple[int, str], tuple[float, float]],
    unit: float,
    node: float,
) -> list[Markup]:
    order = [list(column) for column in columns]

    def at(step: int, place: str) -> int:
        return order[step].index(place)

    enters: dict[Flow, float] = {}
    used: dict[tuple[int, str], float] = defaultdict(float)
    for flow in sorted(flows, key=lambda each: (each.step, at(each.step - 1, each.source))):
        enters[flow] = used[flow.step, flow.target]
        used[flow.step, flow.target] += flow.size * unit
    leaves: dict[tuple[int, str], float] = defaultdict(float)
    parts = []
    for flow in sorted(flows, key=lambda each: (each.step, at(each.step, each.target))):
        source, target = (flow.step - 1, flow.source), (flow.step, flow.target)
        x1, y1 = places[source][0] + node, places[source][1] + leaves[source]
        x2, y2 = places[target][0], places[target][1] + enters[flow]
        leaves[source] += flow.size * unit
        tall, half = max(0.8, flow.size * unit), (x1 + x2) / 2
        parts.append(
            Markup(
                '<path class="{0}" d="M{1:.1f} {2:.1f}C{3:.1f} {2:.1f} {3:.1f} {4:.1f} {5:.1f} {4:.1f}'
                'V{6:.1f}C{3:.1f} {6:.1f} {3:.1f} {7:.1f} {1:.1f} {7:.1f}Z"><title>{8}</title></path>'
            ).format(flow.kind, x1, y1, half, y2, x2, y2 + tall, y1 + tall, flow.title)
        )
    return parts


def _svg(width: float, height: float, parts: Sequence[Markup]) -> Markup:
    return Markup(
        '<svg viewBox="0 0 {0:g} {1:g}" width="{0:g}" height="{1:g}" aria-hidden="true">{2}</svg>'
    ).format(width, height, Markup("").join(parts))


def picture(width: float, height: float, title: str, parts: Sequence[Markup]) -> Markup:
    """A chart of a whole section, with what it shows for those who do not see it."""
    return Markup(
        '<svg class="ch" viewBox="0 0 {0:g} {1:g}" width="{0:g}" height="{1:g}" role="img" aria-label="{2}">{3}</svg>'
    ).format(width, height, title, Markup("").join(parts))
