"""Keeps a warehouse up to date from Kafka.

The consumer is aiokafka's, without a group, and no Faust agent: the positions are in the file, in the transaction with
the rows that they follow from, so that each record counts exactly once. A group would be a second place for positions,
its rebalances would move partitions to processes that do not have the file, and there is nothing to share: one
process writes the file.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from cxstream.insights.detector import NEVER
from cxstream.kafka.producer import sending
from cxstream.kafka.reader import reading
from cxstream.model.errors import BrokerError
from cxstream.topology import INSIGHTS
from cxstream.warehouse.feed import TOPICS, Feed
from cxstream.warehouse.ingest import Ingest
from cxstream.warehouse.metrics import FollowMetrics
from cxstream.warehouse.place_signals import PlaceWatch, mark_sent, open_alarms, unsent
from cxstream.warehouse.predictions import PredictionWatch
from cxstream.warehouse.retention import retain
from cxstream.warehouse.work import endings, send_endings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cxstream.kafka.reader import TopicReader
    from cxstream.settings import Settings
    from cxstream.warehouse.store import Store

_RETRY_SECONDS = 5.0
# A new consumer sees partitions that were added.
_CONSUMER_SECONDS = 600.0
# How often work that is to end is interrupted.
_AGAIN_SECONDS = 0.1

log = structlog.get_logger(__name__)


async def follow(
    settings: Settings,
    store: Store,
    announce: Callable[[str], None],
    *,
    until_end: bool = False,
    accept_loss: bool = False,
    metrics: FollowMetrics | None = None,
    ended_by: asyncio.Event | None = None,
    copied_by: asyncio.Event | None = None,
) -> None:
    """Take in records as they come, until SIGTERM or SIGINT; SIGUSR1 makes a copy for readers.

    Args:
        settings: all settings.
        store: the warehouse.
        announce: receives a line when all that was there is taken in for the first time.
        until_end: stop then.
        accept_loss: go on where the log has lost records that were not read.
        metrics: told what is done.
        ended_by: ends it when it is set, instead of the signals, which only the main thread has.
        copied_by: with `ended_by`: makes a copy for readers when it is set.

    Raises:
        BrokerError: Kafka does not answer at first.
        TopicError: a topic is missing.
        LostRecordsError: the log no longer has records that were not read.
        WarehouseError: the disk is full, or the memory does not suffice.
        InputError: the model card cannot be read.
    """
    with (
        _signals()
        if ended_by is None
        else contextlib.nullcontext((ended_by, copied_by or asyncio.Event())) as (
            stop,
            wanted,
        )
    ):
        keeper = _Keeper(settings, store, wanted)
        metrics = metrics or FollowMetrics([topic.contract for topic in TOPICS])
        feed = Feed(
            settings, store, Ingest(store), stopped=stop.is_set, accept_loss=accept_loss, metrics=metrics
        )
        alerts = _Alerts(settings, store, metrics, stop.is_set)
        predictions = PredictionWatch(store, settings, metrics)
        ready = False
        while not stop.is_set():
            try:
                async with reading(settings, alerts.topics) as reader:
                    opened = time.monotonic()
                    while not stop.is_set() and time.monotonic() < opened + _CONSUMER_SECONDS:
                        keeper.retain()
                        await _step(feed, reader, store, metrics)
                        if not stop.is_set():
                            await alerts.step()
                            await _end_work(settings, store)
                            await _predict(predictions, stop)
                        if not ready and not stop.is_set():
                            ready = True
                            announce(f"ready: {store.path} is up to date")
                        keeper.keep()
                        if until_end:
                            return
                        with contextlib.suppress(TimeoutError):
                            async with asyncio.timeout(settings.warehouse.flush_seconds):
                                await stop.wait()
            except BrokerError as error:
                metrics.failed("kafka")
                if not ready:
                    raise
                log.warning("Kafka does not answer; trying again", error=str(error))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_RETRY_SECONDS):
                        await stop.wait()


async def _step(feed: Feed, reader: TopicReader, store: Store, metrics: FollowMetrics) -> None:
    started = time.monotonic()
    rows = await feed.catch_up(reader)
    seconds = time.monotonic() - started
    if not feed.lag:
        metrics.taken(rows, seconds)
        store.caught_up()
    if rows:
        log.info("taken in", rows=rows, seconds=round(seconds, 3), lag=feed.lag)


async def _end_work(settings: Settings, store: Store) -> None:
    """End in cx.work what erased customers had there; what Kafka has not confirmed is sent again."""
    waiting = endings(store)
    if waiting:
        async with sending(settings, settings.topology.work) as sender:
            await send_endings(store, sender, waiting)
        log.info("work on erased customers ended", items=len(waiting))


async def _predict(predictions: PredictionWatch, stop: asyncio.Event) -> None:
    """Compare predictions, unless it is time to stop: it may take minutes, and the loop reads Kafka and serves meanwhile."""
    working = asyncio.ensure_future(asyncio.to_thread(predictions.step))
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        while not working.done():
            # Between two queries nobody hears it.
            predictions.interrupt()
            await asyncio.wait((working,), timeout=_AGAIN_SECONDS)
    finally:
        stopping.cancel()
    await working


class _Alerts:
    """Signals about places: found, then sent; what Kafka has not confirmed is sent again, with the same id."""

    def __init__(
        self, settings: Settings, store: Store, metrics: FollowMetrics, stopped: Callable[[], bool]
    ) -> None:
        self._settings, self._store, self._metrics, self._stopped = settings, store, metrics, stopped
        self._watch = PlaceWatch(store, settings.insights)
        wanted = settings.insights.publish and bool(settings.insights.measures)
        self._publishes = wanted
        self.topics = (*TOPICS, INSIGHTS) if wanted else TOPICS
        metrics.open_alarms(open_alarms(store))

    async def step(self) -> None:
        found = self._watch.advance(stopped=self._stopped)
        if self._watch.closed != NEVER:
            self._metrics.watched((self._watch.closed + 1) * 60.0)
        if found:
            self._metrics.open_alarms(open_alarms(self._store))
        waiting = unsent(self._store) if self._publishes else []
        self._metrics.waiting(len(waiting))
        if not waiting:
            return
        async with sending(self._settings, self._settings.topology.insights) as sender:
            await sender.send([each.key for each in waiting], [each.value for each in waiting])
        mark_sent(self._store, waiting)
        self._metrics.waiting(0)
        for each in waiting:
            self._metrics.sent(each.change)
        log.info("signals about places sent", signals=len(waiting))


class _Keeper:
    """Retention, compaction and copies for readers, when they are due."""

    def __init__(self, settings: Settings, store: Store, wanted: asyncio.Event) -> None:
        self._settings, self._store, self._wanted = settings.warehouse, store, wanted
        # Never yet: readers need not wait for the interval at the start.
        self._published = -math.inf

    def retain(self) -> None:
        today = datetime.now(UTC).date()
        deleted = retain(self._store, today - timedelta(days=self._settings.keep_days - 1))
        if deleted:
            log.info("days beyond warehouse.keep_days deleted", rows=deleted)

    def keep(self) -> None:
        since = self._store.get("deleted_at")
        if since is not None and time.time() >= int(since) + self._settings.compact_hours * 3600:
            self._store.compact()
            log.info("rewritten without what was deleted", bytes=self._store.path.stat().st_size)
        minutes = self._settings.publish_minutes
        due = minutes is not None and time.monotonic() >= self._published + minutes * 60
        if due or self._wanted.is_set():
            self._wanted.clear()
            self._store.publish()
            self._published = time.monotonic()
            log.info("copied for readers")


@contextlib.contextmanager
def _signals() -> Iterator[tuple[asyncio.Event, asyncio.Event]]:
    """Events that SIGTERM or SIGINT, and SIGUSR1, set."""
    loop = asyncio.get_running_loop()
    stop, wanted = asyncio.Event(), asyncio.Event()
    handled = {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGUSR1: wanted}
    for number, event in handled.items():
        loop.add_signal_handler(number, event.set)
    try:
        yield stop, wanted
    finally:
        for number in handled:
            loop.remove_signal_handler(number)
