"""First and last offsets of the partitions, requested from Kafka at intervals: fetches give them only while they arrive."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka.errors import KafkaError
from faust.exceptions import ConsumerNotStarted
from faust.types import TP

if TYPE_CHECKING:
    from collections.abc import Callable

    from cxstream.worker.ownership.partitions import Partitions

PAUSE_SECONDS = 10.0
_ANSWER_SECONDS = 30.0
# Interval until the first response with the topic: the consumer starts after the metrics.
_START_SECONDS = 0.5

log = structlog.get_logger(__name__)


class Offsets:
    """Keeps the latest response.

    Args:
        partitions: the owned partitions.
        topic: the name of cx.touchpoints.
        consumer: returns Faust's consumer, which changes after a restart.

    Attributes:
        oldest: offset of the oldest record, by partition.
        ends: offset after the last record, by partition.
        answered_at: Unix time of the latest response; before the first, of the start.
        partitions: how many the topic has; None while it is not known.
    """

    def __init__(self, partitions: Partitions, topic: str, consumer: Callable[[], Any]) -> None:
        self.oldest: dict[int, int] = {}
        self.ends: dict[int, int] = {}
        self.partitions: int | None = None
        self.answered_at = time.time()
        self._partitions = partitions
        self._topic = topic
        self._consumer = consumer

    async def watch(self) -> None:
        """Ask repeatedly, until cancelled; without a response, the last values stay."""
        while True:
            try:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    await self.ask(self._consumer())
            except (KafkaError, ConsumerNotStarted, TimeoutError) as error:
                log.debug("no offsets from Kafka", error=f"{type(error).__name__}: {error}")
            except Exception as error:  # noqa: BLE001 - a consumer that is being started or stopped lacks some parts
                log.info("no offsets from Kafka yet", error=f"{type(error).__name__}: {error}")
            await asyncio.sleep(_START_SECONDS if self.partitions is None else PAUSE_SECONDS)

    async def ask(self, consumer: Any) -> None:
        """Ask once.

        Raises:
            KafkaError: Kafka did not answer.
            ConsumerNotStarted: the worker is still starting.
        """
        self.partitions = consumer.topic_partitions(self._topic)
        tps = [TP(self._topic, partition.number) for partition in self._partitions]
        # Without owned partitions, ask about any: the request also shows whether Kafka answers.
        about = tps or [TP(self._topic, 0)]
        oldest, ends = await consumer.earliest_offsets(*about), await consumer.highwaters(*about)
        self.answered_at = time.time()
        self.oldest = {tp.partition: offset for tp, offset in oldest.items()}
        self.ends = {tp.partition: offset for tp, offset in ends.items()}
