"""Queue: customers at risk, with their reasons and since when they wait; one of them in detail beside the list."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from cxstream.console import history, risky, work
from cxstream.console.language import N_
from cxstream.console.page import Ask, Page
from cxstream.console.risky import SORTS, Wanted
from cxstream.console.tables import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cxstream.console.reader import Row

_PAGE = 50
_MOST = 100_000
_DAYS = 16
_FILTERS = ("level", "reason", "segment", "channel", "state")
_COLUMNS = (
    "customer", "level", "probability", "since", "reason", "evidence", "spent", "effort", "satisfaction", "suggested_action",
    "segment", "channel",
)  # fmt: skip


async def _show(ask: Ask) -> Mapping[str, Any]:
    wanted = _wanted(ask)
    after = ask.param("after")
    rows, count, choices = await asyncio.gather(
        risky.waiting(ask, wanted, _PAGE + 1, after), risky.count(ask, wanted), risky.choices(ask)
    )
    shown = rows[:_PAGE]
    chosen = await _chosen(ask, wanted, shown)
    listed = {row["customer"]: row["level"] for row in (*shown, *([chosen] if chosen else []))}
    worked = await work.of(ask, list(listed), listed)
    kept = {"after": after, "customer": None}
    return {
        "rows": [{**row, "link": ask.here(**{**kept, "customer": row["customer"]})} for row in shown],
        "count": count,
        "worked": worked,
        "offer": work.choices(ask, chosen["customer"], worked[chosen["customer"]]) if chosen else None,
        "chosen": chosen,
        "happened": await history.lanes(ask, chosen["customer_id"], _DAYS) if chosen else None,
        "events": await history.last(ask, chosen["customer_id"], 6) if chosen else None,
        "menus": [_menu(ask, wanted, name, choices[name]) for name in _FILTERS],
        "is_filtered": any(ask.param(name) for name in _FILTERS),
        "sort": wanted.sort,
        "sorts": {name: ask.here(sort=None if name == SORTS[0] else name, customer=None) for name in SORTS},
        "all": ask.here(**dict.fromkeys((*_FILTERS, "customer"))),
        "first": ask.here(customer=None) if after else None,
        "next": ask.here(after=shown[-1]["place"], customer=None) if len(rows) > _PAGE else None,
    }


def _wanted(ask: Ask) -> Wanted:
    level = ask.choice("level", "", *risky.LEVELS)
    return Wanted(
        level,
        ask.param("reason"),
        ask.param("segment"),
        ask.param("channel"),
        ask.choice("sort", *SORTS),
        ask.choice("state", "", *risky.STATES),
        ask.worker,
        work.now(),
    )


async def _chosen(ask: Ask, wanted: Wanted, rows: list[Row]) -> Row | None:
    """The customer in detail: the one of the address, or else the first of the list."""
    name = ask.param("customer")
    if not name:
        return rows[0] if rows else None
    found = next((row for row in rows if row["customer"] == name), None)
    return found or next(iter(await risky.waiting(ask, wanted, 1, customer=name)), None)


def _menu(ask: Ask, wanted: Wanted, name: str, choices: list[str]) -> Row:
    value = getattr(wanted, name)
    known = choices if not value or value in choices else [*choices, value]
    return {
        "name": name,
        "title": ask.language.gettext(_TITLES[name]),
        "value": ask.label(name, value) if value else "",
        "any": ask.here(**{name: None, "customer": None}),
        "choices": [
            {
                "text": ask.label(name, each),
                "link": ask.here(**{name: each, "customer": None}),
                "chosen": each == value,
            }
            for each in known
        ],
    }


_TITLES = {
    "level": N_("Level"),
    "reason": N_("Reason"),
    "segment": N_("Segment"),
    "channel": N_("Came last by"),
    "state": N_("Work"),
}


async def _table(ask: Ask) -> Table:
    return Table("queue", await risky.waiting(ask, _wanted(ask), _MOST), _COLUMNS)


PAGE = Page(
    name="queue",
    path="/queue",
    title=N_("Queue"),
    show=_show,
    tables={"queue": _table},
    scoped=False,
    role="agent",
)
