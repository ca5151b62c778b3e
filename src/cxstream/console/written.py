"""How customers write: the share of positive and negative texts, by topic and by day."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from cxstream.console import charts, figures
from cxstream.console.figures import Cell, Grid, Measure
from cxstream.console.language import N_
from cxstream.console.queries import own
from cxstream.console.tables import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cxstream.console.page import Ask
    from cxstream.console.reader import Row

_NEGATIVE = Measure(
    "negative_share", N_("Negative"), scale=100, decimals=0, up="worse", tone="e", bounds=(0,)
)
_POSITIVE = Measure("positive_share", N_("Positive"), scale=100, decimals=0, tone="s", bounds=(0, 100))
_BOTH = (_NEGATIVE, _POSITIVE)
_SHOWN, _MOST_DAYS = 8, 28


async def shown(ask: Ask) -> dict[str, Any] | None:
    """What the page Voice says of texts; None where no text has a sentiment."""
    total, before, topics, days = await asyncio.gather(
        ask.view(own("tone")),
        ask.view(own("tone"), scope=ask.scope.before),
        ask.view(own("tone"), by=("topic",), limit=_SHOWN),
        ask.view(own("tone"), grain="day"),
    )
    if not total:
        return None
    earlier = before[0] if before and ask.scope.has_before else None
    return {
        "facts": _facts(ask, total[0], earlier),
        "topics": _topic_grid(ask, topics),
        "chart": _chart(ask, days),
        "days": _day_grid(ask, days),
    }


async def by_topic_and_day(ask: Ask) -> Table:
    """The table to download."""
    return Table("texts-by-topic-and-day", await ask.view(own("tone"), by=("topic",), grain="day"))


def _facts(ask: Ask, now: Row, before: Row | None) -> list[tuple[str, Cell]]:
    words = ask.language
    found = [(words.gettext("Texts"), figures.count(words, now["texts"], ask.customers("tone", "texts")))]
    for measure in _BOTH:
        link = ask.customers("tone", _counted(measure))
        found.append((words.gettext(measure.title), figures.estimate(words, measure, measure.of(now), link)))
    if before:
        change = figures.difference(_NEGATIVE.of(now), _NEGATIVE.of(before))
        found.append((words.gettext("Negative, against before"), figures.change(words, _NEGATIVE, change)))
    return found


def _counted(measure: Measure) -> str:
    """The number of texts behind a share."""
    return measure.column.replace("_share", "_texts")


def _topic_grid(ask: Ask, rows: Sequence[Row]) -> Grid:
    words = ask.language
    axes = {each: charts.axis_of([each.of(row) for row in rows], each.bounds, 120) for each in _BOTH}
    heads = [figures.name(ask.label("dimension", "topic")), figures.head(words.gettext("Texts"))]
    for measure in _BOTH:
        heads += [
            figures.head(words.gettext(measure.title)),
            figures.drawn(charts.axis_head(axes[measure], words)),
        ]
    cells = []
    for row in rows:
        line = [
            figures.name(ask.label("topic", row["topic"])),
            figures.count(words, row["texts"], ask.customers("tone", "texts", topic=row["topic"])),
        ]
        for measure in _BOTH:
            link = ask.customers("tone", _counted(measure), topic=row["topic"])
            share = measure.of(row)
            line += [
                figures.estimate(words, measure, share, link if row[_counted(measure)] else ""),
                figures.drawn(charts.interval(axes[measure], share, tone=measure.tone)),
            ]
        cells.append(line)
    return Grid(heads, cells)


def _chart(ask: Ask, rows: Sequence[Row]) -> Any:
    """The negative share day by day, at most four weeks."""
    found = {row["period"].date(): _NEGATIVE.of(row) for row in rows}
    end = (ask.scope.until - timedelta(microseconds=1)).date()
    first = max(ask.scope.since.date(), end - timedelta(days=_MOST_DAYS - 1))
    days = [first + timedelta(days=n) for n in range((end - first).days + 1)]
    words = ask.language
    if not any(found.get(day) for day in days):
        return None
    title = words.gettext("Negative texts, day by day; the table follows")
    return charts.over_time(
        [found.get(day) for day in days],
        [words.axis_day(day) for day in days],
        words,
        title,
        tone="e",
        bounds=_NEGATIVE.bounds,
    )


def _day_grid(ask: Ask, rows: Sequence[Row]) -> Grid:
    words = ask.language
    heads = [
        figures.name(words.gettext("Day")),
        figures.head(words.gettext("Texts")),
        *(figures.head(words.gettext(each.title)) for each in _BOTH),
    ]
    ordered: Sequence[Row] = sorted(rows, key=_day)
    return Grid(
        heads,
        [
            [
                figures.since(words.full_day(row["period"].date()), row["period"]),
                figures.count(words, row["texts"]),
                *(figures.estimate(words, each, each.of(row)) for each in _BOTH),
            ]
            for row in ordered
        ],
    )


def _day(row: Row) -> datetime:
    found: datetime = row["period"]
    return found
