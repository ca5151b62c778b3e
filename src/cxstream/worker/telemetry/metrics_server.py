"""The metrics server, on a port and in a thread of its own.

It answers even while the worker's event loop is busy or hangs. One thread makes all
responses, one after the other, so many clients take no more CPU time than one.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from aiohttp import web
from prometheus_client.exposition import choose_encoder

from cxstream.model.errors import SettingsError
from cxstream.worker.web.access import require_host
from cxstream.worker.web.connection_limit import LimitedServer, one_request, runner

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client import CollectorRegistry

_STOP_SECONDS = 5.0


class Health(Protocol):
    """Whether a process is well. It is asked in the thread of the server."""

    def hangs(self) -> str | None:
        """Why it has to be started again; None if it works."""
        ...

    def unready(self) -> str | None:
        """Why it cannot do its work yet; None if it can."""
        ...


class MetricsServer:
    """Serves GET /metrics, and /livez and /readyz of a process without a web server of its own.

    Args:
        registry: what is served.
        hosts: accepted Host names, besides those of this computer.
        health: answers /livez and /readyz; without it there are none.
    """

    def __init__(
        self, registry: CollectorRegistry, hosts: Iterable[str], health: Health | None = None
    ) -> None:
        self._registry = registry
        self._app = web.Application(middlewares=[one_request, require_host(hosts)])
        self._app.router.add_get("/metrics", self._metrics)
        if health is not None:
            self._health = health
            self._app.router.add_get("/livez", self._livez)
            self._app.router.add_get("/readyz", self._readyz)
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

    async def _livez(self, _: web.Request) -> web.Response:
        problem = self._health.hangs()
        if problem is None:
            return web.json_response({"status": "ok"})
        return web.json_response({"status": "hangs", "reason": problem}, status=503)

    async def _readyz(self, _: web.Request) -> web.Response:
        problem = self._health.unready()
        if problem is None:
            return web.json_response({"ready": True})
        return web.json_response({"ready": False, "reason": problem}, status=503)


@contextmanager
def served(server: MetricsServer, section: str, host: str, port: int | None) -> Iterator[str]:
    """Serve meanwhile, if there is a port; yields the address of the metrics, or "" without one.

    Args:
        server: not started.
        section: of the settings, for the error.
        host: address to listen on.
        port: 0 takes a free one.

    Raises:
        SettingsError: the port is taken, or the address is not one of this computer.
    """
    if port is None:
        yield ""
        return
    try:
        found = server.start(host, port)
    except OSError as error:
        raise SettingsError(
            f"{section}.metrics_port: {host}:{port}: {error.strerror or error}: choose another, or 0 for a free one"
        ) from error
    shown = f"[{host}]" if ":" in host else host
    try:
        yield f"http://{shown}:{found}/metrics"
    finally:
        server.stop()
