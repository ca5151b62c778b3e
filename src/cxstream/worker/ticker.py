"""Moves the clock of idle partitions: a tick for each owned partition that is read to its end."""

from __future__ import annotations

import asyncio
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import aiokafka
import msgspec
import structlog

from cxstream.kafka.connection import connection
from cxstream.model.kinds import TICK_TYPE
from cxstream.model.rfc3339 import rfc3339
from cxstream.worker.clients import discard, started

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cxstream.scoring.codec.signatures import Authority
    from cxstream.settings import Settings
    from cxstream.worker.ownership.partition import Partition
    from cxstream.worker.ownership.partitions import Partitions

_EPOCH = datetime.fromtimestamp(0, UTC)
# A tick that would be later than this is skipped; the next one follows.
_TICK_SECONDS = 20.0
# How far this clock may be ahead of a broker's before the first tick has measured the difference.
_UNKNOWN = timedelta(seconds=5)
# How much two clocks may drift apart between two ticks.
_SLACK = timedelta(milliseconds=200)

log = structlog.get_logger(__name__)


def tick(now: datetime, authority: Authority | None = None) -> bytes:
    """A cx.tick.v1 event, signed if there is a key."""
    event = {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": "/cxstream/ticker",
        "type": TICK_TYPE,
        "time": rfc3339((now - _EPOCH) // timedelta(milliseconds=1)),
    }
    return msgspec.json.encode(event if authority is None else authority.sign(event))


class Ticker:
    """Writes the ticks.

    A tick moves the clock of its partition to now, so a partition with unread records gets none: their times
    may lie before it. A tick that is later than its append to the log is rejected. So a tick is dated before this
    computer's clock by the difference to the broker's clock at the previous tick, and a little more.

    Args:
        settings: how to reach Kafka.
        partitions: the owned partitions.
        read_to_end: whether a partition is read to its end, given the offset after the last record applied.

    Attributes:
        written: ticks written.
        failures: ticks that Kafka refused.
        round_at: Unix time of the last round; before the first, the start.
    """

    def __init__(
        self, settings: Settings, partitions: Partitions, read_to_end: Callable[[int, int], Awaitable[bool]]
    ) -> None:
        self.written = 0
        self.failures = 0
        self.round_at = time.time()
        self._settings = settings
        self._partitions = partitions
        self._read_to_end = read_to_end
        self._authority = settings.control.authority()
        self._ahead: dict[int, timedelta] = {}
        self._producer: aiokafka.AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()

    async def tick(self) -> int:
        """Write a tick to every partition that is due; returns how many."""
        before = self.failures
        async with asyncio.TaskGroup() as writes:
            # One after the other: Faust's consumer thread handles few requests at a time.
            sent = [
                writes.create_task(self._write(partition.number))
                for partition in list(self._partitions)
                if await self._is_due(partition)
            ]
        if self.failures > before:
            # A record that was not delivered leaves a gap in the sequence numbers, and Kafka refuses records after a gap.
            await self.stop()
        written = sum(task.result() for task in sent)
        self.written += written
        self.round_at = time.time()
        return written

    async def _is_due(self, partition: Partition) -> bool:
        applied = partition.position
        if not partition.caught_up or applied is None:
            return False
        try:
            async with asyncio.timeout(_TICK_SECONDS):
                return await self._read_to_end(partition.number, applied)
        except Exception as error:  # noqa: BLE001 - an error of one partition must not affect the others or Faust
            self._failed(partition.number, error)
            return False

    async def _write(self, number: int) -> bool:
        try:
            async with asyncio.timeout(_TICK_SECONDS):
                producer = await self._started()
                topic = self._settings.topology.touchpoints.name
                said = datetime.now(UTC) - self._ahead.get(number, _UNKNOWN) - _SLACK
                sent = await producer.send_and_wait(topic, tick(said, self._authority), partition=number)
                if sent.timestamp_type == 1:
                    there = datetime.fromtimestamp(sent.timestamp / 1000, UTC)
                    self._ahead[number] = max(datetime.now(UTC) - there, timedelta(0))
        except Exception as error:  # noqa: BLE001 - as above
            self._failed(number, error)
            return False
        return True

    def _failed(self, number: int, error: Exception) -> None:
        self.failures += 1
        log.warning("no tick written", partition=number, error=f"{type(error).__name__}: {error}")

    async def stop(self) -> None:
        """Close the connection."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await discard(producer)

    async def _started(self) -> aiokafka.AIOKafkaProducer:
        async with self._starting:
            if self._producer is None:
                self._producer = await started(
                    aiokafka.AIOKafkaProducer(**connection(self._settings), enable_idempotence=True)
                )
            return self._producer
