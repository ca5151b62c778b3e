"""The pages to sign in and out."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import structlog
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse
from starlette.routing import Route

from cxstream.console.language import negotiated
from cxstream.console.sessions import SIGN_IN

if TYPE_CHECKING:
    from starlette.datastructures import FormData
    from starlette.requests import Request
    from starlette.responses import Response

    from cxstream.console.rendering import Templates
    from cxstream.console.sessions import Sessions

_log = structlog.get_logger("cxstream.console")


async def form_of(request: Request) -> FormData:
    """The form of a request, if a page of the same session has sent it.

    Raises:
        HTTPException: it is not so.
    """
    form = await request.form()
    wanted = request.state.form_token
    if wanted and not secrets.compare_digest(str(form.get("form_token", "")), wanted):
        raise HTTPException(403, "the form is of another session")
    return form


def local(path: str) -> str:
    """An address of the console; its start for any other."""
    parts = urlsplit(path)
    is_local = (
        path.startswith("/") and not path.startswith(("//", "/\\")) and not parts.netloc and not parts.scheme
    )
    return path if is_local and path.isprintable() else "/"


class Entrance:
    """Signs people in and out.

    Args:
        sessions: everybody who is signed in.
        templates: of the pages.
    """

    def __init__(self, sessions: Sessions, templates: Templates) -> None:
        self._sessions = sessions
        self._templates = templates

    def routes(self) -> list[Route]:
        """Their addresses."""
        return [
            Route(SIGN_IN, self._show, methods=["GET"]),
            Route(SIGN_IN, self._sign_in, methods=["POST"]),
            Route("/sign-out", self._sign_out, methods=["POST"]),
        ]

    async def _show(self, request: Request) -> Response:
        if request.state.person is not None:
            return RedirectResponse(local(request.query_params.get("next", "/")), 303)
        return self._page(request)

    async def _sign_in(self, request: Request) -> Response:
        form = await request.form()
        name, origin = str(form.get("name", "")), request.client.host if request.client else ""
        cookie = await self._sessions.sign_in(name, str(form.get("password", "")), origin)
        if cookie is None:
            _log.warning("a sign-in failed", name=name[:100], origin=origin)
            return self._page(request, name)
        _log.info("somebody signed in", name=name, origin=origin)
        answer = RedirectResponse(local(str(form.get("next", "/"))), 303)
        answer.set_cookie(
            self._sessions.cookie,
            cookie,
            httponly=True,
            samesite="lax",
            secure=self._sessions.is_secure,
            path="/",
        )
        return answer

    async def _sign_out(self, request: Request) -> Response:
        await form_of(request)
        self._sessions.sign_out(request.cookies.get(self._sessions.cookie, ""))
        answer = RedirectResponse(SIGN_IN, 303)
        answer.delete_cookie(self._sessions.cookie, path="/", secure=self._sessions.is_secure, httponly=True)
        answer.headers["clear-site-data"] = '"cache"'
        return answer

    def _page(self, request: Request, failed: str | None = None) -> Response:
        language = negotiated(request.cookies.get("language"), request.headers.get("accept-language", ""))
        wanted = local(request.query_params.get("next", "/"))
        values = {"wanted": wanted, "failed": failed is not None, "typed": failed or ""}
        return self._templates.response(
            "sign-in.html", request, language, 200 if failed is None else 401, **values
        )
