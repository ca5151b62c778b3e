"""The pages to sign in and out."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import structlog
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse
from starlette.routing import Route

from cxstream.console.language import N_, negotiated
from cxstream.console.provider import BEGIN, RETURN, STATE_SECONDS, SignInError
from cxstream.console.scope import address, split
from cxstream.console.sessions import SIGN_IN, digest

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.datastructures import FormData
    from starlette.requests import Request
    from starlette.responses import Response

    from cxstream.console.provider import Provider
    from cxstream.console.rendering import Templates
    from cxstream.console.sessions import Sessions

WRONG = N_("Name or password are wrong.")
_MOST_BEGUN = 10_000

_log = structlog.get_logger("cxstream.console")


async def form_of(request: Request) -> FormData:
    """The form of a request, if a page of the same session has sent it.

    Raises:
        HTTPException: it is not so.
    """
    form = await request.form()
    wanted = request.state.form_token
    if wanted and not secrets.compare_digest(str(form.get("form_token", "")).encode(), wanted.encode()):
        raise HTTPException(403, "the form is of another session")
    return form


def local(path: str) -> str:
    """An address of the console; its start for any other."""
    parts = split(path)
    is_local = path.startswith("/") and not path.startswith(("//", "/\\"))
    is_local = is_local and parts is not None and not parts.netloc and not parts.scheme
    return path if is_local and path.isprintable() else "/"


class Entrance:
    """Signs people in and out.

    Args:
        sessions: everybody who is signed in.
        templates: of the pages.
        provider: signs people in elsewhere; None where there is none.
    """

    def __init__(self, sessions: Sessions, templates: Templates, provider: Provider | None) -> None:
        self._sessions, self._templates, self._provider = sessions, templates, provider
        self._begun = Begun()
        self._begun_cookie = "__Host-sign-in" if sessions.is_secure else "sign-in"

    def routes(self) -> list[Route]:
        """Their addresses."""
        found = [
            Route(SIGN_IN, self._show, methods=["GET"]),
            Route(SIGN_IN, self._sign_in, methods=["POST"]),
            Route("/sign-out", self._sign_out, methods=["POST"]),
        ]
        if self._provider is not None:
            found += [
                Route(BEGIN, self._to_provider, methods=["GET"]),
                Route(RETURN, self._from_provider, methods=["GET"]),
            ]
        return found

    async def _show(self, request: Request) -> Response:
        if request.state.person is not None:
            return RedirectResponse(local(request.query_params.get("next", "/")), 303)
        return self._page(request)

    async def _sign_in(self, request: Request) -> Response:
        form = await request.form()
        name, origin = str(form.get("name", "")), _origin(request)
        cookie = await self._sessions.sign_in(name, str(form.get("password", "")), origin)
        if cookie is None:
            _log.warning("a sign-in failed", name=name[:100], origin=origin)
            return self._page(request, 401, WRONG, name, str(form.get("next", "/")))
        return self._let_in(request, cookie, name, str(form.get("next", "/")))

    async def _to_provider(self, request: Request) -> Response:
        secret, request.scope["session"] = self._begun.begin()
        try:
            answer = await self._of_provider().begin(
                request, self._own(request) + RETURN, request.query_params.get("next", "/")
            )
        except SignInError as error:
            return self._failed(request, error)
        self._keep(answer, self._begun_cookie, secret, STATE_SECONDS)
        return answer

    async def _from_provider(self, request: Request) -> Response:
        request.scope["session"] = self._begun.take(request.cookies.get(self._begun_cookie, ""))
        try:
            found = await self._of_provider().finish(request)
        except SignInError as error:
            return self._failed(request, error)
        cookie = self._sessions.admit(found.person, found.id_token)
        answer = self._let_in(request, cookie, found.person.name, found.wanted)
        answer.delete_cookie(self._begun_cookie, path="/", secure=self._sessions.is_secure, httponly=True)
        return answer

    def _let_in(self, request: Request, cookie: str, name: str, wanted: str) -> Response:
        _log.info("somebody signed in", name=name, origin=_origin(request))
        # Who was signed in before in this browser is not any more.
        self._sessions.sign_out(request.cookies.get(self._sessions.cookie, ""))
        answer = RedirectResponse(local(wanted), 303)
        self._keep(answer, self._sessions.cookie, cookie)
        return answer

    async def _sign_out(self, request: Request) -> Response:
        await form_of(request)
        ended = self._sessions.sign_out(request.cookies.get(self._sessions.cookie, ""))
        there = None
        if ended is not None and ended.id_token and self._provider is not None:
            there = await self._provider.leave(ended.id_token, self._own(request) + SIGN_IN)
        # A page that goes there: the policy lets no form be sent elsewhere, by a redirect neither.
        answer = (
            self._answer(request, "signed-out.html", 200, there=there)
            if there
            else RedirectResponse(SIGN_IN, 303)
        )
        answer.delete_cookie(self._sessions.cookie, path="/", secure=self._sessions.is_secure, httponly=True)
        answer.headers["clear-site-data"] = '"cache"'
        return answer

    def _of_provider(self) -> Provider:
        if self._provider is None:
            raise HTTPException(404)
        return self._provider

    def _own(self, request: Request) -> str:
        """Where browsers reach the console; its host name has been checked."""
        return f"http{'s' if self._sessions.is_secure else ''}://{request.headers['host']}"

    def _keep(self, answer: Response, name: str, value: str, seconds: int | None = None) -> None:
        secure = self._sessions.is_secure
        answer.set_cookie(name, value, seconds, httponly=True, samesite="lax", secure=secure, path="/")

    def _failed(self, request: Request, error: SignInError) -> Response:
        wanted = str(request.scope.get("session", {}).get("wanted", ""))
        _log.warning("a sign-in by the provider failed", reason=str(error), origin=_origin(request))
        return self._page(request, error.status, error.advice, wanted=wanted)

    def _page(
        self, request: Request, status: int = 200, problem: str = "", typed: str = "", wanted: str = ""
    ) -> Response:
        wanted = local(wanted or request.query_params.get("next", "/"))
        by_provider = None
        if self._provider is not None:
            by_provider = {"name": self._provider.name, "address": address(BEGIN, None, {"next": wanted})}
        return self._answer(
            request,
            "sign-in.html",
            status,
            wanted=wanted,
            problem=problem,
            typed=typed,
            by_provider=by_provider,
            has_passwords=self._sessions.takes_passwords(),
        )

    def _answer(self, request: Request, template: str, status: int, **values: Any) -> Response:
        language = negotiated(request.cookies.get("language"), request.headers.get("accept-language", ""))
        return self._templates.response(template, request, language, status, **values)


class Begun:
    """What is kept of sign-ins that were begun, each for the browser that has its cookie; it can be taken once.

    Args:
        clock: monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, dict[str, Any]]] = OrderedDict()

    def begin(self) -> tuple[str, dict[str, Any]]:
        """A new cookie, and what is kept for it."""
        secret, now = secrets.token_urlsafe(32), self._clock()
        kept: dict[str, Any] = {}
        self._kept[digest(secret)] = now + STATE_SECONDS, kept
        while len(self._kept) > _MOST_BEGUN or next(iter(self._kept.values()))[0] < now:
            self._kept.popitem(last=False)
        return secret, kept

    def take(self, secret: str) -> dict[str, Any]:
        """What is kept for a cookie; nothing for one that is unknown or too old."""
        ends, kept = self._kept.pop(digest(secret), (0.0, {}))
        return kept if ends >= self._clock() else {}


def _origin(request: Request) -> str:
    return request.client.host if request.client else ""
