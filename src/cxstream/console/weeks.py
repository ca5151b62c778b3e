"""Whole weeks up to the end of a period, for lines over time of what happens too seldom for days."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cxstream.console import charts, figures
from cxstream.console.figures import Grid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from markupsafe import Markup

    from cxstream.console.figures import Estimate, Measure
    from cxstream.console.page import Ask
    from cxstream.console.reader import Row
    from cxstream.console.scope import Scope

COUNT = 12
_DAYS = 7


def scope_of(scope: Scope) -> Scope:
    """The weeks that end with a period; the last one ends with it."""
    end = datetime.combine((scope.until - timedelta(microseconds=1)).date(), datetime.min.time())
    monday = end - timedelta(days=end.weekday())
    return replace(scope, since=monday - timedelta(weeks=COUNT - 1), until=scope.until)


def mondays(scope: Scope) -> list[datetime]:
    """The starts of the weeks: from the first with data on."""
    first = scope_of(scope).since
    found = [first + timedelta(weeks=n) for n in range(COUNT)]
    return [day for day in found if scope.first is None or day + timedelta(weeks=1) > scope.first] or found[
        -1:
    ]


def days_of(scope: Scope, monday: datetime, until: datetime | None = None) -> int:
    """How many days of a week are in the data and count, begun ones with them.

    Args:
        scope: of the page.
        monday: the start of the week.
        until: what is later does not count; the end of the period by default.
    """
    start = max(monday, scope.first or monday)
    # Data that begin on a Monday morning have that day.
    start = datetime.combine(start.date(), datetime.min.time())
    end = min(monday + timedelta(days=_DAYS), until or scope.until)
    return max(0, -(-(end - start) // timedelta(days=1)))


def part(ask: Ask, until: datetime | None = None) -> str:
    """What hollow points of the lines over weeks mean; "" where all weeks are whole.

    Args:
        ask: with the period.
        until: as of `days_of`.
    """
    words = ask.language
    found = [day for day in mondays(ask.scope) if 0 < days_of(ask.scope, day, until) < _DAYS]
    if not found:
        return ""
    return words.gettext(
        "A hollow point is a week that is not whole: of that from %(day)s on, %(n)s of 7 days count."
    ) % {"day": words.day(found[-1]), "n": days_of(ask.scope, found[-1], until)}


def name(ask: Ask, monday: datetime) -> figures.Cell:
    """The first cell of a row for a week; one that is not whole says so."""
    found = figures.since(ask.language.full_day(monday.date()), monday)
    days = days_of(ask.scope, monday)
    if days >= _DAYS:
        return found
    return replace(found, margin=" " + ask.language.gettext("%(n)s of 7 days") % {"n": days})


def chart(
    ask: Ask,
    measure: Measure,
    found: Mapping[datetime, Estimate | None],
    title: str,
    until: datetime | None = None,
) -> Markup:
    """A measure week by week.

    Args:
        ask: with the period.
        measure: that is drawn.
        found: its estimates by the start of the week.
        title: its name.
        until: as of `days_of`.
    """
    days = mondays(ask.scope)
    words = ask.language
    return charts.over_time(
        [found.get(day) for day in days],
        [words.axis_day(day.date()) for day in days],
        words,
        words.gettext("%(name)s, week by week; the table follows") % {"name": title},
        tone=measure.tone,
        bounds=measure.bounds,
        part={place for place, day in enumerate(days) if days_of(ask.scope, day, until) < _DAYS},
    )


def grid(
    ask: Ask,
    rows: Sequence[Row],
    counted: tuple[str, str],
    measures: Sequence[Measure],
    of: Callable[[Measure, Row], Estimate | None],
) -> Grid:
    """Measures week by week, as a table.

    Args:
        ask: with the language.
        rows: by the start of the week.
        counted: title and column of what the first column counts.
        measures: of the other columns.
        of: the estimate of a measure in a row.
    """
    words, (title, column) = ask.language, counted
    heads = [figures.name(words.gettext("Week from")), figures.head(title)]
    heads += [figures.head(words.gettext(each.title)) for each in measures]
    cells = [
        [
            name(ask, row["period"]),
            figures.count(words, row[column]),
            *(figures.estimate(words, each, of(each, row)) for each in measures),
        ]
        for row in rows
    ]
    return Grid(heads, cells)
