"""The route that sends rejected records again; administrators alone may."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from cxstream.console.entrance import form_of
from cxstream.console.page import Ask, Page
from cxstream.console.scope import address
from cxstream.rejected.listing import Filters

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.requests import Request

    from cxstream.console.audit import AuditLog
    from cxstream.console.rejects import Rejects

PATH = "/rejected"


async def _nothing(_: Ask) -> Mapping[str, Any]:
    return {}


_ADMIN = Page(name="resend", path=PATH, title="", show=_nothing, role="admin")


class Sending:
    """The route.

    Args:
        ask: what a request asks for, if its role may.
        rejects: the rejected records.
        audit: told what was done.
    """

    def __init__(
        self, ask: Callable[[Page, Request], Awaitable[Ask]], rejects: Rejects, audit: AuditLog
    ) -> None:
        self._ask, self._rejects, self._audit = ask, rejects, audit

    def routes(self) -> list[Route]:
        """Its address."""
        return [Route(PATH, self._send, methods=["POST"])]

    async def _send(self, request: Request) -> Response:
        ask = await self._ask(_ADMIN, request)
        form = {name: str(value) for name, value in (await form_of(request)).items()}
        found = await self._rejects.shown(form.get("place", ""))
        if found is None:
            raise HTTPException(404)
        rejection, explanation, _ = found
        filters = Filters(places=frozenset({rejection.place}))
        if form.get("like") == "all":
            filters = replace(filters, places=frozenset(), reason=rejection.reason, field=rejection.field)
        fix = (explanation.fix or "") if form.get("fix") == "1" else ""
        of = str(rejection.place) if filters.places else f"{rejection.reason} {rejection.field}".strip()
        job = self._rejects.start(filters, fix, ask.worker, of)
        self._audit.resent(ask.person, request, of)
        return RedirectResponse(address(PATH, None, {"job": job.id}), 303)
