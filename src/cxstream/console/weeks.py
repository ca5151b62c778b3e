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


def chart(ask: Ask, measure: Measure, found: Mapping[datetime, Estimate | None], title: str) -> Markup:
    """A measure week by week.

    Args:
        ask: with the period.
        measure: that is drawn.
        found: its estimates by the start of the week.
        title: its name.
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
            figures.since(words.full_day(row["period"].date()), row["period"]),
            figures.count(words, row[column]),
            *(figures.estimate(words, each, of(each, row)) for each in measures),
        ]
        for row in rows
    ]
    return Grid(heads, cells)
