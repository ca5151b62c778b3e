"""Faust's web server with our own pages alone, behind our own doors."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import structlog
from faust.web.drivers import aiohttp

from cxstream import local_socket
from cxstream.worker.connection_limit import LimitedServer, one_request, runner
from cxstream.worker.page_access import require_host, require_right

if TYPE_CHECKING:
    from pathlib import Path

    from cxstream.settings import Settings

log = structlog.get_logger(__name__)


class Web(aiohttp.Web):  # type: ignore[misc]
    """None of Faust's own pages, which tell and change things; few connections; pages for who may see them.

    Args:
        app: Faust's.
        settings: of the worker.
        token: what opens the pages that show customers, over the network.
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
        self._socket = worker.web_socket
        self._server: LimitedServer | None = None
        self._socket_at: Path | None = None

    async def start_server(self) -> None:
        """Listen on the port, and on the Unix socket where that is possible."""
        await self._runner.setup()
        conf = self.app.conf
        self._server = LimitedServer(self._runner)
        await self._server.listen(host=conf.web_bind, port=conf.web_port)
        path = self._socket or local_socket.place(conf.web_port)
        try:
            listening = local_socket.serve(path, own_folder=self._socket is None)
        except OSError as error:
            log.warning("pages about customers need the token: no Unix socket", error=str(error))
            return
        self._socket_at = path
        await self._server.listen(sock=listening)

    async def stop_server(self) -> None:
        """Listen no more, and end what is open."""
        if self._server is not None:
            await self._server.close()
        if self._socket_at is not None:
            local_socket.remove(self._socket_at, own_folder=self._socket is None)
            self._socket_at = None
        await super().stop_server()
