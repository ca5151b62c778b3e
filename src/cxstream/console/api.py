"""The same figures for programs: JSON over HTTP, described by OpenAPI 3.1.

    GET /api/v1/views                       what there is
    GET /api/v1/views/NAME                  the rows of a view, in pages
    GET /api/v1/views/NAME/customers        the customers behind a number, in pages
    GET /api/v1/queue                       customers at risk, in pages
    POST /api/v1/work                       do something about a customer
    GET /api/v1/openapi.json

Errors are problem+json (RFC 9457). An answer has an ETag, which changes with the read model.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import orjson
from starlette.responses import Response
from starlette.routing import Route

from cxstream.console import alerts, risky
from cxstream.console.desk import Do
from cxstream.console.page import STAFF, Ask, Page
from cxstream.console.pages import queue, rules
from cxstream.console.pages.customers import behind, grain_of
from cxstream.console.people import Role
from cxstream.model.errors import InputError
from cxstream.warehouse.views import definition, query
from cxstream.warehouse.views.selection import Grain, parse_assignment

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from starlette.requests import Request

    from cxstream.console.problems import Problem
    from cxstream.console.reader import Row
    from cxstream.warehouse.views.definition import View

PREFIX = "/api/v1"
_MOST, _DEFAULT = 10_000, 1000
# Rows of a view that are kept for the pages after the first; what comes later is read again for each page.
_KEPT_ROWS = 100_000
# Of the number of a row.
_DIGITS = 12
_JSON = orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z | orjson.OPT_SORT_KEYS


async def _nothing(_: Ask) -> Mapping[str, Any]:
    return {}


_VIEWER = Page(name="api", path=PREFIX, title="", show=_nothing)
_AGENT = Page(name="api", path=PREFIX, title="", show=_nothing, role="agent")


class Api:
    """The routes.

    Args:
        ask: what a request asks for, if its role may.
        waited_for: makes an endpoint whose queries stop when the client has gone.
    """

    def __init__(
        self,
        ask: Callable[[Page, Request], Awaitable[Ask]],
        waited_for: Callable[[Callable[[Request], Awaitable[Response]]], Any],
    ) -> None:
        self._ask = ask
        self._waited_for = waited_for

    def routes(self) -> list[Route]:
        """Their addresses."""
        return [
            Route(f"{PREFIX}/openapi.json", self._description),
            Route(f"{PREFIX}/views", self._list),
            Route(f"{PREFIX}/rules", self._waited_for(self._rules)),
            Route(f"{PREFIX}/queue", self._waited_for(self._queue)),
            Route(f"{PREFIX}/alerts", self._waited_for(self._alerts)),
            Route(f"{PREFIX}/views/{{name}}", self._waited_for(self._rows)),
            Route(f"{PREFIX}/views/{{name}}/customers", self._waited_for(self._customers)),
        ]

    async def _description(self, request: Request) -> Response:
        return _answer(request, description(), "")

    async def _list(self, request: Request) -> Response:
        views = (definition.view(name) for name in definition.names())
        is_viewer = request.state.person.rank < Role.agent
        return _answer(request, {"views": [_view(each, is_viewer=is_viewer) for each in views]}, "")

    async def _rows(self, request: Request) -> Response:
        ask = await self._ask(_VIEWER, request)
        view, limit = definition.view(request.path_params["name"]), _limit(ask)
        grain = grain_of(ask)
        by, columns = ([part for part in ask.param(name).split(",") if part] for name in ("by", "columns"))
        options = dict(parse_assignment(text, "set") for text in request.query_params.getlist("set"))
        ask.scope.selection().check(view)
        asked: dict[str, Any] = {
            "by": tuple(by),
            "grain": grain,
            "columns": tuple(columns),
            "options": options,
        }
        names, place = ask.selection(view, **asked).row_names(view), _Place.read(ask.param("after"))
        before, rows = await _from(ask, view, names, place, limit, asked)
        is_cut = len(rows) > limit
        found = {
            **_window(ask),
            "view": view.name,
            "rows": rows[:limit],
            "is_cut": is_cut,
            "next_after": _Place.of(rows[limit - 1], names, before + limit).text if is_cut else None,
        }
        # Many rows take long to write.
        return await asyncio.to_thread(_answer, request, found, repr(ask.reader.state()))

    async def _rules(self, request: Request) -> Response:
        ask = await self._ask(_VIEWER, request)
        return _answer(request, await rules.found(ask), repr(ask.reader.state()))

    async def _alerts(self, request: Request) -> Response:
        ask = await self._ask(_VIEWER, request)
        if ask.scope.filters:
            raise InputError(
                "where: no filter holds for alerts; they are about places with all of their visits"
            )
        found = {**_window(ask), "alerts": await alerts.found(ask)}
        return _answer(request, found, repr(ask.reader.state()))

    async def _queue(self, request: Request) -> Response:
        ask = await self._ask(_AGENT, request)
        for name, choices in (("sort", risky.ORDERS), ("level", risky.LEVELS), ("state", risky.STATES)):
            if ask.param(name) and ask.param(name) not in choices:
                raise InputError(f"{name}={ask.param(name)}: is none of {', '.join(choices)}")
        wanted, limit = queue.wanted_of(ask, await risky.orders(ask)), _limit(ask)
        rows = await risky.waiting(ask, wanted, limit + 1, ask.param("after"))
        after = rows[limit - 1]["place"] if len(rows) > limit else None
        customers = [{name: row[name] for name in queue.COLUMNS} for row in rows[:limit]]
        found = {"sort": wanted.sort, "customers": customers, "next_after": after}
        return _answer(request, found, repr(ask.reader.state()))

    async def _customers(self, request: Request) -> Response:
        ask = await self._ask(_AGENT, request)
        view, limit = definition.view(request.path_params["name"]), _limit(ask)
        ask.scope.selection().check(view)
        rows = await behind(ask, view, limit + 1, ask.param("after"))
        after = f"{rows[limit - 1]['rows']}:{rows[limit - 1]['customer']}" if len(rows) > limit else None
        found = {**_window(ask), "view": view.name, "customers": rows[:limit], "next_after": after}
        return _answer(request, found, repr(ask.reader.state()))


def problem_json(found: Problem, reference: str) -> Response:
    """A problem as RFC 9457 has it."""
    content = {
        "type": "about:blank",
        "title": found.title,
        "status": found.status,
        "detail": found.detail or found.advice,
    }
    if reference:
        content["reference"] = reference
    return Response(orjson.dumps(content), found.status, media_type="application/problem+json")


def description() -> dict[str, Any]:
    """The OpenAPI document."""
    window = [
        _parameter(
            "period",
            "Length of the window, which ends with the last touchpoint.",
            enum=["1d", "7d", "28d", "90d"],
        ),
        _parameter("since", "Start of the window, UTC: 2026-03-01 or 2026-03-01T12:00; with `until`."),
        _parameter("until", "End of the window, exclusive."),
    ]
    scope = [
        *window,
        _parameter("where", "Filter, like channel=web,app or topic!=invoice; may be given several times."),
        _parameter("set", "Option of the view, NAME=VALUE; may be given several times."),
        _parameter("by", "Dimensions that get a row for each value, with commas between them."),
        _parameter("limit", f"Most rows, at most {_MOST}.", default=_DEFAULT, type_="integer"),
        _parameter("grain", "A row for each of these.", enum=list(get_args(Grain))),
    ]
    queued = [
        _parameter(
            "sort",
            "Order of the customers: by money where a purchase model values them, else by probability.",
            enum=list(risky.ORDERS),
        ),
        _parameter("level", "Only this level.", enum=list(risky.LEVELS)),
        *(_parameter(each, f"Only this {each}.") for each in ("reason", "segment", "channel")),
        _parameter("state", "Without it all but the snoozed.", enum=list(risky.STATES)),
        _parameter("limit", f"Most rows, at most {_MOST}.", default=_DEFAULT, type_="integer"),
        _AFTER,
    ]
    rows = [*scope, _parameter("columns", "Only these measures, with commas between them."), _AFTER]
    customers = [
        *scope,
        _parameter(
            "of", "The measure that counts the customers; see `behind` of the view.", default=query.CUSTOMERS
        ),
        _parameter("cell", "COLUMN=VALUE of the row of the number; may be given several times."),
        _AFTER,
    ]
    name = {
        "name": "name",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "enum": definition.names()},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "cxstream console", "version": "1", "description": "Figures of the read model."},
        "security": [{"token": []}],
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Problem": _PROBLEM},
        },
        "paths": {
            f"{PREFIX}/views": {"get": _operation("listViews", "The views and what they are asked for.", [])},
            f"{PREFIX}/rules": {
                "get": _operation("showRules", "Rules that judged the data, and the set of the settings.", [])
            },
            f"{PREFIX}/alerts": {
                "get": _operation("listAlerts", "Alerts on places that were open in the period.", window)
            },
            f"{PREFIX}/queue": {"get": _operation("listQueue", "Customers at risk; for agents.", queued)},
            f"{PREFIX}/work": {"post": _work_operation()},
            f"{PREFIX}/views/{{name}}": {
                "get": _operation("rowsOfView", "The rows of a view.", [name, *rows])
            },
            f"{PREFIX}/views/{{name}}/customers": {
                "get": _operation(
                    "customersBehind", "The customers behind a number; for agents.", [name, *customers]
                )
            },
        },
    }


_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string", "description": "What is so."},
        "status": {"type": "integer", "description": "Of HTTP."},
        "detail": {"type": "string", "description": "What is wrong here, or what to do."},
        "reference": {"type": "string", "description": "Under which the log has more."},
    },
    "additionalProperties": False,
}


def _work_operation() -> dict[str, Any]:
    """Of POST /work."""
    text = {"type": "string"}
    found = _operation(
        "workOnCustomer",
        "Assign, snooze or note a customer, or record an action or outcome; for agents.",
        [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": True,
                "description": "The same request with the same key counts once.",
                "schema": text,
            }
        ],
    )
    fields = {
        "customer": text,
        "do": {"type": "string", "enum": list(get_args(Do))},
        "value": text,
        "text": text,
    }
    body = {
        "type": "object",
        "required": ["customer", "do"],
        "properties": fields,
        "additionalProperties": False,
    }
    content = {"application/json": {"schema": {"type": "object", "properties": {"id": text}}}}
    found["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    found["responses"] = {
        "202": {"description": "Kafka has it; `id` is that of the record.", "content": content},
        "default": found["responses"]["default"],
    }
    return found


def _operation(name: str, summary: str, parameters: list[Any]) -> dict[str, Any]:
    problem = {"content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    return {
        "operationId": name,
        "summary": summary,
        "parameters": parameters,
        "responses": {
            "200": {"description": "Found.", "content": {"application/json": {"schema": {"type": "object"}}}},
            "304": {"description": "Nothing has changed since the ETag of If-None-Match."},
            "default": {"description": "What went wrong.", **problem},
        },
    }


def _parameter(name: str, meaning: str, type_: str = "string", **schema: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": meaning, "schema": {"type": type_, **schema}}


def _view(view: definition.View, *, is_viewer: bool) -> dict[str, Any]:
    return {
        "name": view.name,
        "summary": view.summary,
        "columns": view.columns,
        "keys": view.keys,
        "dimensions": [name for name in view.dimensions if not (is_viewer and name == STAFF)],
        "options": {name: option.choices for name, option in view.options.items()},
        "behind": list(view.behind),
    }


def _window(ask: Ask) -> dict[str, Any]:
    return {"since": ask.scope.since, "until": ask.scope.until}


class _Place(NamedTuple):
    """Where a list of rows goes on.

    Attributes:
        row: names of the last row before it, as JSON.
        rows: how many rows stand before it.
    """

    row: bytes
    rows: int

    @classmethod
    def of(cls, row: Row, names: Sequence[str], rows: int) -> _Place:
        """The place behind a row."""
        return cls(_named(row, names), rows)

    @classmethod
    def read(cls, text: str) -> _Place | None:
        """The place of `next_after`; None for the start of the list.

        Raises:
            InputError: it is none.
        """
        if not text:
            return None
        try:
            number, _, row = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).partition(b" ")
        except ValueError as error:
            raise _lost(text) from error
        if not row or not number.isdigit() or len(number) > _DIGITS or not int(number):
            raise _lost(text)
        return cls(row, int(number))

    @property
    def text(self) -> str:
        """As `next_after` has it."""
        return base64.urlsafe_b64encode(b"%d %b" % (self.rows, self.row)).decode().rstrip("=")


async def _from(
    ask: Ask, view: View, names: Sequence[str], place: _Place | None, limit: int, asked: Mapping[str, Any]
) -> tuple[int, Sequence[Row]]:
    """How many rows stand before a page, and its rows with one more if there is one.

    Args:
        ask: with the scope.
        view: whose rows they are.
        names: columns that name a row.
        place: where the page begins; None for the first one.
        limit: of the page.
        asked: of the selection.

    Raises:
        InputError: the row of the place is not there.
    """
    if place is None:
        return 0, await ask.view(view, limit=limit + 1, **asked)
    if place.rows + limit <= _KEPT_ROWS:
        # Pages after the first are of one result, which the reader keeps.
        rows: Sequence[Row] = await ask.view(view, limit=_KEPT_ROWS + 1, **asked)
        rows = rows[place.rows - 1 : place.rows + limit + 1]
    else:
        rows = await ask.view(view, limit=place.rows + limit + 1, skip=place.rows - 1, **asked)
    if rows and _named(rows[0], names) == place.row:
        return place.rows, rows[1:]
    # The read model has changed: the row stands elsewhere now.
    return await _moved(ask, view, names, place, limit, asked)


async def _moved(
    ask: Ask, view: View, names: Sequence[str], place: _Place, limit: int, asked: Mapping[str, Any]
) -> tuple[int, Sequence[Row]]:
    """As `_from`, for a row that stands anywhere: so many rows at a time as are kept are looked through."""
    skip = 0
    while True:
        rows: Sequence[Row] = await ask.view(view, limit=skip + _KEPT_ROWS + 1, skip=skip, **asked)
        found = await asyncio.to_thread(_found, rows, names, place)
        is_end = len(rows) <= _KEPT_ROWS
        if found is not None:
            break
        if is_end:
            raise _lost(place.text)
        skip += _KEPT_ROWS
    before = skip + found + 1
    if is_end or found + limit + 1 < len(rows):
        return before, rows[found + 1 : found + limit + 2]
    return before, await ask.view(view, limit=before + limit + 1, skip=before, **asked)


def _found(rows: Sequence[Row], names: Sequence[str], place: _Place) -> int | None:
    """Where the row of a place stands; None where it does not."""
    return next((n for n, row in enumerate(rows) if _named(row, names) == place.row), None)


def _named(row: Row, names: Sequence[str]) -> bytes:
    return orjson.dumps([row[name] for name in names], default=str, option=_JSON)


def _lost(after: str) -> InputError:
    return InputError(f"after={after}: is no row here, or not any more; begin at the start of the list")


def _limit(ask: Ask) -> int:
    text = ask.param("limit", str(_DEFAULT))
    # Of thousands of digits Python makes no number.
    is_number = text.isascii() and text.isdigit() and len(text) < 10  # noqa: PLR2004
    if not is_number or not 1 <= int(text) <= _MOST:
        raise InputError(f"limit={text}: is no number from 1 to {_MOST}")
    return int(text)


def _answer(request: Request, content: Any, state: str) -> Response:
    body = orjson.dumps(content, default=str, option=_JSON)
    tag = f'"{hashlib.sha256(state.encode() + body).hexdigest()[:32]}"'
    headers = {"etag": tag, "cache-control": "private, no-cache"}
    if tag in [
        each.strip().removeprefix("W/") for each in request.headers.get("if-none-match", "").split(",")
    ]:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


_AFTER = _parameter("after", "Where the page begins: `next_after` of the page before.")
