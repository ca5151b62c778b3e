"""What every answer says to the browser, and which requests are not answered at all."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException

from cxstream.console.problems import API, refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_DIRECTIVES = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
)
POLICY = "; ".join(_DIRECTIVES)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
MOST_BYTES = 65_536
"""Of the body of a request."""
# A name or an address with a port, and nothing else that an address may have: it becomes part of addresses.
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::[0-9]{1,5})?")
_SAFE = frozenset(("GET", "HEAD", "OPTIONS"))


_TOO_LONG = f"A request has at most {MOST_BYTES} bytes."


class Protection:
    """Sets the headers of HEADERS, and refuses requests for other hosts and changes that other sites ask for.

    A page of another site may make the browser send a request here. It cannot read the answer; a changed host name in
    DNS would let it, so only known hosts are answered. Bodies longer than MOST_BYTES are not read.

    Args:
        app: that is protected.
        hosts: names by which the console is called, without the port.
        is_secure: browsers reach it by https only.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str], *, is_secure: bool = False) -> None:
        self.app = app
        self._headers = HEADERS | ({"strict-transport-security": "max-age=31536000"} if is_secure else {})
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or refuse a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        refused = self._refusal(scope)
        if refused is not None:
            await refusal(scope["path"], *refused)(scope, receive, protected)
            return
        taken = 0

        async def bounded() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > MOST_BYTES:
                # The length was not said before.
                raise HTTPException(413, _TOO_LONG)
            return message

        await self.app(scope, bounded, protected)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        found = _HOST.fullmatch(host)
        if found is None or (found[1] or found[2]).lower() not in self._hosts:
            return 421, "The console does not answer for this host name."
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MOST_BYTES:
            return 413, _TOO_LONG
        if scope["method"] not in _SAFE and not (_is_own(headers, host) or _is_program(scope, headers)):
            return 403, "Another site asked for this change; it is not made."
        return None


def _is_program(scope: Scope, headers: Headers) -> bool:
    """Whether a program asks with a token: a page of another site cannot send one without asking first, and is not answered."""
    return scope["path"].startswith(API) and headers.get("authorization", "").lower().startswith("bearer ")


def _is_own(headers: Headers, host: str) -> bool:
    """Whether a page of the console asks for a change, as the browser says."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] == host
