"""An aiohttp server that clients cannot block: few connections, each for a short time, one request on each.

accepted -> one request read, answered, closed

   |  no room: the oldest connection is closed, so that a probe always gets its response
   |  too old (headers that never end, a response that is not read): closed
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, cast

from aiohttp import web

if TYPE_CHECKING:
    from aiohttp.web_protocol import RequestHandler

CONNECTIONS = 64
SECONDS = 10.0
# Backlog of connections in the operating system; each takes a file descriptor for a moment.
BACKLOG = 32
# A closed connection leaves aiohttp's list of open ones a moment later, and a new one gets there a moment later.
_SETTLED_SECONDS = 0.5
_LOOK_SECONDS = 1.0
_HEADER_BYTES = 4096
_HEADERS = 50


class _WithoutRequests(logging.Filter):
    """Removes the request from log records: aiohttp's errors quote it, and a path contains a customer id."""

    def filter(self, record: logging.LogRecord) -> bool:
        kind = record.exc_info[0] if record.exc_info else None
        record.msg, record.args = "a request could not be served", ()
        if kind is not None:
            record.msg += f" ({kind.__name__})"
        record.exc_info = record.exc_text = record.stack_info = None
        return True


def _logger() -> logging.Logger:
    logger = logging.getLogger("cxstream.worker.requests_refused")
    if not logger.filters:
        logger.addFilter(_WithoutRequests())
    return logger


@web.middleware
async def one_request(request: web.Request, handler: Any) -> web.StreamResponse:
    """A middleware that closes the connection after the response."""
    try:
        response: web.StreamResponse = await handler(request)
    except web.HTTPException as refusal:
        refusal.force_close()
        raise
    response.force_close()
    return response


def runner(app: web.Application) -> web.AppRunner:
    """A runner that limits the size of requests and never logs their contents."""
    return web.AppRunner(
        app,
        access_log=None,
        logger=_logger(),
        shutdown_timeout=1.0,
        keepalive_timeout=SECONDS,
        lingering_time=1.0,
        max_line_size=_HEADER_BYTES,
        max_field_size=_HEADER_BYTES,
        max_headers=_HEADERS,
    )


class LimitedServer:
    """Accepts connections for a runner that has been set up.

    Args:
        runner: as `runner` makes it.
        connections: the most at a time.
        seconds: how long a connection may be open.
    """

    def __init__(
        self, runner: web.AppRunner, *, connections: int = CONNECTIONS, seconds: float = SECONDS
    ) -> None:
        # It is set once the runner is set up.
        self._make = cast("web.Server", runner.server)
        self._connections = connections
        self._seconds = seconds
        self._since: dict[RequestHandler, float] = {}  # in order of arrival
        self._loop = asyncio.get_running_loop()
        self._listening: list[asyncio.Server] = []
        self._timer = self._loop.call_later(_LOOK_SECONDS, self._look)

    async def listen(self, **where: Any) -> asyncio.Server:
        """Accept connections; `where` as for `loop.create_server`: host and port, or sock.

        Raises:
            OSError: the address is taken, or is not one of this computer.
        """
        server = await self._loop.create_server(self._admit, backlog=BACKLOG, **where)
        self._listening.append(server)
        return server

    async def close(self) -> None:
        """Stop accepting; the runner's `cleanup` closes the open connections."""
        self._timer.cancel()
        for server in self._listening:
            server.close()

    def _admit(self) -> RequestHandler:
        now = self._loop.time()
        if len(self._since) >= self._connections:
            self._drop_closed(now)
        if len(self._since) >= self._connections:
            self._cut(next(iter(self._since)))
        handler = self._make()
        self._since[handler] = now
        return handler

    def _look(self) -> None:
        self._timer = self._loop.call_later(_LOOK_SECONDS, self._look)
        now = self._loop.time()
        self._drop_closed(now)
        for handler in [each for each, since in self._since.items() if now - since > self._seconds]:
            self._cut(handler)

    def _drop_closed(self, now: float) -> None:
        connected = set(self._make.connections)
        self._since = {
            handler: since
            for handler, since in self._since.items()
            if handler in connected or now - since < _SETTLED_SECONDS
        }

    def _cut(self, handler: RequestHandler) -> None:
        del self._since[handler]
        if isinstance(handler.transport, asyncio.Transport):
            handler.transport.abort()
