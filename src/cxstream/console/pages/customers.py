"""Customers: those behind a number of another page, or all of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from cxstream.console.language import N_
from cxstream.console.page import CUSTOMERS, Ask, Page
from cxstream.console.queries import known
from cxstream.console.tables import Table
from cxstream.model.errors import InputError
from cxstream.warehouse.views import query
from cxstream.warehouse.views.selection import PERIOD, parse_assignment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cxstream.console.reader import Row

_PAGE = 50
_MOST = 100_000
_AFTER = re.compile(r"(\d{1,18}):(.+)", re.DOTALL)
_ORDER = 'ORDER BY "rows" DESC, customer'
_CARDS = """
SELECT found.customer, found."rows", found.first_time, found.last_time, level, probability, effort, effort_halfwidth,
    satisfaction, satisfaction_halfwidth
FROM found LEFT JOIN cards USING (customer)
ORDER BY found."rows" DESC, found.customer"""


async def _show(ask: Ask) -> Mapping[str, Any]:
    rows = await _customers(ask, _PAGE + 1, ask.param("after"))
    shown = rows[:_PAGE]
    words = ask.language
    cells = [
        f"{ask.label('dimension', name)}: {ask.label(name, value)}" for name, value in _cell(ask).items()
    ]
    what = [words.gettext(_name(ask)), *cells]
    return {
        "customers": shown,
        "what": " · ".join(what),
        "subtitle": words.gettext("most first"),
        "counted": words.gettext("Times"),
        "next": ask.here(after=f"{shown[-1]['rows']}:{shown[-1]['customer']}") if len(rows) > _PAGE else None,
    }


def _name(ask: Ask) -> str:
    view, of = ask.param("view", "touchpoints"), ask.param("of", query.CUSTOMERS)
    return (
        N_("Customers with touchpoints in the period")
        if of == query.CUSTOMERS
        else f"{view}: {of.replace('_', ' ')}"
    )


def _cell(ask: Ask) -> dict[str, str | None]:
    pairs = (parse_assignment(text, "cell") for text in ask.request.query_params.getlist("cell"))
    return {name: value or None for name, value in pairs}


async def _customers(ask: Ask, limit: int, after: str = "") -> list[Row]:
    view = known(ask.param("view", "touchpoints"))
    by = tuple(name for name in ask.param("by").split(",") if name and name != PERIOD)
    grain = ask.param("grain") or None
    options = dict(parse_assignment(text, "set") for text in ask.request.query_params.getlist("set"))
    selection = ask.scope.selection(by=by, grain=grain, cell=_cell(ask), options=options)
    found = query.customers(view, selection, ask.param("of", query.CUSTOMERS))
    values = dict(found.values)
    condition = "true"
    if after:
        place = _AFTER.fullmatch(after)
        if place is None:
            raise InputError(f"after={after!r}: is no place in this list; begin at its start")
        condition = '("rows" < $after_rows OR ("rows" = $after_rows AND customer > $after_customer))'
        values |= {"after_rows": int(place[1]), "after_customer": place[2]}
    sql = f"WITH found AS (SELECT * FROM ({found.sql}) WHERE {condition} {_ORDER} LIMIT {limit:d}) {_CARDS}"
    return await ask.reader.rows(found._replace(sql=sql, values=values))


async def _table(ask: Ask) -> Table:
    return Table("customers", await _customers(ask, _MOST))


PAGE = Page(
    name="customers",
    path=CUSTOMERS,
    title=N_("Customers"),
    show=_show,
    tables={"customers": _table},
)
