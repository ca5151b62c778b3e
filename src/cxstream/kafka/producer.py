"""Sends keyed records to a topic in order, a batch at a time.

    keys, values -> partition by Kafka's own hash -> one open batch a partition -> one batch in flight a partition

A partition's next batch leaves when the one before it is acknowledged by all replicas, so that neither a
retry nor a lost connection can change the order of a customer's records or send one twice.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiokafka
from aiokafka.errors import KafkaError

from cxstream.kafka.admin import require_topics
from cxstream.kafka.connection import connection
from cxstream.model.errors import BrokerError
from cxstream.scoring.codec.routing import partition_of_keys
from cxstream.topology import TOUCHPOINTS, Topic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from cxstream.settings import Settings

_BATCH_BYTES = 900 * 1024
# The most bytes that Kafka's format adds to a batch of one record: the header of the batch, and lengths in the record.
_BATCH_OVERHEAD = 61 + 42


def route(keys: Sequence[bytes | None], count: int) -> list[int]:
    """The partition of each key among `count`, as Kafka's default partitioner has it; 0 without a key."""
    chosen = partition_of_keys([key or b"" for key in keys], count)
    chosen[[i for i, key in enumerate(keys) if key is None]] = 0
    partitions: list[int] = chosen.tolist()
    return partitions


class Sender:
    """Sends to one topic; made by `sending`.

    Attributes:
        partitions: how many the topic has.
        max_bytes: the longest key and value, together, that the topic takes.
        acknowledged: records that Kafka has confirmed.
    """

    def __init__(
        self, producer: aiokafka.AIOKafkaProducer, topic: str, partitions: int, max_bytes: int
    ) -> None:
        self.partitions = partitions
        self.max_bytes = max_bytes
        self.acknowledged = 0
        self._producer = producer
        self._topic = topic
        self._open: list[Any] = [producer.create_batch() for _ in range(partitions)]
        self._flying: dict[int, tuple[asyncio.Future[Any], int]] = {}

    async def send(self, keys: Sequence[bytes | None], values: Sequence[bytes]) -> list[int]:
        """Queue records for sending; they are sent at the latest by `flush`.

        Args:
            keys: each record's key; None sends it to partition 0.
            values: each record's value.

        Returns:
            Positions of the records that are too long for the topic, which are not sent.

        Raises:
            BrokerError: Kafka did not confirm records that were sent.
        """
        now = int(time.time() * 1000)
        too_long = []
        chosen = route(keys, self.partitions)
        for position, (partition, key, value) in enumerate(zip(chosen, keys, values, strict=True)):
            if len(value) + len(key or b"") > self.max_bytes:
                too_long.append(position)
            else:
                await self._append(partition, now, key, value)
        return too_long

    async def send_to_all(self, value: bytes) -> bool:
        """Queue a record without a key for every partition; returns whether it is short enough for the topic.

        Raises:
            BrokerError: Kafka did not confirm records that were sent.
        """
        if len(value) > self.max_bytes:
            return False
        now = int(time.time() * 1000)
        for partition in range(self.partitions):
            await self._append(partition, now, None, value)
        return True

    async def send_to(self, partition: int, key: bytes | None, value: bytes | None) -> bool:
        """Queue a record for a partition of the caller's choice; returns whether it is short enough for the topic.

        Args:
            partition: its number.
            key: the record's key.
            value: its value; None ends the key in a compacted topic.

        Raises:
            BrokerError: Kafka did not confirm records that were sent.
        """
        if len(value or b"") + len(key or b"") > self.max_bytes:
            return False
        await self._append(partition, int(time.time() * 1000), key, value)
        return True

    async def _append(self, partition: int, now: int, key: bytes | None, value: bytes | None) -> None:
        if self._open[partition].append(timestamp=now, key=key, value=value) is None:
            await self._submit(partition)
            self._open[partition].append(timestamp=now, key=key, value=value)

    async def flush(self) -> None:
        """Send all queued records and wait until Kafka has confirmed them.

        Raises:
            BrokerError: Kafka did not confirm them.
        """
        for partition, batch in enumerate(self._open):
            if batch.record_count():
                await self._submit(partition)
        for partition in list(self._flying):
            await self._landed(partition)

    async def abandon(self) -> None:
        """Wait for the batches in flight, whether they succeed or not."""
        flying = list(self._flying)
        await asyncio.gather(*(self._landed(partition) for partition in flying), return_exceptions=True)

    async def _submit(self, partition: int) -> None:
        await self._landed(partition)
        batch, self._open[partition] = self._open[partition], self._producer.create_batch()
        try:
            future = await self._producer.send_batch(batch, self._topic, partition=partition)
        except KafkaError as error:
            raise self._unconfirmed(partition, error) from error
        self._flying[partition] = (future, batch.record_count())

    async def _landed(self, partition: int) -> None:
        if partition not in self._flying:
            return
        future, count = self._flying[partition]
        try:
            # An interruption must not cancel it: records that Kafka has by then count as sent.
            await asyncio.shield(future)
        except KafkaError as error:
            raise self._unconfirmed(partition, error) from error
        finally:
            if future.done():
                del self._flying[partition]
        self.acknowledged += count

    def _unconfirmed(self, partition: int, error: KafkaError) -> BrokerError:
        return BrokerError(
            f"{self._topic}, partition {partition}: Kafka did not confirm a batch: {error!r}; "
            f"{self.acknowledged:,} records before it are confirmed"
        )


@asynccontextmanager
async def sending(settings: Settings, topic: Topic = TOUCHPOINTS) -> AsyncIterator[Sender]:
    """A sender to a topic of the installation; leaving the block without an exception flushes it.

    Raises:
        BrokerError: Kafka does not answer, or does not confirm what was sent.
        TopicError: the topic is missing or differs from the contract.
    """
    [found] = await require_topics(settings, [topic])
    limit = int(found.config["max.message.bytes"])
    producer = aiokafka.AIOKafkaProducer(
        **connection(settings), acks="all", enable_idempotence=True, max_batch_size=min(_BATCH_BYTES, limit)
    )
    try:
        await producer.start()
        sender = Sender(producer, found.topic.name, found.partitions, limit - _BATCH_OVERHEAD)
        try:
            yield sender
            await sender.flush()
        finally:
            await sender.abandon()
    except KafkaError as error:
        raise BrokerError(f"{settings.kafka}: {error!r}") from error
    finally:
        await producer.stop()
