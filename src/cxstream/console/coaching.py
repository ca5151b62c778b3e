"""Which agents need training about which topics: the view `training` as the page Service shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cxstream.console import figures
from cxstream.console.figures import Cell, Grid, Measure
from cxstream.console.language import N_

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cxstream.console.page import Ask
    from cxstream.console.reader import Row

SHOWN = 12
# All agents by all topics: what needs training is told beside how many were compared.
_MOST = 10_000
_MEASURES = {
    "fcr": Measure("fcr", N_("Resolved at first contact"), scale=100, decimals=0),
    "repeated": Measure("repeated", N_("Contact again about the same"), scale=100, decimals=0),
    "satisfaction": Measure("satisfaction", N_("Satisfaction")),
}
_HANDLING = N_("Handling time")


async def rows_of(ask: Ask) -> list[Row]:
    """Agents by topic, those with most to learn first; nothing for those who see nobody by name."""
    return await ask.view("training", limit=_MOST) if ask.sees_customers else []


def panel(ask: Ask, rows: Sequence[Row]) -> Mapping[str, Any]:
    """What the page shows of them."""
    needed = [row for row in rows if row["needs"]]
    compared = sum(any(row[name] is not None for name in (*_MEASURES, "handle_s")) for row in rows)
    shown = needed if ask.param("all") else needed[:SHOWN]
    return {"grid": _grid(ask, shown), "needed": len(needed), "compared": compared, "pairs": len(rows)}


def _grid(ask: Ask, rows: Sequence[Row]) -> Grid:
    words = ask.language
    heads = [
        figures.name(ask.label("dimension", "agent")),
        figures.name(ask.label("dimension", "topic")),
        figures.head(words.gettext("Contacts")),
        figures.name(words.gettext(N_("Worse than all who handle the topic"))),
    ]
    return Grid(
        heads,
        [
            [
                figures.name(row["who"]),
                figures.name(ask.label("topic", row["about"])),
                figures.count(
                    words,
                    row["contacts"],
                    ask.customers("training", "contacts", who=row["who"], about=row["about"]),
                ),
                Cell(
                    "; ".join(_need(ask, row, name) for name in row["needs"].split(", ")),
                    right=False,
                    wide=True,
                ),
            ]
            for row in rows
        ],
    )


def _need(ask: Ask, row: Row, name: str) -> str:
    """What is worse, its figure, and that of the topic."""
    words = ask.language
    if name == "handle_s":
        title, own, mean = _HANDLING, words.duration(row["handle_s"]), words.duration(row["handle_mean"])
    else:
        measure, unit = _MEASURES[name], "" if name == "satisfaction" else "%"
        title = measure.title
        own, mean = (
            words.number(measure.scale * row[each], measure.decimals) + unit
            for each in (name, f"{name}_mean")
        )
    return words.gettext("%(measure)s %(own)s, all %(mean)s") % {
        "measure": words.gettext(title),
        "own": own,
        "mean": mean,
    }
