"""Alerts: places that are out of their own range, and those that were."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from cxstream.console import alerts, charts, drawing, figures
from cxstream.console.figures import Grid
from cxstream.console.language import N_
from cxstream.console.page import Ask, Page
from cxstream.console.tables import Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cxstream.console.reader import Row

_SHOWN = 20


async def _show(ask: Ask) -> Mapping[str, Any]:
    found = await alerts.found(ask)
    still, over = alerts.are_open(found), [row for row in found if row["ended"] is not None]
    shown = over if ask.param("all") else over[:_SHOWN]
    chosen = next((row for row in found if row["id"] == ask.param("alert")), found[0] if found else None)
    picture, table, hit = "", None, 0
    if chosen:
        (picture, table), hit = await asyncio.gather(alerts.chart(ask, chosen), alerts.hit(ask, chosen))
    axis = charts.axis_of([alerts.estimate_of(row) for row in [*still, *shown]], (0, 100), 120)
    return {
        "open": _grid(ask, still, axis, chosen) if still else None,
        "over": _grid(ask, shown, axis, chosen) if shown else None,
        "count": len(still),
        "places": len({(row["dimension"], row["channel"], row["name"]) for row in still}),
        "first": min((row["since"] for row in still), default=None),
        "shown": len(shown),
        "all_over": len(over),
        "chosen": chosen and _facts(ask, chosen, hit),
        "picture": picture,
        "table": table,
        "is_watched": bool(ask.settings.insights.measures),
    }


def _facts(ask: Ask, row: Row, hit: int) -> dict[str, Any]:
    words = ask.language
    estimate = alerts.estimate_of(row)
    return {
        "name": alerts.place_of(ask, row),
        "measure": alerts.measure_of(ask, row),
        "reasons": alerts.reasons_of(ask, row),
        "facts": [
            (
                words.gettext("When it was told"),
                figures.estimate(words, alerts.SHARE, estimate),
            ),
            (words.gettext("Usual at this hour"), figures.Cell(words.percent(row["usual"], 1))),
            (words.gettext("Since"), figures.Cell(words.moment(row["since"]))),
            (words.gettext("Told"), figures.Cell(words.moment(row["raised"]))),
            (
                words.gettext("Over since"),
                figures.Cell(words.moment(row["ended"]))
                if row["ended"]
                else figures.Cell(words.gettext("still open")),
            ),
            (
                words.gettext("Customers hit, in all"),
                figures.count(words, hit, alerts.customers_of(ask, row, row["ended"] or ask.scope.until)),
            ),
        ],
    }


def _grid(ask: Ask, rows: Sequence[Row], axis: drawing.Axis, chosen: Row | None) -> Grid:
    words = ask.language
    heads = [
        figures.name(words.gettext("Place")),
        figures.name(words.gettext("What")),
        figures.head(words.gettext("Since")),
        figures.head(words.gettext("Lasted")),
        figures.head(words.gettext("Share")),
        figures.drawn(charts.axis_head(axis, words)),
        figures.head(words.gettext("Usual")),
        figures.head(words.gettext("Customers, when told")),
        figures.name(words.gettext("Mostly")),
    ]
    return Grid(heads, [_row(ask, row, axis, is_chosen=row is chosen) for row in rows])


def _row(ask: Ask, row: Row, axis: drawing.Axis, *, is_chosen: bool) -> list[figures.Cell]:
    words = ask.language
    return [
        figures.Cell(
            alerts.place_of(ask, row),
            link=ask.here(alert=row["id"]) + "#alert",
            right=False,
            strong=is_chosen,
            wide=True,
        ),
        figures.name(alerts.measure_of(ask, row)),
        figures.moment(words, row["since"]),
        figures.Cell(words.duration(alerts.lasted(ask, row))),
        figures.estimate(words, alerts.SHARE, alerts.estimate_of(row)),
        figures.drawn(alerts.drawn(axis, row)),
        figures.Cell(words.percent(row["usual"], 1)),
        figures.count(words, row["customers"], alerts.customers_of(ask, row)),
        figures.Cell(alerts.reasons_of(ask, row), right=False, wide=True, tone="s"),
    ]


async def _table(ask: Ask) -> Table:
    rows = [
        {**row, "reasons": "; ".join(each["evidence"] for each in row["reasons"])}
        for row in await alerts.found(ask)
    ]
    return Table("alerts", rows, alerts.COLUMNS)


PAGE = Page(
    name="alerts",
    path="/alerts",
    title=N_("Alerts"),
    subtitle=N_("Places out of their own range"),
    show=_show,
    tables={"alerts": _table},
)
