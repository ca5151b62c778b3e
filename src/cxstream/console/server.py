"""Runs the console on uvicorn."""

from __future__ import annotations

import signal
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import uvicorn

from cxstream.console.app import LOCAL_HOSTS, create_app
from cxstream.console.following import Follower, Shared
from cxstream.console.metrics import ConsoleMetrics
from cxstream.model.errors import SettingsError
from cxstream.warehouse.feed import TOPICS
from cxstream.warehouse.metrics import FollowMetrics
from cxstream.worker.telemetry.metrics_server import MetricsServer, served

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cxstream.settings import Console, Settings

# Streams to browsers have no end of their own.
_STOP_SECONDS = 1


def serve(settings: Settings, warehouse: Path, say: Callable[[str], None], *, follows: bool = False) -> None:
    """Serve the console until Ctrl-C.

    Args:
        settings: of the installation; `console` says where.
        warehouse: file of the read model.
        say: told the address once the server answers there.
        follows: also keep the file up to date from Kafka; it must not be open elsewhere.

    Raises:
        SettingsError: the address cannot be used, or is not of this computer alone.
        CxstreamError: what `follow` raises.
    """
    console = settings.console
    check(console, has_provider=settings.oidc.issuer is not None)
    metrics = ConsoleMetrics()
    told = MetricsServer(metrics.registry, (*console.hosts, *console.metrics_hosts), metrics)
    with ExitStack() as stack:
        listener = stack.enter_context(_listening(console.host, console.port))
        where = stack.enter_context(served(told, "console", console.metrics_host, console.metrics_port))
        store = stack.enter_context(Shared(warehouse, settings.warehouse)) if follows else None
        config = configured(settings, warehouse, metrics, store)
        shown = f"[{console.host}]" if ":" in console.host else console.host
        say(
            f"http{'s' if console.cert_file else ''}://{shown}:{listener.getsockname()[1]}/{f', metrics at {where}' if where else ''}"
        )
        server = uvicorn.Server(config)
        if store is None:
            server.run(sockets=[listener])
        else:
            followed = FollowMetrics([topic.contract for topic in TOPICS], metrics.registry)
            _run_with_follower(server, listener, settings, store, followed)


def _run_with_follower(
    server: uvicorn.Server, listener: socket.socket, settings: Settings, store: Shared, metrics: FollowMetrics
) -> None:
    """Serve and follow; if one of them ends, so does the other."""

    def end() -> None:
        server.should_exit = True

    follower = Follower(settings, store, end, metrics)
    before = {
        # uvicorn raises the signal that has ended it once more, which would end the process before the file is closed.
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda *_: None),
        signal.SIGUSR1: signal.signal(signal.SIGUSR1, lambda *_: follower.copy()),
    }
    follower.start()
    try:
        server.run(sockets=[listener])
    finally:
        follower.stop()
        for number, handler in before.items():
            signal.signal(number, handler)
    if follower.error is not None:
        raise follower.error


def configured(
    settings: Settings, warehouse: Path, metrics: ConsoleMetrics, store: Shared | None = None
) -> uvicorn.Config:
    """How the server runs; with a store, pages read it instead of the file."""
    console = settings.console
    return uvicorn.Config(
        create_app(settings, warehouse, (*LOCAL_HOSTS, *console.hosts), metrics, store, is_served=True),
        log_level=settings.log_level,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_STOP_SECONDS,
        log_config=None,
        ssl_certfile=console.cert_file,
        ssl_keyfile=console.key_file,
        # Others could name any address as theirs, and limits count by address.
        proxy_headers=bool(console.proxies),
        forwarded_allow_ips=list(console.proxies),
    )


def check(console: Console, *, has_provider: bool = False) -> None:
    """Refuse to be reached by others without sign-in or without encryption.

    Raises:
        SettingsError: the settings would allow it.
    """
    if (console.cert_file is None) != (console.key_file is None):
        raise SettingsError("console.cert_file and console.key_file: set both, or neither")
    if console.host in LOCAL_HOSTS:
        return
    reason = f"console.host: {console.host} can be reached by other computers: "
    if console.users_file is None and not has_provider:
        raise SettingsError(
            f"{reason}let people sign in, by console.users_file ('cxstream serve --add-user NAME') or by an OpenID "
            "provider (oidc.issuer), or use 127.0.0.1"
        )
    if console.cert_file is None and not console.behind_tls:
        raise SettingsError(
            f"{reason}signing in needs https: set console.cert_file and console.key_file, or console.behind_tls behind a "
            "proxy that speaks https"
        )
    if not console.hosts:
        raise SettingsError(
            f"{reason}name it as browsers call it in console.hosts, such as ['cx.example.org']"
        )


def _listening(host: str, port: int) -> socket.socket:
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
