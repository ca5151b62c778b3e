"""Keeps a database up to date from Kafka.

The consumer is aiokafka's, without a group: the positions are in the database, in the transaction with the rows that they
follow from, so that each record counts exactly once.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from typing import TYPE_CHECKING

import structlog

from cxstream.kafka.reader import reading
from cxstream.model.errors import BrokerError
from cxstream.sink.database import Database, UnavailableError
from cxstream.sink.feed import TOPICS, Feed, take_out
from cxstream.sink.ingest import Ingest
from cxstream.sink.partitions import Partitions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cxstream.kafka.reader import TopicReader
    from cxstream.settings import Settings
    from cxstream.sink.address import Address
    from cxstream.sink.metrics import Metrics
    from cxstream.sink.records import Rows

_FIRST_RETRY, _LAST_RETRY = 1.0, 60.0
# A new consumer sees partitions that were added.
_CONSUMER_SECONDS = 600.0
_KEEP_SECONDS = 3600.0

log = structlog.get_logger(__name__)


async def follow(
    settings: Settings,
    address: Address,
    announce: Callable[[str], None],
    metrics: Metrics,
    *,
    until_end: bool = False,
    accept_loss: bool = False,
) -> None:
    """Take in records as they come, until SIGTERM or SIGINT.

    Args:
        settings: all settings.
        address: the database.
        announce: receives a line when all that was there is taken in for the first time.
        metrics: told of what happens.
        until_end: stop then.
        accept_loss: go on where the log has lost records that were not read.

    Raises:
        BrokerError: Kafka does not answer at first.
        TopicError: a topic is missing.
        LostRecordsError: the log no longer has records that were not read.
        FencedError: another process writes the database now.
        SinkError: the database does not answer at first, or refuses something.
    """
    with _stopping() as stop:
        writer = _Writer(settings, address, metrics, stop, accept_loss=accept_loss)
        wait = _FIRST_RETRY
        try:
            while not stop.is_set():
                try:
                    async with reading(settings, TOPICS) as reader:
                        opened = time.monotonic()
                        while not stop.is_set() and time.monotonic() < opened + _CONSUMER_SECONDS:
                            await writer.step(reader)
                            wait = _FIRST_RETRY
                            if not writer.ready and not stop.is_set():
                                writer.ready = True
                                announce(f"ready: {address.shown} is up to date")
                            if until_end:
                                return
                            await _pause(stop, settings.sink.flush_seconds)
                except (BrokerError, UnavailableError) as error:
                    metrics.failed("kafka" if isinstance(error, BrokerError) else "postgresql")
                    if not writer.started:
                        raise
                    log.warning("trying again", error=str(error), seconds=wait)
                    await _pause(stop, wait)
                    wait = min(2 * wait, _LAST_RETRY)
                    if isinstance(error, UnavailableError):
                        writer.lost = True
        finally:
            writer.close()


class _Writer:
    """What writes: the connection, and what is kept in memory beside it.

    Attributes:
        started: whether database and Kafka have answered.
        ready: whether all that was there has been taken in.
        lost: the connection is to be made again.
    """

    def __init__(
        self,
        settings: Settings,
        address: Address,
        metrics: Metrics,
        stop: asyncio.Event,
        *,
        accept_loss: bool,
    ) -> None:
        self.started = self.ready = self.lost = False
        self._settings, self._metrics = settings, metrics
        self._database = Database(address, settings.sink)
        try:
            self._database.migrate()
            self._database.claim()
            self._partitions = Partitions(self._database, settings.sink)
            self._partitions.keep()
            self._ingest = Ingest(self._database, self._partitions, settings)
        except BaseException:
            self.close()
            raise
        self._feed = Feed(
            settings,
            self._database,
            self._ingest,
            stopped=stop.is_set,
            accept_loss=accept_loss,
            committed=self._committed,
        )
        self._kept = time.monotonic()
        self._recounted: float | None = None

    def _committed(self, rows: Rows) -> None:
        self._metrics.committed(rows)
        self._metrics.lag(self._feed.lag)

    async def step(self, reader: TopicReader) -> None:
        """Take in what is there."""
        if self.lost:
            self._database.reconnect()
            self._partitions.forget()
            self._ingest.erasures.load(self._database)
            self.lost = False
            log.info("connected again")
        self.started = True
        began = time.monotonic()
        rows = await self._feed.catch_up(reader)
        self._metrics.lag(self._feed.lag, whole=True)
        if rows:
            seconds = round(time.monotonic() - began, 3)
            log.info("taken in", rows=rows, seconds=seconds, lag=sum(self._feed.lag.values()))
        if self._ingest.erasures.pending and self._is_due():
            taken = await take_out(self._settings, self._database, self._ingest, reader)
            self._recounted = time.monotonic()
            log.info("touchpoints of erased customers are taken out of the aggregates", touchpoints=taken)
        if time.monotonic() >= self._kept + _KEEP_SECONDS:
            self._partitions.keep()
            self._kept = time.monotonic()

    def _is_due(self) -> bool:
        before, minutes = self._recounted, self._settings.sink.recount_minutes
        return before is None or time.monotonic() >= before + minutes * 60

    def close(self) -> None:
        """Close the connection."""
        self._database.close()


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()


@contextlib.contextmanager
def _stopping() -> Iterator[asyncio.Event]:
    """An event that SIGTERM and SIGINT set."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
