"""Access control of the worker's web server.

The `Host` of a request must be a known name of the server. This blocks DNS rebinding: a foreign web page whose name
resolves to this computer still sends the foreign name. `/livez` and `/readyz` show only
partitions and answer everybody. All other pages show customers: they answer over the worker's own Unix socket,
which only the worker's user can open, and to requests with the token.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
from typing import TYPE_CHECKING, Any

from aiohttp import web

from cxstream.kafka.credentials import is_loopback

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

PUBLIC = frozenset({"/livez", "/readyz"})
MISDIRECTED = 421
_BEARER = "bearer "


def host_of(header: str | None) -> str:
    """The name or address in a Host header, normalised, without the port; "" if it is missing or invalid."""
    text = (header or "").strip().lower()
    if text.startswith("["):
        name, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not _is_port(rest)):
            return ""
    else:
        name, colon, port = text.partition(":")
        if colon and not _is_port(colon + port):
            return ""
    return _normal(name)


def _is_port(text: str) -> bool:
    return text[0] == ":" and (text[1:].isdecimal() or text == ":")


def _normal(name: str) -> str:
    try:
        return str(ipaddress.ip_address(name.partition("%")[0]))
    except ValueError:
        return name.lower().rstrip(".")


def known_hosts(names: Iterable[str]) -> Callable[[web.Request], bool]:
    """A test whether a request's Host is this computer, the address that it came to, or one of `names`."""
    known = {_normal(name.strip("[]")) for name in names}

    def test(request: web.Request) -> bool:
        host = host_of(request.headers.get("Host"))
        return bool(host) and (host in known or is_loopback(host) or host == _own_address(request))

    return test


def _own_address(request: web.Request) -> str | None:
    """The address of this computer that the connection came to; None for a Unix socket."""
    if request.transport is None or _over_unix_socket(request):
        return None
    name = request.transport.get_extra_info("sockname")
    return _normal(name[0]) if name else None


def _over_unix_socket(request: web.Request) -> bool:
    if request.transport is None:
        return False
    connection = request.transport.get_extra_info("socket")
    return connection is not None and connection.family == socket.AF_UNIX


def require_host(names: Iterable[str]) -> Any:
    """A middleware that refuses unknown Hosts."""
    known = known_hosts(names)

    @web.middleware
    async def check(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if not known(request):
            return _refusal(MISDIRECTED, "this Host is not served here: add it to worker.web_hosts")
        return await handler(request)

    return check


def require_right(token: str | None) -> Any:
    """A middleware that requires the Unix socket or the token for all pages that are not public."""

    @web.middleware
    async def check(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        there = request.match_info.http_exception is None
        if not there or request.path in PUBLIC or _over_unix_socket(request):
            return await handler(request)
        if token is None:
            return _refusal(403, "ask over the worker's Unix socket, or set worker.web_token_file")
        if not _has(request, token):
            refusal = _refusal(401, "the token of worker.web_token_file is needed")
            refusal.headers["WWW-Authenticate"] = 'Bearer realm="cxstream"'
            return refusal
        return await handler(request)

    return check


def _has(request: web.Request, token: str) -> bool:
    given = request.headers.get("Authorization", "")
    return given[: len(_BEARER)].lower() == _BEARER and hmac.compare_digest(
        given[len(_BEARER) :].strip().encode(errors="surrogateescape"), token.encode()
    )


def _refusal(status: int, why: str) -> web.Response:
    return web.json_response({"error": why}, status=status)
