"""Customers: those behind a number of another page, or all of them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cxstream.console import leaving
from cxstream.console.behind import KEYS, MEASURES, VALUES
from cxstream.console.language import N_
from cxstream.console.page import CUSTOMERS, Ask, Page
from cxstream.console.pages.empathy import item_of
from cxstream.console.queries import known
from cxstream.console.tables import Table
from cxstream.model.errors import InputError
from cxstream.warehouse.views import query
from cxstream.warehouse.views.selection import GRAINS, PERIOD, Grain, parse_assignment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cxstream.console.reader import Row
    from cxstream.warehouse.views.definition import View

_PAGE = 50
_MOST = 100_000
_ORDER = 'ORDER BY "rows" DESC, customer'
_CARDS = """
SELECT found.customer, found."rows", found.first_time, found.last_time, level, probability, effort, effort_halfwidth,
    satisfaction, satisfaction_halfwidth
FROM found LEFT JOIN cards USING (customer)
ORDER BY found."rows" DESC, found.customer"""

_RISKY = f"""
SELECT customer, touches_30 AS "rows", NULL::TIMESTAMP AS first_time, last_touch AS last_time, announced AS level, probability, effort,
    effort_halfwidth, satisfaction, satisfaction_halfwidth
FROM cards
WHERE announced IN ('high', 'critical') AND {leaving.STAYS} AND {{chosen}}
    AND ($after_risk IS NULL OR probability < $after_risk OR (probability = $after_risk AND customer > $after_customer))
ORDER BY probability DESC, customer LIMIT $limit"""


async def _show(ask: Ask) -> Mapping[str, Any]:
    rows = await _customers(ask, _PAGE + 1, ask.param("after"))
    shown = rows[:_PAGE]
    words = ask.language
    cells = [f"{_column(ask, name)}: {_value(ask, name, value)}" for name, value in _cell(ask).items()]
    what = [_name(ask), *cells]
    return {
        "customers": shown,
        "what": " · ".join(what),
        "subtitle": words.gettext("highest risk first")
        if ask.param("at_risk")
        else words.gettext("most first"),
        "counted": words.gettext("Touchpoints in 30 days")
        if ask.param("at_risk")
        else words.gettext("Times"),
        "next": ask.here(after=_next(ask, shown[-1])) if len(rows) > _PAGE else None,
    }


def _next(ask: Ask, row: Row) -> str:
    sorted_by = f"{row['probability']:.17f}" if ask.param("at_risk") else row["rows"]
    return f"{sorted_by}:{row['customer']}"


def _name(ask: Ask) -> str:
    words = ask.language
    if ask.param("at_risk"):
        return words.gettext(N_("Customers at a high or critical level now"))
    view, of = ask.param("view", "touchpoints"), ask.param("of", query.CUSTOMERS)
    if of != query.CUSTOMERS:
        text = words.gettext(MEASURES[of]) if of in MEASURES else of.replace("_", " ")
        return words.gettext(N_("Customers: %(what)s")) % {"what": text}
    if view == "visits":
        return words.gettext(N_("Customers with bad visits"))
    return words.gettext(N_("Customers with touchpoints in the period"))


def _column(ask: Ask, name: str) -> str:
    return ask.language.gettext(KEYS[name]) if name in KEYS else ask.label("dimension", name)


def _value(ask: Ask, name: str, value: str | None) -> str:
    if name == "item" and value:
        return item_of(ask, value)
    if name == "part" and value:
        return ask.label("level", value)
    if name in KEYS and value in VALUES:
        return ask.language.gettext(VALUES[value])
    return ask.label(name, value)


def _cell(ask: Ask) -> dict[str, str | None]:
    pairs = (parse_assignment(text, "cell") for text in ask.request.query_params.getlist("cell"))
    return {name: value or None for name, value in pairs}


async def _at_risk(ask: Ask, limit: int, after: str) -> list[Row]:
    place = _place(r"(\d\.\d{1,20}):(.+)", after)
    values = {
        "limit": limit,
        "after_risk": float(place[1]) if place else None,
        "after_customer": place and place[2],
    }
    if not ask.scope.where:
        return await ask.reader.sql(_RISKY.format(chosen="true"), values)
    # Customers have no segment or channel of their own: those with such a touchpoint, whenever it was.
    touchpoints = known("touchpoints")
    found = query.customers(touchpoints, replace(ask.selection(touchpoints), since=None, until=None))
    sql = _RISKY.format(chosen=f"customer IN (SELECT customer FROM ({found.sql}))")
    return await ask.reader.rows(found._replace(sql=sql, values={**found.values, **values}))


def _place(pattern: str, after: str) -> re.Match[str] | None:
    """Where a list goes on."""
    found = re.fullmatch(pattern, after, re.DOTALL)
    if after and found is None:
        raise InputError(f"after={after!r}: is no place in this list; begin at its start")
    return found


async def _customers(ask: Ask, limit: int, after: str = "") -> list[Row]:
    if ask.param("at_risk"):
        return await _at_risk(ask, limit, after)
    return await behind(ask, known(ask.param("view", "touchpoints")), limit, after)


async def behind(ask: Ask, view: View, limit: int, after: str = "") -> list[Row]:
    """The customers behind a number of a view, most rows first; the address says which number.

    Args:
        ask: with `by`, `grain`, `cell`, `set` and `of` in the address.
        view: the number is of this view.
        limit: the most customers.
        after: ROWS:CUSTOMER of the last one before these.
    """
    by = tuple(name for name in ask.param("by").split(",") if name and name not in {PERIOD, *view.keys})
    grain = grain_of(ask)
    options = dict(parse_assignment(text, "set") for text in ask.request.query_params.getlist("set"))
    selection = ask.selection(view, by=by, grain=grain, cell=_cell(ask), options=options)
    found = query.customers(view, selection, ask.param("of", query.CUSTOMERS))
    values = dict(found.values)
    condition = "true"
    place = _place(r"(\d{1,18}):(.+)", after)
    if place is not None:
        condition = '("rows" < $after_rows OR ("rows" = $after_rows AND customer > $after_customer))'
        values |= {"after_rows": int(place[1]), "after_customer": place[2]}
    sql = f"WITH found AS (SELECT * FROM ({found.sql}) WHERE {condition} {_ORDER} LIMIT {limit:d}) {_CARDS}"
    return await ask.reader.rows(found._replace(sql=sql, values=values))


def grain_of(ask: Ask) -> Grain | None:
    """The grain that the address asks for; None without one.

    Raises:
        InputError: there is no such grain.
    """
    text = ask.param("grain")
    found = next((each for each in GRAINS if each == text), None)
    if text and found is None:
        raise InputError(f"grain={text}: is none of {', '.join(GRAINS)}")
    return found


async def _table(ask: Ask) -> Table:
    return Table("customers", await _customers(ask, _MOST))


PAGE = Page(
    name="customers",
    path=CUSTOMERS,
    title=N_("Customers"),
    show=_show,
    tables={"customers": _table},
    role="agent",
)
