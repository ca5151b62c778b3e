"""Faust's web server with our own pages and access control only."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import structlog
from faust.web.drivers import aiohttp

from cxstream.worker.web.access import require_host, require_right
from cxstream.worker.web.connection_limit import LimitedServer, one_request, runner
from cxstream.worker.web.ports import gives_way
from cxstream.worker_client import local_socket

if TYPE_CHECKING:
    from pathlib import Path

    from cxstream.settings import Settings

log = structlog.get_logger(__name__)


class Web(aiohttp.Web):  # type: ignore[misc]
    """Serves none of Faust's own pages, which show and change internals; limits connections and access.

    Args:
        app: Faust's.
        settings: of the worker.
        token: gives access over the network to pages that show customers.

    Attributes:
        port: where it listens once it is started.
    """

    default_blueprints = ()
    production_blueprints = ()
    debug_blueprints = ()
    optional_blueprints = ()
    logger = logging.getLogger("faust.web")

    def __init__(self, app: Any, settings: Settings, token: str | None) -> None:
        super().__init__(app)
        worker = settings.worker
        self.web_app.middlewares.extend([one_request, require_host(worker.web_hosts), require_right(token)])
        self._runner = runner(self.web_app)
        self._worker = worker
        self.port: int = app.conf.web_port
        self._socket = worker.web_socket
        self._server: LimitedServer | None = None
        self._socket_at: Path | None = None

    async def start_server(self) -> None:
        """Listen on the port, and on the Unix socket if that is possible."""
        await self._runner.setup()
        conf = self.app.conf
        self._server = LimitedServer(self._runner)
        try:
            await self._server.listen(host=conf.web_bind, port=conf.web_port)
        except OSError as error:
            if not gives_way(self._worker, "web_port", error):
                raise
            free = await self._server.listen(host=conf.web_bind, port=0)
            self.port = free.sockets[0].getsockname()[1]
            log.warning("the web port is in use, using a free one", port=self.port)
        path = self._socket or local_socket.place(self.port)
        try:
            listening = local_socket.serve(path, own_folder=self._socket is None)
        except OSError as error:
            log.warning("pages about customers need the token: no Unix socket", error=str(error))
            return
        self._socket_at = path
        await self._server.listen(sock=listening)

    async def stop_server(self) -> None:
        """Stop listening, and close open connections."""
        if self._server is not None:
            await self._server.close()
        if self._socket_at is not None:
            local_socket.remove(self._socket_at, own_folder=self._socket is None)
            self._socket_at = None
        await super().stop_server()
