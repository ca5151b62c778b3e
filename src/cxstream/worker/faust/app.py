"""The Faust app: connects Faust's events to the partitions.

Faust                       this package
consumer --- fetch -------> Partitions.put        (by the transport)
group ------ assigned ----> Partitions.on_assigned
       ----- revoked -----> Partitions.on_revoked
stop ----------------------> Partitions.close      (before the group is left)
web  <---------------------- /livez, /readyz, /customers/ID, and nothing else
Prometheus <---------------- Exporter             (on a port of its own)
"""

from __future__ import annotations

import asyncio
import logging
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import faust
import msgspec
from faust import web
from faust.types import TP

from cxstream.settings.secrets import secret
from cxstream.worker.clients import Kafka
from cxstream.worker.faust.offsets import Offsets
from cxstream.worker.faust.sensor import Rebalances
from cxstream.worker.faust.web_server import Web
from cxstream.worker.ownership.partitions import Partitions
from cxstream.worker.ownership.stall_detector import Watch
from cxstream.worker.telemetry.exporter import Exporter
from cxstream.worker.ticker import Ticker
from cxstream.worker.web.inspect import inspect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cxstream.kafka.claims import Ownership
    from cxstream.settings import Settings

_WATCH_SECONDS = 5.0
_COUNT_SECONDS = 1.0
_FOR_EVER_SECONDS = 86_400.0


class Boot(faust.App.BootStrategy):  # type: ignore[misc]
    """Starts Faust without its producer: the producers of the partitions write the results."""

    enable_kafka_producer = False


class App(faust.App):  # type: ignore[misc]
    """A Faust app that owns partitions.

    Attributes:
        settings: all settings.
        web_token: gives access over the network to pages that show customers; None: no access.
        partitions: the partitions owned now.
        watch: detects partitions that make no progress.
        ticker: writes the ticks; None if another program does.
        exporter: serves the metrics; None if they are disabled.
    """

    BootStrategy = Boot
    logger = logging.getLogger("faust.app")
    settings: Settings
    web_token: str | None = None
    partitions: Partitions
    watch: Watch
    ticker: Ticker | None = None
    exporter: Exporter | None = None

    def _new_web(self) -> Web:
        return Web(self, self.settings, self.web_token)

    async def on_first_start(self) -> None:
        """Do nothing: Faust would create a data folder, but no data is stored on this computer."""
        if self.exporter is not None:
            self.exporter.start()

    def _on_rebalance_when_stopped(self) -> None:
        """Do nothing: Faust would close the consumer from the wrong thread, and it could not leave the group."""

    @property
    def ready(self) -> bool:
        """Whether all assigned partitions run and make progress."""
        return (
            self.partitions.ready
            and not self.rebalancing
            and not self.watch.stalls
            and not self.partitions.unreadable
        )


def create_app(settings: Settings, ownership: Ownership | None = None) -> App:
    """Build the app without starting anything.

    Args:
        settings: all settings.
        ownership: the known owner of the topics; None to find out.

    Raises:
        SettingsError: the security settings do not fit together, or the token cannot be read or is too short.
    """
    app = App(settings.worker.group, **_faust_settings(settings))
    app.settings = settings
    app.web_token = secret(settings.worker, "web_token", "worker")
    app.partitions = Partitions(settings, Kafka(settings, settings.worker.group, ownership))
    _add_agent(app)
    _add_lifecycle(app)
    _add_watch(app)
    _add_pages(app)
    if settings.worker.ticker:
        _add_ticker(app)
    if settings.worker.metrics:
        _add_exporter(app)
    return app


def _faust_settings(settings: Settings) -> dict[str, Any]:
    worker = settings.worker
    return {
        # Faust reads variables without a prefix of its own: WEB_BIND, APP_DEBUG, BROKER_URL and a hundred more.
        "env": {},
        "broker": [f"cxstream://{server.strip()}" for server in settings.kafka.split(",")],
        "broker_session_timeout": worker.session_seconds,
        # Only Faust uses it: the limit for seeking after a rebalance, after which it gives up permanently;
        # the requests themselves have a limit.
        "broker_request_timeout": _FOR_EVER_SECONDS,
        "consumer_auto_offset_reset": "earliest",
        "store": "memory://",
        "datadir": Path(tempfile.gettempdir()),
        "autodiscover": False,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        # Fetches only pass through Faust's own queue; they wait in the partitions.
        "stream_buffer_maxsize": 64,
        "web_enabled": worker.web,
        "web_bind": worker.web_host,
        "web_host": worker.web_host,
        "web_port": worker.web_port or _free_port(worker.web_host),
    }


def _free_port(host: str) -> int:
    """Faust needs the port in advance; if another process takes it in between, the server takes another one."""
    with socket.create_server((host, 0)) as server:
        return int(server.getsockname()[1])


def _add_agent(app: App) -> None:
    # acks=False: Faust neither tracks nor commits these; their offsets are committed together with their results.
    touchpoints = app.topic(app.settings.topology.touchpoints.name, acks=False)

    @app.agent(touchpoints, name="touchpoints")  # type: ignore[untyped-decorator]
    async def subscribe(records: AsyncIterator[Any]) -> None:
        """Have the group assign the topic; the transport passes its fetches to the partitions itself."""
        async for _ in records:
            raise AssertionError("a fetch came as single records")


def _add_lifecycle(app: App) -> None:
    # Faust keeps weak references to receivers; without `weak=False` they would be collected after this function.
    @app.on_partitions_assigned.connect(weak=False)  # type: ignore[untyped-decorator]
    async def assigned(_app: App, tps: set[TP], **_: Any) -> None:
        # The leader of the group may know of new partitions before this worker does.
        touchpoints = app.settings.topology.touchpoints.name
        least = 1 + max((tp.partition for tp in tps if tp.topic == touchpoints), default=-1)
        await app.partitions.check_count(_count(app), least)
        await app.partitions.on_assigned(tps)

    @app.on_partitions_revoked.connect(weak=False)  # type: ignore[untyped-decorator]
    async def revoked(_app: App, tps: set[TP], **_: Any) -> None:
        await app.partitions.on_revoked(tps)

    @app.on_before_shutdown.connect(weak=False)  # type: ignore[untyped-decorator]
    async def stopping(_app: App, **_: Any) -> None:
        await app.partitions.close()


def _count(app: App) -> int | None:
    """How many partitions cx.touchpoints has, by the consumer's latest metadata; None before it has started."""
    try:
        count: int | None = app.consumer.topic_partitions(app.settings.topology.touchpoints.name)
    except AttributeError:  # a consumer that is being started or stopped lacks some parts
        return None
    return count


def _add_watch(app: App) -> None:
    seconds = app.settings.worker.stalled_seconds

    async def progress(number: int) -> tuple[int | None, int]:
        tp = TP(app.settings.topology.touchpoints.name, number)
        async with asyncio.timeout(seconds):
            ends = await app.consumer.highwaters(tp)
            return await app.consumer.position(tp), int(ends[tp])

    app.watch = Watch(app.partitions, seconds, progress, lambda: app.partitions.unreadable)

    @app.timer(interval=min(_WATCH_SECONDS, seconds / 2), name="watch")  # type: ignore[untyped-decorator]
    async def watch() -> None:
        app.partitions.check_memory()
        await app.watch.look(rebalancing=app.rebalancing)

    @app.timer(interval=_COUNT_SECONDS, name="partition count")  # type: ignore[untyped-decorator]
    async def count() -> None:
        if app.partitions.assigned:
            await app.partitions.check_count(_count(app))


def _add_pages(app: App) -> None:
    @app.page("/livez", name="livez")  # type: ignore[untyped-decorator]
    async def livez(view: web.View, request: web.Request) -> web.Response:  # noqa: ARG001
        return view.json({"status": "ok"})

    @app.page("/readyz", name="readyz")  # type: ignore[untyped-decorator]
    async def readyz(view: web.View, request: web.Request) -> web.Response:  # noqa: ARG001
        stalled = {str(number): reason for number, reason in app.watch.stalls.items()}
        stalled |= {str(number): reason for (_, number), reason in app.partitions.unreadable.items()}
        ready = app.ready
        states = {str(partition.number): partition.state for partition in app.partitions}
        body = {"ready": ready, "partitions": states, **({"stalled": stalled} if stalled else {})}
        if stuck := app.partitions.standstills(app.watch.stalls):
            body["no_progress"] = {
                str(number): {"offset": at.offset, "reason": at.reason} for number, at in stuck.items()
            }
        if app.partitions.halted:
            body["halted"] = app.partitions.halted
        return view.json(body, status=200 if ready else 503)

    # A customer id may contain any character, even slashes.
    @app.page("/customers/{customer:.+}", name="customer")  # type: ignore[untyped-decorator]
    async def customer(view: web.View, request: web.Request, customer: str) -> web.Response:  # noqa: ARG001
        status, found = inspect(app.partitions, customer)
        return view.bytes(msgspec.json.encode(found), content_type="application/json", status=status)


def _add_ticker(app: App) -> None:
    async def read_to_end(number: int, applied: int) -> bool:
        tp = TP(app.settings.topology.touchpoints.name, number)
        if tp not in app.consumer.assignment() or applied < app.consumer.handed_out(tp):
            return False
        position, end = await app.consumer.position(tp), app.consumer.highwater(tp)
        return position is not None and end is not None and position >= end

    app.ticker = ticker = Ticker(app.settings, app.partitions, read_to_end)

    @app.timer(interval=app.settings.worker.tick_seconds, name="ticker")  # type: ignore[untyped-decorator]
    async def tick() -> None:
        if app.partitions.ready and not app.rebalancing:
            await ticker.tick()

    @app.on_before_shutdown.connect(weak=False)  # type: ignore[untyped-decorator]
    async def stop_ticker(_app: App, **_: Any) -> None:
        await ticker.stop()


def _add_exporter(app: App) -> None:
    offsets = Offsets(app.partitions, app.settings.topology.touchpoints.name, lambda: app.consumer)
    rebalances = Rebalances()
    app.sensors.add(rebalances)
    app.exporter = exporter = Exporter(app, offsets, rebalances)

    @app.on_before_shutdown.connect(weak=False)  # type: ignore[untyped-decorator]
    async def stop_exporter(_app: App, **_: Any) -> None:
        await exporter.stop()
