"""Places: a channel and a touchpoint, with what a visit there costs the customer; drawn for a table."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from cxstream.console import drawing, labels
from cxstream.console.queries import own
from cxstream.warehouse.views.selection import Filter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cxstream.console.page import Ask
    from cxstream.console.reader import Row

_MOST = 500


async def hardest(ask: Ask) -> list[Row]:
    """The places with enough visits, most effort first: rows of the view places."""
    rows = await ask.view(own("places"), by=("channel", "touchpoint"), limit=_MOST)
    return [row for row in rows if row["touchpoints"] >= ask.scope.few]


async def drawn(ask: Ask, places: Sequence[Row]) -> Row:
    """What the macro `places` needs to show these rows: `rows`, and the head of their axis."""
    lines = await _lines(ask, places)
    axis = drawing.axis_for([_high(row) for row in places])
    return {
        "rows": [_place(ask, row, axis, lines) for row in places],
        "axis": drawing.axis_head(axis, ask.language.number),
    }


async def _lines(ask: Ask, places: Sequence[Row]) -> dict[tuple[Any, Any], dict[Any, drawing.Point]]:
    """Effort of each day, by place."""
    if not places:
        return {}
    channels = Filter("channel", tuple({row["channel"] for row in places}))
    touchpoints = Filter("touchpoint", tuple({row["touchpoint"] for row in places}))
    rows = await ask.view(
        own("places"),
        scope=ask.scope.trend,
        by=("channel", "touchpoint"),
        grain="day",
        where=(channels, touchpoints),
        columns=("effort", "effort_margin"),
    )
    lines: dict[tuple[Any, Any], dict[Any, drawing.Point]] = defaultdict(dict)
    for row in rows:
        lines[row["channel"], row["touchpoint"]][row["period"].date()] = row["effort"], row["effort_margin"]
    return lines


def _high(row: Row) -> float:
    return float(max(row["effort"] + (row["effort_margin"] or 0), row["effort_before"] or 0))


def _place(
    ask: Ask, row: Row, axis: drawing.Axis, lines: Mapping[tuple[Any, Any], Mapping[Any, drawing.Point]]
) -> Row:
    days = lines.get((row["channel"], row["touchpoint"]), {})
    cell = {"channel": row["channel"], "touchpoint": row["touchpoint"]}
    return {
        **row,
        "name": labels.place(ask.language, row["channel"], row["touchpoint"]),
        "drawn": drawing.margin(axis, (row["effort"], row["effort_margin"]), row["effort_before"]),
        "spark": drawing.spark([days.get(day, (None, None)) for day in ask.scope.trend.dates]),
        "customers_link": ask.customers("places", **cell),
        "failed_link": ask.customers("places", "failed_steps", **cell),
    }
