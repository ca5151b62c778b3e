"""The metrics server, on a port and in a thread of its own.

It answers even while the worker's event loop is busy or hangs. One thread makes all
responses, one after the other, so many clients take no more CPU time than one.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client.exposition import choose_encoder

from cxstream.worker.web.access import require_host
from cxstream.worker.web.connection_limit import LimitedServer, one_request, runner

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import CollectorRegistry

_STOP_SECONDS = 5.0


class MetricsServer:
    """Serves GET /metrics.

    Args:
        registry: what is served.
        hosts: accepted Host names, besides those of this computer.
    """

    def __init__(self, registry: CollectorRegistry, hosts: Iterable[str]) -> None:
        self._registry = registry
        self._app = web.Application(middlewares=[one_request, require_host(hosts)])
        self._app.router.add_get("/metrics", self._metrics)
        self._stopping = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._socket: socket.socket | None = None

    def start(self, host: str, port: int) -> int:
        """Start serving; returns the port, which is a free one if 0 was requested.

        Raises:
            OSError: the port is taken, or the address is not one of this computer.
        """
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        self._socket = socket.create_server(address[:2], family=family)
        self._socket.setblocking(False)
        found = int(self._socket.getsockname()[1])
        self._thread.start()
        return found

    def stop(self) -> None:
        """Stop serving."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        serving = runner(self._app)
        await serving.setup()
        server = LimitedServer(serving)
        await server.listen(sock=self._socket)
        await self._stopping.wait()
        await server.close()
        await serving.cleanup()

    async def _metrics(self, request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        names = request.query.getall("name[]", [])
        registry = self._registry.restricted_registry(names) if names else self._registry
        answer = web.Response(body=encode(registry), headers={"Content-Type": content_type})
        answer.enable_compression()
        return answer
