"""Reads what the worker commits, as a CRM would, and how far the worker is."""

from __future__ import annotations

import asyncio
import re
import time
import urllib.request
from array import array
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from cxstream.kafka.admin import administration
from cxstream.kafka.connection import connection
from cxstream.model.errors import BrokerError
from cxstream.model.outputs import read_signal
from cxstream.topology import RESENT

if TYPE_CHECKING:
    from collections.abc import Callable

    from cxstream.demo.board import Board, Line
    from cxstream.settings import Settings

_PROGRESS_SECONDS = 0.25
_ANSWER_SECONDS = 5.0
_EVENTS = "cxstream_events_total"
_DUPLICATES = re.compile(rf'^{_EVENTS}{{[^}}]*outcome="duplicate"[^}}]*}} (\S+)$', re.MULTILINE)

# The worker is on this computer: no proxy is asked.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Watch:
    """Keeps a board up to date.

    Args:
        settings: where Kafka is, and the worker's group.
        board: what to keep up to date.
        tell: called with each signal.
        partitions: of the topics.
    """

    def __init__(
        self, settings: Settings, board: Board, tell: Callable[[Line], None], partitions: int
    ) -> None:
        self._caught_up = float("inf")
        self._settings = settings
        self._board = board
        self._tell = tell
        self._partitions = partitions
        self._came = [array("q") for _ in range(partitions)]

    async def run(self) -> None:
        """Watch until cancelled.

        Raises:
            BrokerError: Kafka does not answer.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._results())
                tasks.create_task(self._arrivals())
                tasks.create_task(self._progress())
        except* KafkaError as errors:
            raise BrokerError(f"{self._settings.kafka}: {errors.exceptions[0]!r}") from errors

    async def _read(self, topics: tuple[str, ...], take: Callable[[Any], None]) -> None:
        consumer = AIOKafkaConsumer(**connection(self._settings), isolation_level="read_committed")
        await consumer.start()
        try:
            assigned = [
                TopicPartition(topic, number) for topic in topics for number in range(self._partitions)
            ]
            consumer.assign(assigned)
            await consumer.seek_to_beginning(*assigned)
            while True:
                for records in (await consumer.getmany(timeout_ms=250)).values():
                    for record in records:
                        take(record)
        finally:
            await consumer.stop()

    async def _results(self) -> None:
        topics = self._settings.topology
        await self._read((topics.churn_risk.name, topics.friction.name, topics.rejected.name), self._result)

    async def _arrivals(self) -> None:
        await self._read(
            (self._settings.topology.touchpoints.name,),
            lambda record: self._came[record.partition].append(record.timestamp),
        )

    def _result(self, record: Any) -> None:
        if record.topic == self._settings.topology.rejected.name:
            reason = dict(record.headers)["reason"].decode()
            if reason != RESENT:
                self._board.rejected[reason] += 1
            return
        signal = read_signal(record.value)
        self._tell(self._board.signal(signal))
        cause = signal.data.cause
        came = self._came[cause.partition]
        if cause.offset < len(came) and came[cause.offset] >= self._caught_up:
            self._board.delays.append(time.time() - came[cause.offset] / 1000)

    async def _progress(self) -> None:
        async with administration(self._settings) as admin:
            while True:
                try:
                    committed = await admin.list_consumer_group_offsets(self._settings.worker.group)
                except KafkaError as error:
                    # A Kafka that has just begun is still choosing who keeps the offsets.
                    if not error.retriable:
                        raise
                else:
                    touchpoints = self._settings.topology.touchpoints.name
                    done = [at.offset for where, at in committed.items() if where.topic == touchpoints]
                    self._done(sum(max(0, offset) for offset in done))
                    await self.ask()
                await asyncio.sleep(_PROGRESS_SECONDS)

    async def ask(self) -> None:
        """Ask the worker for the number of duplicates, which it alone knows."""
        await asyncio.to_thread(self._duplicates)

    def _duplicates(self) -> None:
        if (address := self._board.metrics) is None:
            return
        try:
            with _opener.open(f"{address}?name[]={_EVENTS}", timeout=_ANSWER_SECONDS) as answer:
                counts = _DUPLICATES.findall(answer.read().decode())
        except OSError:  # it is busy, or ends
            return
        self._board.duplicates = sum(int(float(count)) for count in counts)

    def _done(self, records: int) -> None:
        board = self._board
        board.done = records
        # A delay says nothing while the worker is still busy with the history.
        if self._caught_up == float("inf") and board.history is not None and records >= board.history:
            self._caught_up = time.time() * 1000
