"""The worker in the foreground: check, start, report when ready, stop cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import time
from typing import TYPE_CHECKING

import structlog
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError

from cxstream.files.scored import compile_columns
from cxstream.kafka.acls import WORKER
from cxstream.kafka.admin import administration, look, or_hidden, partitions_added
from cxstream.kafka.batch_writer import compile_writer
from cxstream.kafka.claims import Ownership
from cxstream.kafka.codecs import require_codecs
from cxstream.model.errors import BrokerError, CxstreamError, TopicError
from cxstream.scoring.engine import compile_kernels
from cxstream.topology import TIMESTAMP_TYPE, TOUCHPOINTS
from cxstream.worker import descriptors
from cxstream.worker.faust.app import create_app
from cxstream.worker.metrics.process import compile_measures

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiokafka.admin import AIOKafkaAdminClient

    from cxstream.kafka.admin import Found
    from cxstream.settings import Settings
    from cxstream.worker.faust.app import App

_POLL_SECONDS = 0.05
# Records are hundreds of thousands of short-lived objects without cycles: with Python's default
# thresholds the garbage collector takes a fifth of the time and finds nothing.
_COLLECT_AFTER = (500_000, 20, 20)

log = structlog.get_logger(__name__)


async def run(settings: Settings, announce: Callable[[str], None]) -> None:
    """Work until SIGTERM or SIGINT, then stop within `settings.worker.stop_seconds`.

    Args:
        settings: all settings.
        announce: receives the line that says that the worker is ready.

    Raises:
        BrokerError: Kafka does not answer, the worker crashed, or it could not stop in time.
        TopicError: a topic is missing, or its partition count differs from that of cx.touchpoints.
        SettingsError: the security settings do not fit together, or the control key is invalid.
        OwnershipError: the topics belong to another group, or were taken over by one.
        InstallationError: a codec of record batches cannot be decoded.
    """
    require_codecs()
    if settings.control.authority() is None:
        log.warning(
            "control.key is not set: every program that may write cx.touchpoints can erase customers and move its clock; "
            "'cxstream keys init' makes a key; see docs/security.md"
        )
    partitions = await require_worker_topics(settings)
    ownership = Ownership(settings)
    await ownership.confirm()
    started = time.monotonic()
    log.info("loading kernels; the first time they are compiled, which takes minutes")
    await asyncio.to_thread(compile_kernels)
    await asyncio.to_thread(compile_measures)
    await asyncio.to_thread(compile_writer)
    if settings.worker.scored:
        await asyncio.to_thread(compile_columns)
    log.info("kernels ready", seconds=round(time.monotonic() - started, 3))
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)
    app = create_app(settings, ownership)
    app.partitions.expect(partitions)
    shares = app.partitions.budget._asdict().items()
    log.info("memory budget", **{f"{share}_mib": size >> 20 for share, size in shares})
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    starting = asyncio.create_task(app.start(), name="start")
    try:
        await _until_asked(app, asked, starting, announce)
    finally:
        await _stop(app, starting, settings.worker.stop_seconds)
    if app.crash_reason is not None:
        raise BrokerError(f"the worker crashed: {app.crash_reason!r}; see its log") from app.crash_reason


async def require_worker_topics(settings: Settings) -> int:
    """Refuse to start if an output topic is missing or has another number of partitions.

    Returns:
        How many partitions cx.touchpoints has.

    Raises:
        BrokerError: Kafka does not answer, or does not permit this client to join the consumer group.
        TopicError: names each topic that is missing or has another number of partitions; or cx.touchpoints does not
            use the broker's timestamps.
        SettingsError: there are not enough file descriptors for the partitions.
    """
    async with administration(settings) as admin:
        found = await look(admin, settings.topology, topics=WORKER.topics)
        await _require_group(admin, settings.worker.group)
        brokers = len((await admin.describe_cluster())["brokers"])
    wrong = [
        f"{each.topic.name} is missing"
        if not each.partitions
        else f"{each.topic.name} has {each.partitions} partitions, not {each.wanted}"
        for each in found
        if each.partitions != each.wanted
    ]
    if wrong:
        if added := partitions_added(found):
            raise TopicError(f"{'; '.join(wrong)} at {settings.kafka}: {added}")
        raise TopicError(
            f"{'; '.join(wrong)} at {settings.kafka}{or_hidden(settings)}: run 'cxstream topics --create' "
            "(the number of partitions of a topic that exists cannot be changed: delete it first)"
        )
    _require_clock(found)
    partitions = found[0].wanted
    descriptors.require(descriptors.needed(partitions, brokers), partitions)
    for each in found:
        if each.differences:
            log.warning(
                "topic differs from the contract", topic=each.topic.name, differences=each.differences
            )
    return partitions


def _require_clock(found: Sequence[Found]) -> None:
    """Refuse to start if producers set the arrival time of events.

    Raises:
        TopicError: cx.touchpoints does not use the broker's timestamps.
    """
    for each in found:
        if each.topic.contract == TOUCHPOINTS.contract and TIMESTAMP_TYPE in each.wrong_config:
            raise TopicError(
                f"{each.topic.name}: {TIMESTAMP_TYPE} is {each.config.get(TIMESTAMP_TYPE)}, not LogAppendTime: who "
                "sends an event would say when it arrived, and events from the future would count: run "
                "'cxstream topics --alter-config'"
            )


async def _require_group(admin: AIOKafkaAdminClient, group: str) -> None:
    """Refuse to start if the consumer would retry forever without an error message."""
    try:
        await admin.find_coordinator(group)
    except GroupAuthorizationFailedError as error:
        raise BrokerError(
            f"{group}: Kafka does not permit this client to join the consumer group: 'cxstream topics --acls' prints what the "
            "worker must be allowed"
        ) from error
    except KafkaError:
        log.debug("no coordinator of the group yet", group=group)


async def _until_asked(
    app: App, asked: asyncio.Event, starting: asyncio.Task[None], announce: Callable[[str], None]
) -> None:
    announced = False
    while not asked.is_set() and app.crash_reason is None:
        if starting.done() and (error := starting.exception()) is not None:
            if isinstance(error, CxstreamError):
                raise error
            raise BrokerError(f"the worker could not start: {type(error).__name__}: {error}") from error
        if (dispossessed := app.partitions.dispossessed) is not None:
            raise dispossessed
        if not announced and starting.done() and app.partitions.ready:
            announced = True
            announce(_ready(app))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asked.wait(), _POLL_SECONDS)


def _ready(app: App) -> str:
    numbers = ", ".join(str(partition.number) for partition in app.partitions)
    touchpoints = app.settings.topology.touchpoints.name
    owns = (
        f"partitions {numbers} of {touchpoints}" if numbers else f"no partition of {touchpoints} left for it"
    )
    web = f", http://{app.conf.web_host}:{app.web.port}" if app.conf.web_enabled else ""
    metrics = f", metrics {app.exporter.address}" if app.exporter else ""
    return f"ready: {owns}, group {app.settings.worker.group}{metrics}{web}"


async def _stop(app: App, starting: asyncio.Task[None], seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await app.stop()
    except TimeoutError:
        raise BrokerError(
            f"the worker could not stop within {seconds:g} s (worker.stop_seconds); "
            "what was not committed is computed again by the next owner"
        ) from None
    finally:
        starting.cancel()
        await asyncio.wait([starting])
        if not starting.cancelled():
            starting.exception()  # the error has been raised already, or no longer matters
