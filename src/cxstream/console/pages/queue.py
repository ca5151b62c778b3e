"""Queue: customers at risk, with their reasons and since when they wait; one of them in detail beside the list."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cxstream.console import history, risky, work
from cxstream.console.language import N_
from cxstream.console.page import Ask, Page
from cxstream.console.risky import ORDERS, Wanted
from cxstream.console.tables import Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cxstream.console.reader import Row

_PAGE = 50
_MOST = 100_000
_DAYS = 16
_FILTERS = ("level", "reason", "segment", "channel", "state", "assignee")
COLUMNS = (
    "customer", "level", "probability", "value_at_risk", "clv", "p_alive", "since", "last_action", "last_action_time", "reason", "evidence", "spent", "effort", "satisfaction", "suggested_action",
    "segment", "channel",
)  # fmt: skip
"""What CSV and API say of a customer at risk."""


async def _show(ask: Ask) -> Mapping[str, Any]:
    orders = await risky.orders(ask)
    wanted = wanted_of(ask, orders)
    after = ask.param("after")
    rows, (count, waiting), choices, snoozed, untold = await asyncio.gather(
        risky.waiting(ask, wanted, _PAGE + 1, after),
        risky.counted(ask, wanted),
        risky.choices(ask, wanted),
        risky.count(ask, replace(wanted, state="snoozed")),
        risky.count(ask, replace(wanted, state="untold")),
    )
    shown = rows[:_PAGE]
    chosen = await _chosen(ask, wanted, shown)
    listed = dict.fromkeys(row["customer"] for row in (*shown, *([chosen] if chosen else [])))
    worked = await work.of(ask, list(listed))
    kept = {"after": after, "customer": None}
    sorts = {name: ask.here(sort=name, customer=None) for name in orders}
    return {
        "rows": [{**row, "link": ask.here(**{**kept, "customer": row["customer"]})} for row in shown],
        "count": count,
        "waiting": waiting,
        "worked": worked,
        "offer": await work.choices(ask, chosen["customer"], worked[chosen["customer"]]) if chosen else None,
        "chosen": chosen,
        "happened": await history.lanes(ask, chosen["customer_id"], _DAYS) if chosen else None,
        "events": await history.last(ask, chosen["customer_id"], 6) if chosen else None,
        "menus": [
            _menu(ask, wanted, name, choices[name]) for name in _FILTERS if choices[name] or ask.param(name)
        ],
        "state": wanted.state,
        "snoozed": snoozed,
        "untold": untold,
        "untold_link": ask.here(state="untold", customer=None),
        "snoozed_link": ask.here(state="snoozed", customer=None),
        "is_filtered": any(ask.param(name) for name in _FILTERS),
        "sort": wanted.sort,
        "sorts": sorts,
        "order": _order(ask, wanted, sorts),
        "currency": ask.settings.scoring.base_currency,
        "all": ask.here(**dict.fromkeys((*_FILTERS, "customer"))),
        "first": ask.here(customer=None) if after else None,
        "next": ask.here(sort=wanted.sort, after=shown[-1]["place"], customer=None)
        if len(rows) > _PAGE
        else None,
    }


def wanted_of(ask: Ask, orders: Sequence[str]) -> Wanted:
    """What the address asks for; without an order, the first of these."""
    level = ask.choice("level", "", *risky.LEVELS)
    return Wanted(
        level,
        ask.param("reason"),
        ask.param("segment"),
        ask.param("channel"),
        _sort(ask, orders),
        ask.choice("state", "", *risky.STATES),
        ask.worker,
        work.now(),
        ask.param("assignee"),
        ask.sent,
    )


def _sort(ask: Ask, orders: Sequence[str]) -> str:
    """The order; a known one that the data no longer have, as in a saved view, gives way to the first."""
    chosen = ask.choice("sort", orders[0], *ORDERS)
    return chosen if chosen in orders else orders[0]


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


def _order(ask: Ask, wanted: Wanted, sorts: Mapping[str, str]) -> Row:
    """The menu of orders."""
    texts = {name: ask.language.gettext(ORDERS[name]) for name in sorts}
    return {
        "title": ask.language.gettext(N_("Order")),
        "any": "",
        "value": texts[wanted.sort],
        "choices": [
            {"text": texts[name], "link": link, "chosen": name == wanted.sort} for name, link in sorts.items()
        ],
    }


_TITLES = {
    "level": N_("Level"),
    "reason": N_("Reason"),
    "segment": N_("Segment"),
    "channel": N_("Came last by"),
    "state": N_("Work"),
    "assignee": N_("Assigned to"),
}


async def _table(ask: Ask) -> Table:
    wanted = wanted_of(ask, await risky.orders(ask))
    return Table("queue", await risky.waiting(ask, wanted, _MOST), COLUMNS)


PAGE = Page(
    name="queue",
    path="/queue",
    title=N_("Queue"),
    show=_show,
    tables={"queue": _table},
    scoped=False,
    role="agent",
)
