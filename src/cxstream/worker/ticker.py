"""Makes time pass where nothing happens: a tick for each owned partition that is read to its end."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import aiokafka
import msgspec
import structlog
from aiokafka.errors import KafkaError

from cxstream.kafka import connection
from cxstream.model.kinds import TICK_TYPE
from cxstream.topology import TOUCHPOINTS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cxstream.settings import Settings
    from cxstream.worker.partitions import Partitions

log = structlog.get_logger(__name__)


def tick(now: datetime) -> bytes:
    """A cx.tick.v1 event."""
    return msgspec.json.encode(
        {
            "specversion": "1.0",
            "id": str(uuid.uuid4()),
            "source": "/cxstream/ticker",
            "type": TICK_TYPE,
            "time": now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }
    )


class Ticker:
    """Writes the ticks.

    A tick moves the clock of its partition to now, so a partition with unread records gets none: their times
    may lie before it.

    Args:
        settings: how to reach Kafka.
        partitions: the owned partitions.
        read_to_end: tells of a partition, given the offset after the last record applied, whether there is
            nothing more to read.

    Attributes:
        written: ticks written.
        failures: ticks that Kafka did not take.
        round_at: Unix time of the last round; before the first, of the beginning.
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
        self._producer: aiokafka.AIOKafkaProducer | None = None

    async def tick(self) -> int:
        """Write one tick to every partition that is due one; how many."""
        written = 0
        for partition in self._partitions:
            applied = partition.position
            if not partition.caught_up or applied is None:
                continue
            if not await self._read_to_end(partition.number, applied):
                continue
            try:
                producer = await self._started()
                await producer.send_and_wait(
                    TOUCHPOINTS.name, tick(datetime.now(UTC)), partition=partition.number
                )
                written += 1
            except KafkaError as error:
                self.failures += 1
                log.warning("no tick written", partition=partition.number, error=str(error))
        self.written += written
        self.round_at = time.time()
        return written

    async def stop(self) -> None:
        """Close the connection."""
        if self._producer is not None:
            await self._producer.stop()

    async def _started(self) -> aiokafka.AIOKafkaProducer:
        if self._producer is None:
            producer = aiokafka.AIOKafkaProducer(**connection(self._settings), enable_idempotence=True)
            await producer.start()
            self._producer = producer
        return self._producer
