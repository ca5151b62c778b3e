"""Takes what people do, and whom they erase: forms of pages, and the API's POST /api/v1/work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from cxstream.console import erasing, work
from cxstream.console.desk import Wish
from cxstream.console.entrance import form_of, local
from cxstream.console.page import Ask, Page, customer_address
from cxstream.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.requests import Request

    from cxstream.console.audit import AuditLog
    from cxstream.console.desk import Desk

PATH, ERASE_PATH, API_PATH = "/work", "/erase", "/api/v1/work"
_FIELDS = ("customer", "do", "value", "text")
_WHO = """
SELECT c.customer, (SELECT arg_max(id, (time, partition, "offset", n)) FROM risk_signals s
    WHERE s.customer_id = c.customer_id AND change IN ('raised', 'worsened')) AS signal
FROM customers c WHERE c.customer = $customer"""


async def _nothing(_: Ask) -> Mapping[str, Any]:
    return {}


_AGENT = Page(name="work", path=PATH, title="", show=_nothing, role="agent")
_ADMIN = Page(name="erase", path=ERASE_PATH, title="", show=_nothing, role="admin")


class Actions:
    """The routes.

    Args:
        ask: what a request asks for, if its role may.
        desk: where it is done.
        audit: told what was done.
    """

    def __init__(self, ask: Callable[[Page, Request], Awaitable[Ask]], desk: Desk, audit: AuditLog) -> None:
        self._ask, self._desk, self._audit = ask, desk, audit

    def routes(self) -> list[Route]:
        """Their addresses."""
        return [
            Route(PATH, self._form, methods=["POST"]),
            Route(ERASE_PATH, self._erase, methods=["POST"]),
            Route(API_PATH, self._program, methods=["POST"]),
        ]

    async def _form(self, request: Request) -> Response:
        form = await form_of(request)
        await self._do(request, {name: str(form.get(name, "")) for name in _FIELDS}, str(form.get("key", "")))
        return RedirectResponse(local(str(form.get("next", "/"))), 303)

    async def _erase(self, request: Request) -> Response:
        form = await form_of(request)
        customer, typed = (str(form.get(name, "")) for name in ("customer", "typed"))
        ask = await self._ask(_ADMIN, request)
        if not customer or typed.strip() != customer:
            raise InputError("what you typed is not the id of this customer; nobody is erased")
        if not await ask.reader.sql(_WHO, {"customer": customer}):
            raise HTTPException(404)
        wish = Wish(customer, "erase", "", "", str(form.get("key", "")), None, ask.worker)
        number = await self._desk.erase(wish)
        self._audit.did(ask.person, request, wish, number)
        return RedirectResponse(customer_address(customer), 303)

    async def _program(self, request: Request) -> Response:
        try:
            found = orjson.loads(await request.body())
        except orjson.JSONDecodeError as error:
            raise InputError(f"the body is no JSON: {error}") from error
        if not isinstance(found, dict) or any(not isinstance(each, str) for each in found.values()):
            raise InputError("the body is no object of texts")
        unknown = sorted(found.keys() - set(_FIELDS))
        if unknown:
            raise InputError(f"{unknown[0]}: is none of {', '.join(_FIELDS)}")
        said = {name: found.get(name, "") for name in _FIELDS}
        number = await self._do(request, said, request.headers.get("idempotency-key", ""))
        return Response(orjson.dumps({"id": number}), 202, media_type="application/json")

    async def _do(self, request: Request, said: dict[str, str], key: str) -> str:
        ask = await self._ask(_AGENT, request)
        found = await ask.reader.sql(_WHO, {"customer": said["customer"]})
        if not found:
            raise HTTPException(404)
        customer, signal = found[0]["customer"], found[0]["signal"]
        # What came after an erasure is a new customer of that id.
        await erasing.is_asked(ask, customer)
        if said["do"] in {"assign", "act"}:
            known = (await work.of(ask, [customer]))[customer]
            if known.is_holdout:
                raise HTTPException(
                    409, "the customer is held out, so that the effect of actions can be measured"
                )
        wish = Wish(customer, said["do"], said["value"], said["text"], key, signal, ask.worker, ask.last)
        number = await self._desk.do(wish)
        self._audit.did(ask.person, request, wish, number)
        return number
