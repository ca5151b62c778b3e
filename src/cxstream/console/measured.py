"""Counts requests, and takes their times."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.routing import Match

from cxstream.console.provider import RETURN
from cxstream.console.sessions import SIGN_IN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.routing import Route
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from cxstream.console.metrics import ConsoleMetrics

_LEFT = 499
# By password, and back from the provider.
_SIGN_INS = frozenset(((SIGN_IN, "POST"), (RETURN, "GET")))
# An address that the console does not have: many of them make no new series.
OTHER = "other"


class Measured:
    """Counts what the application answers, also what it refuses.

    Args:
        app: that is measured.
        routes: its routes, in order.
        metrics: told of each request.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[Route], metrics: ConsoleMetrics) -> None:
        self.app = app
        self._routes = routes
        self._metrics = metrics
        metrics.routes(route.path for route in routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, and count it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        route = self._route(scope)
        began = time.perf_counter()
        status, is_stream = 0, False

        async def counted(message: Message) -> None:
            nonlocal status, is_stream
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = Headers(raw=message.get("headers", []))
                is_stream = headers.get("content-type", "").startswith("text/event-stream")
                self._count(scope, route, status)
            await send(message)

        try:
            await self.app(scope, receive, counted)
        finally:
            if not status:
                self._count(scope, route, _LEFT)
            if not is_stream:
                self._metrics.took(route, time.perf_counter() - began)

    def _count(self, scope: Scope, route: str, status: int) -> None:
        self._metrics.answered(route, status)
        if (route, scope["method"]) in _SIGN_INS:
            self._metrics.signed_in(status)

    def _route(self, scope: Scope) -> str:
        """The path of the route that an address leads to, with the names of its parameters."""
        found = (route.path for route in self._routes if route.matches(scope)[0] is not Match.NONE)
        return next(found, OTHER)
