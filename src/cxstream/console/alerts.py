"""Alerts on places, as the read model keeps them: which places were out of their range, since when, and how far."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import orjson

from cxstream.console import charts, drawing, figures, labels
from cxstream.console.figures import Estimate, Measure
from cxstream.console.language import N_
from cxstream.console.queries import own
from cxstream.console.scope import quoted
from cxstream.warehouse.views.selection import TEAM, Filter
from cxstream.warehouse.views.statistics import wilson

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from markupsafe import Markup

    from cxstream.console.page import Ask
    from cxstream.console.reader import Row
    from cxstream.console.scope import Scope

SHARE = Measure("share", N_("Bad visits"), scale=100, decimals=0, up="worse", tone="e")
COLUMNS = (
    *("id", "dimension", "channel", "name", "measure", "since", "raised", "ended", "visits", "bad", "share"),
    *("usual", "customers", "reasons"),
)

_MOST = 10_000
_DRAWN_HOURS = 96
_MEASURES = {
    "failure": N_("Failed visits"),
    "effort": N_("Visits that cost much effort"),
    "wait": N_("Long waits"),
    "nps": N_("NPS answers from 0 to 6"),
}
# A signal that follows ends the one before: as cleared, or as another one about the same.
_FOUND = """
WITH told AS (
    SELECT *, lead(time) OVER (PARTITION BY subject, measure ORDER BY time, n) AS ended
    FROM place_signals WHERE time <= $until
)
SELECT
    id, dimension, channel, name, measure, since, time AS raised, ended, visits, bad, share, usual, customers,
    reasons::VARCHAR AS reasons
FROM told
WHERE change = 'raised' AND (ended IS NULL OR ended > $since)
ORDER BY ended IS NULL DESC, since DESC, customers DESC, id LIMIT $most"""


async def found(ask: Ask) -> list[Row]:
    """Alerts that were open in the period, those that are open at its end first, then the latest first.

    They are as they were told: what they say was so when they were raised.
    """
    values = {"since": ask.scope.since, "until": ask.scope.until, "most": _MOST}
    rows = await ask.reader.sql(_FOUND, values)
    # No filter holds for them: the places are watched with all of their visits.
    ask.unfiltered.update(each.dimension for each in ask.scope.filters)
    return [{**row, "reasons": orjson.loads(row["reasons"] or "[]")} for row in rows]


def are_open(alerts: Sequence[Row]) -> list[Row]:
    """Those that nothing ended before the end of the period."""
    return [row for row in alerts if row["ended"] is None]


def place_of(ask: Ask, row: Row) -> str:
    """The place in words."""
    sort = row["dimension"]
    if sort in {"touchpoint", "channel"}:
        return labels.place(ask.language, row["channel"], row["name"])
    return f"{ask.label('dimension', sort)}: {row['name']}"


def measure_of(ask: Ask, row: Row) -> str:
    """What is out of its range, in words."""
    return ask.language.gettext(_MEASURES[row["measure"]])


def estimate_of(row: Row) -> Estimate:
    """The share of bad visits when the alert was raised, in per cent, with Wilson's interval."""
    low, high = wilson(row["bad"], row["visits"])
    return Estimate(100 * row["share"], 100 * low, 100 * high)


def reasons_of(ask: Ask, row: Row) -> str:
    """The kinds of touchpoints in the bad visits, the most frequent first."""
    words = ask.language
    return ", ".join(
        f"{ask.label('kind', each['kind'])} {words.number(each['touchpoints'])}\N{MULTIPLICATION SIGN}"
        for each in row["reasons"]
    )


def lasted(ask: Ask, row: Row) -> timedelta:
    """From where the change began to where it ended, or to the end of the period."""
    until: datetime = row["ended"] or ask.scope.until
    since: datetime = row["since"]
    return until - since


def drawn(axis: drawing.Axis, row: Row) -> Markup:
    """The share with its interval, and a ring at what is usual at this hour of the week."""
    return charts.interval(axis, estimate_of(row), Estimate(100 * row["usual"]), tone="e")


def customers_of(ask: Ask, row: Row, until: datetime | None = None) -> str:
    """The address of the customers with bad visits.

    Args:
        ask: of the page.
        row: the alert.
        until: by then; by when it was raised, by default.
    """
    scope = _scope(ask, row["since"], until or row["raised"])
    where = tuple(f"{each.dimension}={quoted(str(each.values[0]))}" for each in _filters(row))
    chosen = urlencode([("set", f"{name}={value}") for name, value in _options(ask, row).items()])
    return f"{ask.link('/customers', replace(scope, where=where), view='visits', of='customers')}&{chosen}"


async def hit(ask: Ask, row: Row) -> int:
    """How many customers had bad visits, until it was over or the period ends."""
    scope = _scope(ask, row["since"], row["ended"] or ask.scope.until)
    rows = await ask.view(own("visits"), scope=scope, where=_filters(row), options=_options(ask, row))
    return int(rows[0]["bad_customers"]) if rows else 0


async def chart(ask: Ask, row: Row) -> tuple[Markup, figures.Grid]:
    """Bad visits hour by hour, or day by day, from a day before the alert on; and the table of it."""
    until = min(ask.scope.until, (row["ended"] or ask.scope.until) + timedelta(hours=6))
    since = (row["since"] - timedelta(days=1)).replace(minute=0)
    is_long = until - since > timedelta(hours=_DRAWN_HOURS)
    step = timedelta(days=1) if is_long else timedelta(hours=1)
    if is_long:
        since = since.replace(hour=0)
    rows = await ask.view(
        own("visits"), scope=_scope(ask, since, until), where=_filters(row), options=_options(ask, row),
        grain="day" if is_long else "hour",
    )  # fmt: skip
    by_time = {each["period"]: each for each in rows}
    times = [since + n * step for n in range(max(1, -(-(until - since) // step)))]
    words = ask.language
    texts = [words.axis_day(each.date()) if is_long else words.moment(each) for each in times]
    picture = charts.over_time(
        [SHARE.of(by_time.get(each)) for each in times],
        texts,
        words,
        words.gettext("%(name)s over time; the table follows") % {"name": measure_of(ask, row)},
        tone="e",
        size=(1164, 200),
        usual=100 * row["usual"],
        mark=(row["since"] - since) / step,
    )
    return picture, _grid(ask, [by_time[each] for each in times if each in by_time], is_long=is_long)


def _grid(ask: Ask, rows: Sequence[Row], *, is_long: bool) -> figures.Grid:
    words = ask.language
    heads = [
        figures.name(words.gettext("Day") if is_long else words.gettext("Hour from")),
        figures.head(words.gettext("Visits")),
        figures.head(words.gettext("Bad")),
        figures.head(words.gettext("Share")),
    ]
    cells = [
        [
            figures.since(
                words.full_day(row["period"].date()) if is_long else words.moment(row["period"]),
                row["period"],
            ),
            figures.count(words, row["visits"]),
            figures.count(words, row["bad"]),
            figures.estimate(words, SHARE, SHARE.of(row)),
        ]
        for row in rows
    ]
    return figures.Grid(heads, cells)


def _scope(ask: Ask, since: datetime, until: datetime) -> Scope:
    return replace(ask.scope, period="", since=since, until=until, where=())


def _filters(row: Row) -> tuple[Filter, ...]:
    """The touchpoints of the place."""
    parts: list[tuple[str, str | None]] = [("channel", row["channel"])]
    parts.append((TEAM if row["dimension"] == TEAM else row["dimension"], row["name"]))
    return tuple(Filter(name, (value,)) for name, value in parts if value is not None)


def _options(ask: Ask, row: Row) -> Mapping[str, Any]:
    watched = ask.settings.insights
    return {
        "measure": row["measure"],
        "hard_points": f"{watched.hard_points:g}",
        "long_wait_s": f"{watched.long_wait_s:g}",
    }
