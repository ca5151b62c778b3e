"""Estimates with their intervals, and the cells of tables that show them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import hypot
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from markupsafe import Markup

from cxstream.console.language import N_
from cxstream.warehouse.views.statistics import wilson

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime

    from cxstream.console.language import Language


_NOTHING = Markup("")


class Estimate(NamedTuple):
    """A value and the ends of its 95% interval; the ends are None where nobody knows them."""

    value: float
    low: float | None = None
    high: float | None = None


class Difference(NamedTuple):
    """What changed between two estimates, and half the interval on the side of zero."""

    value: float
    margin: float


@dataclass(frozen=True, slots=True)
class Measure:
    """A column of a view that is an estimate.

    Attributes:
        column: its name; `COLUMN_low` and `COLUMN_high` are its interval.
        title: marked by N_.
        scale: what values are multiplied by to be shown: 100 for shares.
        decimals: that are shown.
        up: whether more is better or worse; "" for neither.
        tone: of its drawings, as in `drawing.margin`.
        bounds: values that an axis holds at least.
    """

    column: str
    title: str
    scale: float = 1
    decimals: int = 1
    up: str = "better"
    tone: str = "s"
    bounds: tuple[float, ...] = (0,)

    @property
    def unit(self) -> str:
        """What stands behind the number."""
        return "%" if self.scale == 100 else ""  # noqa: PLR2004

    def of(self, row: Mapping[str, Any] | None) -> Estimate | None:
        """The estimate of a row, as it is shown; None where there is none."""
        if row is None or row[self.column] is None:
            return None
        low, high = row.get(f"{self.column}_low"), row.get(f"{self.column}_high")
        if low is None or high is None:
            return Estimate(row[self.column] * self.scale)
        return Estimate(row[self.column] * self.scale, low * self.scale, high * self.scale)

    def text(self, words: Language, value: float, *, sign: bool = False) -> str:
        """A value with its unit."""
        return words.number(value, self.decimals, sign=sign) + self.unit


def interval_of(now: Estimate | None, before: Estimate | None) -> tuple[float, float] | None:
    """Newcombe's interval of the change between independent estimates, from the ends of theirs; None where they have none.

    That of shares is within ±100.
    """
    if (
        now is None
        or before is None
        or now.low is None
        or now.high is None
        or before.low is None
        or before.high is None
    ):
        return None
    change = now.value - before.value
    return (
        change - hypot(now.value - now.low, before.high - before.value),
        change + hypot(now.high - now.value, before.value - before.low),
    )


def difference(now: Estimate | None, before: Estimate | None) -> Difference | None:
    """The change between independent estimates, with the half of its interval on the side of zero."""
    ends = interval_of(now, before)
    if now is None or before is None or ends is None:
        return None
    change = now.value - before.value
    return Difference(change, change - ends[0] if change > 0 else ends[1] - change)


def direction(measure: Measure, change: Difference | None) -> int:
    """1 or -1 for a change beyond its margin that can be seen in its figure, else 0."""
    if change is None or abs(change.value) <= change.margin:
        return 0
    if abs(change.value) < 0.5 * 0.1**measure.decimals:
        return 0
    return 1 if change.value > 0 else -1


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table, or a figure at the head of a page.

    Attributes:
        text: what it says.
        margin: behind it, quiet.
        link: to what is behind the text.
        drawn: a drawing of it.
        tone: worse, better, q for quiet.
        spoken: said to screen readers after the text.
        strong: stands out.
        right: at the right of its column.
        wide: may break into lines.
        sort: what its column sorts by where the text is not in that order, such as of a time.
    """

    text: str = ""
    margin: str = ""
    link: str = ""
    drawn: Markup = _NOTHING
    tone: str = ""
    spoken: str = ""
    strong: bool = False
    right: bool = True
    wide: bool = False
    sort: str = ""


@dataclass(frozen=True, slots=True)
class Grid:
    """A table.

    Attributes:
        heads: of its columns.
        rows: cells; the first of a row names it.
    """

    heads: Sequence[Cell]
    rows: Sequence[Sequence[Cell]]


def name(text: str, link: str = "") -> Cell:
    """What names a row, or a column of words."""
    return Cell(text, link=link, right=False)


def since(text: str, time: date | None) -> Cell:
    """What names a row that begins with a time; None stands before or behind all times."""
    return replace(name(text), sort=time.isoformat() if time else "")


def moment(words: Language, time: datetime | None) -> Cell:
    """A time, by the day and the minute."""
    return Cell(words.moment(time), sort=time.isoformat() if time else "")


def none() -> Cell:
    """Stands for what does not exist."""
    return Cell("\N{EN DASH}", tone="q")


def head(text: str) -> Cell:
    """The head of a column of numbers."""
    return Cell(text)


def share_of(part: int, whole: int) -> Estimate:
    """A share in per cent with its Wilson interval."""
    low, high = wilson(part, whole)
    return Estimate(100 * part / whole, 100 * low, 100 * high)


def drawn(picture: Markup, spoken: str = "") -> Cell:
    """A drawing alone."""
    return Cell(drawn=picture, right=False, spoken=spoken)


def count(words: Language, number: float | None, link: str = "", decimals: int = 0) -> Cell:
    """A number without a margin; 0 leads nowhere."""
    if not number:
        return Cell(words.number(number, decimals), tone="q")
    return Cell(words.number(number, decimals), link=link)


def missing(words: Language) -> Cell:
    """Stands for an estimate of too few answers."""
    return Cell(words.gettext(N_("too few")), tone="q")


def estimate(words: Language, measure: Measure, found: Estimate | None, link: str = "") -> Cell:
    """An estimate and its margin."""
    if found is None:
        return missing(words)
    return Cell(measure.text(words, found.value), margin_of(words, measure, found), link, strong=True)


def margin_of(words: Language, measure: Measure, found: Estimate | None) -> str:
    """`±2.1`, or `[12, 31]` where the two halves of the interval differ."""
    if found is None or found.low is None or found.high is None:
        return ""
    below, above = (
        words.number(half, measure.decimals) for half in (found.value - found.low, found.high - found.value)
    )
    return f"±{below}" if below == above else words.interval(found.low, found.high, measure.decimals)


def change(words: Language, measure: Measure, found: Difference | None) -> Cell:
    """A change beyond its margin, with what it means; else that there is no clear one."""
    if found is None:
        return missing(words)
    sign = direction(measure, found)
    if not sign:
        return Cell(words.gettext(N_("no clear change")), tone="q")
    text = (
        ("▲" if sign > 0 else "▼")
        + "\N{NO-BREAK SPACE}"
        + words.number(found.value, measure.decimals, sign=True)
    )
    if not measure.up:
        return Cell(text)
    is_good = (sign > 0) == (measure.up == "better")
    return Cell(
        text,
        tone="better" if is_good else "worse",
        spoken=words.gettext(N_("better") if is_good else N_("worse")),
    )


def left(cell: Cell) -> Cell:
    """The cell at the left of its column."""
    return replace(cell, right=False)


def options(link: str, **chosen: str) -> str:
    """A link to customers with options of the view."""
    return f"{link}&{urlencode([('set', f'{key}={value}') for key, value in chosen.items()])}"
