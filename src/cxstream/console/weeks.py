"""Whole weeks up to the end of a period, for lines over time of what happens too seldom for days."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cxstream.console import charts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from markupsafe import Markup

    from cxstream.console.figures import Estimate, Measure
    from cxstream.console.page import Ask
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
