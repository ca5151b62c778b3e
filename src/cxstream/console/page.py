"""What a page is, and what it is given to answer a request.

A page is a module in `cxstream.console.pages` with a `PAGE`, and a template `templates/pages/NAME.html`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from starlette.exceptions import HTTPException

from cxstream.console import scope as scopes
from cxstream.console.labels import DIMENSIONS, label
from cxstream.console.people import Role, known_as
from cxstream.console.saved import ViewsFileError
from cxstream.model.errors import InputError
from cxstream.warehouse.views import definition
from cxstream.warehouse.views.selection import TEAM

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import datetime

    from starlette.requests import Request

    from cxstream.console.desk import Desk
    from cxstream.console.language import Language
    from cxstream.console.people import Person
    from cxstream.console.reader import Reader, Row
    from cxstream.console.rejects import Rejects
    from cxstream.console.saved import SavedView, SavedViews
    from cxstream.console.scope import Scope
    from cxstream.console.tables import Table
    from cxstream.settings import Settings
    from cxstream.warehouse.views.definition import View
    from cxstream.warehouse.views.selection import Selection

CUSTOMERS = "/customers"
# They show whose work is whose, ask for something in the name of the person, or are lists of customers, which are not kept.
_PERSONAL = ("queue", "rejected", "customers")
STAFF = "agent"
"""The dimension that names somebody who works here; viewers see nobody by name."""

# Columns that compare with the period before.
_OF_BEFORE = ("_before", "_change", "_change_margin")
# Views that name them in each row.
_OF_STAFF = ("training",)
# An id that stands in a path as it is. Others, such as "a/b", ".." and "x.csv", stand in a parameter.
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@-]*", re.ASCII)
_ODD = "~"


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the console.

    Attributes:
        name: of its template, and of its place in `navigation.ORDER`.
        path: of its address.
        title: marked by N_.
        show: what the template needs, for a request.
        subtitle: marked by N_.
        tables: what `PATH.csv?table=NAME` downloads, by name; the first is the default.
        scoped: it has a period and filters.
        listed: it stands in the navigation.
        role: the least role that sees it.
    """

    name: str
    path: str
    title: str
    show: Callable[[Ask], Awaitable[Mapping[str, Any]]]
    subtitle: str = ""
    tables: Mapping[str, Callable[[Ask], Awaitable[Table]]] = field(default_factory=dict)
    scoped: bool = True
    listed: bool = True
    role: Literal["viewer", "agent", "admin"] = "viewer"

    @property
    def is_shared(self) -> bool:
        """It is the same for everybody of a role: only its frame is about who looks."""
        return self.listed and self.name not in _PERSONAL


@dataclass(frozen=True, slots=True)
class Ask:
    """A request to a page.

    Attributes:
        request: of Starlette.
        page: that is asked for.
        reader: of the read model.
        language: of the reader.
        scope: period and filters.
        settings: of this installation.
        last: time of the last touchpoint; None if there is none.
        person: who asks.
        desk: where work on customers is done.
        saved: the saved views.
        rejects: the rejected records.
        offered: dimensions that some view of the page can be filtered by, found while it is made.
        unfiltered: filters that some view of the page cannot take, and that did not hold for it, by their dimension.
        touchpoints: how many there are.
    """

    request: Request
    page: Page
    reader: Reader
    language: Language
    scope: Scope
    settings: Settings
    last: datetime | None
    person: Person
    desk: Desk | None = None
    saved: SavedViews | None = None
    rejects: Rejects | None = None
    offered: set[str] = field(default_factory=set)
    unfiltered: set[str] = field(default_factory=set)
    touchpoints: int = 0

    @property
    def sees_customers(self) -> bool:
        """Whether customers may be named; figures may always be shown."""
        return self.person.rank >= Role.agent

    @property
    def worker(self) -> str:
        """Who does what is done: the person, or the user of this computer where nobody signs in."""
        return known_as(self.person)

    @property
    def sent(self) -> list[Row]:
        """Assignments and snoozes that were sent from here."""
        return self.desk.items() if self.desk else []

    @property
    def views(self) -> list[SavedView]:
        """The saved views of who asks; none where their file cannot be read, which is no reason to show no figures."""
        return [] if self.views_problem else self._views()

    @property
    def views_problem(self) -> str:
        """Why there are no saved views, and what to do; "" if they can be read."""
        try:
            self._views()
        except ViewsFileError as error:
            return str(error)
        return ""

    def _views(self) -> list[SavedView]:
        return self.saved.of(self.worker) if self.saved else []

    @property
    def unfiltered_names(self) -> list[str]:
        """What some parts of the page are not filtered by, in words."""
        return sorted(self.label("dimension", name).lower() for name in self.unfiltered)

    @property
    def others(self) -> list[tuple[str, str]]:
        """The parameters that a form for the scope keeps."""
        return scopes.others(self.request.query_params)

    def param(self, name: str, default: str = "") -> str:
        """A parameter of the address."""
        return self.request.query_params.get(name, default)

    def choice(self, name: str, *choices: str) -> str:
        """A parameter that is one of these; the first where it is not given.

        Raises:
            InputError: it is none of them.
        """
        found = self.param(name)
        if not found:
            return choices[0]
        if found not in choices:
            raise InputError(f"{name}={found}: is none of {', '.join(filter(None, choices))}")
        return found

    async def view(
        self,
        view: str | View,
        *,
        scope: Scope | None = None,
        limit: int | None = None,
        skip: int = 0,
        **more: Any,
    ) -> list[Row]:
        """The rows of a view for the page's scope, or another one.

        Args:
            view: its name, or a view of the console's own.
            scope: instead of the page's.
            limit: the most rows, those that are skipped with them.
            skip: so many rows at the start are left out.
            more: of the selection: by, grain, where, cell, columns, options.
        """
        found = definition.view(view) if isinstance(view, str) else view
        if not self.sees_customers and (found.name in _OF_STAFF or STAFF in more.get("by", ())):
            raise HTTPException(403, "agent")
        rows = await self.reader.view(found, self.selection(found, scope, **more), limit, skip)
        return rows if (scope or self.scope).has_before else [_compared_with_nothing(row) for row in rows]

    def selection(self, view: View, scope: Scope | None = None, **more: Any) -> Selection:
        """What to ask a view for, without the filters that it cannot take; the page says so.

        Args:
            view: that is asked.
            scope: instead of the page's.
            more: of the selection.

        Raises:
            InputError: nothing can be filtered by the dimension of a filter.
        """
        chosen = scope or self.scope
        known = set(view.dimensions) - (set() if chosen.teams else {TEAM})
        self.offered.update(known)
        taken = []
        for text, one in zip(chosen.where, chosen.filters, strict=True):
            if one.dimension in known:
                taken.append(text)
            elif one.dimension in DIMENSIONS:
                self.unfiltered.add(one.dimension)
            else:
                raise InputError(f"where={text}: there is no dimension {one.dimension!r}")
        return replace(chosen, where=tuple(taken)).selection(**more)

    @property
    def path(self) -> str:
        """The path of this page, with the customer that it is about."""
        named = self.request.path_params.get("customer")
        return self.page.path if named is None else f"{CUSTOMERS}/{quote(named, safe='')}"

    @property
    def customer(self) -> str:
        """The customer that the address of a page is about."""
        return customer_of(self.request)

    def here(self, **changes: Any) -> str:
        """The address of this page with other parameters; None removes one, and `period` replaces the period."""
        if "period" in changes:
            left = [("where", text) for text in self.scope.where]
            pairs = [("period", changes["period"]), *left, *scopes.others(self.request.query_params)]
            return scopes.address(self.path, None, pairs)
        kept = [
            (name, value) for name, value in scopes.others(self.request.query_params) if name not in changes
        ]
        return scopes.address(self.path, self.scope, [*kept, *changes.items()])

    def without(self, where: str) -> str:
        """The address of this page without one of its filters."""
        left = replace(self.scope, where=tuple(text for text in self.scope.where if text != where))
        return scopes.address(self.path, left, scopes.others(self.request.query_params))

    def link(self, path: str, scope: Scope | None = None, **parameters: Any) -> str:
        """The address of another page with this page's scope."""
        return scopes.address(path, scope or self.scope, parameters)

    def csv(self, table: str = "") -> str:
        """The address of a table of this page as CSV."""
        others = scopes.others(self.request.query_params)
        return scopes.address(
            f"{self.path.rstrip('/') or '/today'}.csv", self.scope, [*others, ("table", table)]
        )

    def customers(self, view: str, of: str = "customers", **cell: str | None) -> str:
        """The address of the customers behind a number of a view.

        Args:
            view: the number is of this view.
            of: its measure.
            cell: columns of the row that it stands in, and their values.
        """
        pairs = [("view", view), ("of", of), ("by", ",".join(cell))]
        pairs += [("cell", f"{name}={value or ''}") for name, value in cell.items()]
        return scopes.address(CUSTOMERS, self.scope, pairs)

    def label(self, sort: str, code: str | None) -> str:
        """The word for a code of the data."""
        return label(self.language, sort, code)


def _compared_with_nothing(row: Row) -> Row:
    # What is compared with part of a period, as scores begin, is a false alarm.
    return {name: None if name.endswith(_OF_BEFORE) else value for name, value in row.items()}


def customer_of(request: Request) -> str:
    """The customer that the address of a page is about; "" for none."""
    named = str(request.path_params.get("customer", ""))
    return request.query_params.get("id", "") if named == _ODD else named


def customer_address(customer: str, **parameters: Any) -> str:
    """The address of a customer's page, whatever their id is made of.

    >>> customer_address("c-1"), customer_address("a/b?", at="2026-03-01")
    ('/customers/c-1', '/customers/~?id=a%2Fb%3F&at=2026-03-01')
    """
    if _PLAIN.fullmatch(customer) and not customer.endswith(".csv"):
        return scopes.address(f"{CUSTOMERS}/{customer}", None, parameters)
    return scopes.address(f"{CUSTOMERS}/{_ODD}", None, {"id": customer, **parameters})
