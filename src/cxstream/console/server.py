"""Runs the console on uvicorn."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import uvicorn

from cxstream.console.app import LOCAL_HOSTS, create_app
from cxstream.model.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cxstream.settings import Settings

_STOP_SECONDS = 3


def serve(settings: Settings, warehouse: Path, say: Callable[[str], None]) -> None:
    """Serve the console until Ctrl-C.

    Args:
        settings: of the installation; `console` says where.
        warehouse: file of the read model.
        say: told the address once the server answers there.

    Raises:
        SettingsError: the address cannot be used, or is not of this computer alone.
    """
    with _listening(settings.console.host, settings.console.port) as listener:
        config = uvicorn.Config(
            create_app(settings, warehouse),
            log_level=settings.log_level,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_STOP_SECONDS,
            log_config=None,
        )
        host = settings.console.host
        shown = f"[{host}]" if ":" in host else host
        say(f"http://{shown}:{listener.getsockname()[1]}/")
        uvicorn.Server(config).run(sockets=[listener])


def _listening(host: str, port: int) -> socket.socket:
    if host not in LOCAL_HOSTS:
        raise SettingsError(
            f"console.host: {host} can be reached by other computers, and the console has no sign-in yet: use 127.0.0.1"
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"console.port: {host} port {port}: {error.strerror}: name another one with --port; 0 takes a free one"
        ) from error
    return listener
