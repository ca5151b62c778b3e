"""Touchpoints: where experience is made and lost, as a heat map of channel and stage, and as a list of places."""

from __future__ import annotations

import asyncio
from math import ceil, sqrt
from typing import TYPE_CHECKING, Any

from cxstream.console import drawing, labels
from cxstream.console.change import direction
from cxstream.console.language import N_
from cxstream.console.page import Ask, Page
from cxstream.console.places import drawn, hardest
from cxstream.console.queries import own
from cxstream.console.tables import Table
from cxstream.warehouse.views.selection import Filter
from cxstream.warehouse.views.statistics import Z

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cxstream.console.reader import Row

_STEPS, _SIDE = 8, 4
_TWO_SIDES = [*(f"b{n}" for n in range(_SIDE, 0, -1)), *(f"w{n}" for n in range(_SIDE + 1))]
_SHOWN = 12
_MEASURES = ("effort", "mood", "change")
_TITLES = {
    "effort": N_("Effort a visit, by channel and stage"),
    "mood": N_("Mood a visit, by channel and stage"),
    "change": N_("Change of effort a visit, by channel and stage"),
}
_HINTS = {
    "effort": N_("points; 0 is easy"),
    "mood": N_("points; below 0 is bad"),
    "change": N_("points more or less than the period before"),
}
_NAMES = {"effort": N_("Effort"), "mood": N_("Mood"), "change": N_("Change")}
# What a visit suffered from: measure of the view, text.
_REASONS = {
    "long_waits": N_("waited over 10 minutes"),
    "unresolved": N_("not resolved"),
    "repeat_contacts": N_("contact about the same thing again"),
    "abandoned": N_("given up while waiting"),
    "channel_switches": N_("came from a failed step elsewhere"),
    "failed_steps": N_("failed step"),
    "rage_clicks": N_("rage click"),
}


async def _show(ask: Ask) -> Mapping[str, Any]:
    measure = ask.choice("measure", *_MEASURES)
    cells, places = await asyncio.gather(_cells(ask), hardest(ask))
    known = {(row["channel"], row["stage"]): row for row in cells}
    chosen = _chosen(ask, cells)
    shown = places if ask.param("all") else places[:_SHOWN]
    trend, table = await asyncio.gather(_trend(ask, chosen), drawn(ask, shown))
    stages = _stages(cells)
    scale = _Scale(measure, cells)
    return {
        "measure": measure,
        "measures": [
            (name, ask.language.gettext(_NAMES[name]), _cell_link(ask, chosen, name)) for name in _MEASURES
        ],
        "titles": {name: ask.language.gettext(text) for name, text in _TITLES.items()},
        "hints": {name: ask.language.gettext(text) for name, text in _HINTS.items()},
        "stages": stages,
        "rows": [
            (channel, [_cell(ask, known.get((channel, stage)), measure, scale, chosen) for stage in stages])
            for channel in dict.fromkeys(row["channel"] for row in cells)
        ],
        "scale": {
            "low": scale.text(ask, 0),
            "high": scale.text(ask, 1),
            "colours": _TWO_SIDES if scale.is_two_sided else [f"h{n}" for n in range(_STEPS)],
            "is_two_sided": scale.is_two_sided,
        },
        "worst": _worst(ask, cells),
        "summary": _summary(cells),
        "chosen": chosen and _named(ask, chosen),
        "trend": trend,
        "reasons": _reasons(ask, chosen) if chosen else [],
        "table": table,
        "all_places": len(places),
    }


async def _cells(ask: Ask) -> list[Row]:
    return await ask.view(own("places"), by=("channel", "stage"))


async def _trend(ask: Ask, chosen: Row | None) -> Any:
    if chosen is None:
        return ""
    where = (Filter("channel", (chosen["channel"],)), Filter("stage", (chosen["stage"],)))
    scope = ask.scope.trend
    columns = ("effort", "effort_margin")
    rows = await ask.view(own("places"), scope=scope, grain="day", where=where, columns=columns)
    found = {row["period"].date(): (row["effort"], row["effort_margin"]) for row in rows}
    days = scope.dates
    words = ask.language
    return drawing.trend(
        [found.get(day, (None, None)) for day in days],
        [words.axis_day(day) for day in days],
        lambda value: words.number(value, 1),
        words.gettext("Effort a visit, day by day: %(name)s") % {"name": _name(ask, chosen)},
    )


class _Scale:
    """From values to the steps of the heat map: strain is dark. A change has two sides, and no colour within its margin."""

    def __init__(self, measure: str, cells: Sequence[Row]) -> None:
        self.measure = measure
        values = [_strain(row, measure) for row in cells if row["touchpoints"] > 0]
        known = sorted(value for value in values if value is not None)
        top = known[-1] if known else 1.0
        floor = 0.0 if measure == "effort" or not known else min(0.0, known[0])
        axis = drawing.axis_for([top, floor])
        self.low, self.high = axis.low, axis.high

    @property
    def is_two_sided(self) -> bool:
        return self.measure == "change"

    def colour(self, row: Row, value: float) -> str:
        """The class of a cell."""
        if not self.is_two_sided:
            return f"h{self.step(value)}"
        if not direction(row["effort_change"], row["effort_change_margin"]):
            return "w0"
        size = min(_SIDE, max(1, ceil(abs(value) / self.most * _SIDE)))
        return f"{'w' if value > 0 else 'b'}{size}"

    @property
    def most(self) -> float:
        """The largest change that the scale tells apart, in either direction."""
        return max(abs(self.low), abs(self.high))

    def step(self, value: float) -> int:
        share = (value - self.low) / (self.high - self.low)
        # The root spreads the many easy cells.
        return max(0, min(_STEPS - 1, int(sqrt(max(0.0, share)) * _STEPS)))

    def text(self, ask: Ask, end: int) -> str:
        value = (-self.most, self.most)[end] if self.is_two_sided else (self.low, self.high)[end]
        return ask.language.number(
            -value if self.measure == "mood" else value, 1, sign=self.measure != "effort"
        )


def _strain(row: Row, measure: str) -> float | None:
    if measure == "mood":
        return None if row["mood"] is None else -row["mood"]
    found: float | None = row["effort_change" if measure == "change" else "effort"]
    return found


def _stages(cells: Sequence[Row]) -> list[str | None]:
    """The stages that there are, in their order."""
    order = [*labels.STAGES]
    found = {row["stage"] for row in cells}
    others = sorted(each for each in found if each is not None and each not in order)
    return [*(each for each in order if each in found), *others, *([None] if None in found else [])]


def _cell(ask: Ask, row: Row | None, measure: str, scale: _Scale, chosen: Row | None) -> Row | None:
    if row is None:
        return None
    value = _strain(row, measure)
    shown = {"effort": row["effort"], "mood": row["mood"], "change": row["effort_change"]}[measure]
    margin = row[
        {"effort": "effort_margin", "mood": "mood_margin", "change": "effort_change_margin"}[measure]
    ]
    return {
        "value": shown,
        "margin": margin,
        "is_few": row["touchpoints"] < ask.scope.few or value is None,
        "colour": scale.colour(row, value or 0.0),
        "sign": direction(row["effort_change"], row["effort_change_margin"]),
        "is_chosen": row is chosen,
        "link": _cell_link(ask, row, measure) + "#cell",
    }


def _cell_link(ask: Ask, row: Row | None, measure: str) -> str:
    cell = {"channel": row["channel"] or "", "stage": row["stage"] or "-"} if row else {}
    return ask.here(measure=None if measure == "effort" else measure, **cell)


def _chosen(ask: Ask, cells: Sequence[Row]) -> Row | None:
    """The cell that the address names; else the one with the most effort."""
    wanted = ask.param("channel"), ask.param("stage")
    for row in cells:
        if (row["channel"] or "", row["stage"] or "-") == wanted:
            return row
    return cells[0] if cells else None


def _worst(ask: Ask, cells: Sequence[Row]) -> Row | None:
    enough = [row for row in cells if row["touchpoints"] >= ask.scope.few and row["effort"] > 0]
    worst = max(enough, key=lambda row: row["effort"], default=None)
    return worst and _named(ask, worst)


def _summary(cells: Sequence[Row]) -> dict[str, int]:
    signs = [
        direction(row["effort_change"], row["effort_change_margin"])
        for row in cells
        if row["effort_change"] is not None
    ]
    return {
        "compared": len(signs),
        "worse": signs.count(1),
        "better": signs.count(-1),
        "same": signs.count(0),
    }


def _name(ask: Ask, row: Row) -> str:
    return f"{ask.label('channel', row['channel'])}, {ask.label('stage', row['stage']).lower()}"


def _named(ask: Ask, row: Row) -> Row:
    link = ask.customers("places", channel=row["channel"], stage=row["stage"])
    return {**row, "name": _name(ask, row), "customers_link": link}


def _reasons(ask: Ask, row: Row) -> list[Row]:
    visits = row["touchpoints"]
    found = []
    for measure, text in _REASONS.items():
        if row[measure]:
            share = row[measure] / visits
            found.append(
                {
                    "text": ask.language.gettext(text),
                    "share": share,
                    "margin": Z * sqrt(share * (1 - share) / visits),
                    "link": ask.customers("places", measure, channel=row["channel"], stage=row["stage"]),
                }
            )
    return sorted(found, key=lambda reason: -reason["share"])


async def _cells_table(ask: Ask) -> Table:
    return Table("touchpoints", await _cells(ask))


async def _places_table(ask: Ask) -> Table:
    return Table("places", await ask.view(own("places"), by=("channel", "touchpoint")))


PAGE = Page(
    name="touchpoints",
    path="/touchpoints",
    title=N_("Touchpoints"),
    subtitle=N_("Where experience is made and lost"),
    show=_show,
    tables={"cells": _cells_table, "places": _places_table},
)
