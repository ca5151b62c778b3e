"""The Kafka clients a partition uses besides Faust's consumer."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import aiokafka
from aiokafka import TopicPartition

from cxstream.kafka.acls import worker_ids
from cxstream.kafka.admin import administration, look
from cxstream.kafka.claims import Ownership
from cxstream.kafka.connection import connection
from cxstream.kafka.fetch_screen import read_whole
from cxstream.kafka.records import between, together
from cxstream.kafka.transactions import TransactionProducer, opened
from cxstream.topology import SNAPSHOTS, TOUCHPOINTS
from cxstream.worker.feed import FETCH_COST, limits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from cxstream.kafka.claims import Claim
    from cxstream.settings import Settings
    from cxstream.topology import Topic

# Below the broker's default limit of one record batch (message.max.bytes), which is 1 MiB.
BATCH_BYTES = 900 * 1024
# Kafka aborts an open transaction after this long, unless another worker claims the partition earlier.
TRANSACTION_MS = 60_000
_GOODBYE_SECONDS = 2.0
_FOLLOW_MS = 60_000

# The owner of a claim, with new brokers and with older ones.
Producer: TypeAlias = "TransactionProducer | aiokafka.AIOKafkaProducer"


class Kafka:
    """Creates the Kafka clients of a partition.

    The partitions reach Kafka only through this class, so that a simulation can replace Kafka.

    Args:
        settings: how to reach Kafka.
        group: consumer group whose offsets are committed, and prefix of the transactional ids.
        ownership: the known owner of the topics; None to find out.
    """

    def __init__(self, settings: Settings, group: str, ownership: Ownership | None = None) -> None:
        self.group = group
        self._settings = settings
        self._ownership = ownership or Ownership(settings)

    async def confirm(self) -> Claim:
        """The ownership of the topics by this group, read after the call; topics without an owner are claimed.

        Raises:
            OwnershipError: they belong to another group.
            BrokerError: Kafka does not answer.
            TopicError: cx.snapshots is missing.
        """
        return await self._ownership.confirm()

    async def fence(self, group: str, partition: int) -> None:
        """Keep another group from committing results of a partition, and end its open transaction.

        Raises:
            KafkaError: Kafka does not answer, or does not permit it.
        """
        await self.release(await self.claim(partition, group))
        await self.release(await self.claim(partition, group, of=SNAPSHOTS))

    async def claim(self, partition: int, group: str | None = None, *, of: Topic = TOUCHPOINTS) -> Producer:
        """Become the only producer that may commit results of a partition, or that may save its state.

        The transactional id belongs to the partition, not to the process: starting the producer fences the
        previous one and aborts its open transaction, so from now on only this producer can commit. Brokers before
        Kafka 4.0, and clusters whose `transaction.version` is below 2, get aiokafka's producer.

        Args:
            partition: which.
            group: the group to claim it for; by default its own.
            of: cx.touchpoints for results and offsets, cx.snapshots for snapshots; the former has to be claimed first.

        Raises:
            KafkaError: the claim failed.
        """
        arguments = connection(self._settings)
        results, snapshots = worker_ids(group or self.group, self._settings.topology, partition)
        name = snapshots if of is SNAPSHOTS else results
        producer = await opened(arguments, name, transaction_ms=TRANSACTION_MS, batch_bytes=BATCH_BYTES)
        if producer is not None:
            return producer
        older = aiokafka.AIOKafkaProducer(
            **arguments,
            transactional_id=name,
            transaction_timeout_ms=TRANSACTION_MS,
            max_batch_size=BATCH_BYTES,
        )
        return await started(older)

    async def release(self, producer: Producer) -> None:
        """Release a claim; if the producer cannot be stopped cleanly, the broker cleans up."""
        if isinstance(producer, TransactionProducer):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_GOODBYE_SECONDS):
                    await producer.stop()
            return
        await discard(producer)
        # A fenced producer keeps futures that are never awaited, and asyncio would log each as an error.
        unsent = [batch for batches in producer._message_accumulator._batches.values() for batch in batches]  # noqa: SLF001
        left = [producer._txn_manager.wait_for_transaction_end(), *(batch._drain_waiter for batch in unsent)]  # noqa: SLF001
        for future in left:
            if future is not None and future.done() and not future.cancelled():
                future.exception()

    async def partitions(self) -> int:
        """How many partitions cx.touchpoints has.

        Raises:
            KafkaError: Kafka does not answer.
        """
        async with aiokafka.AIOKafkaProducer(**connection(self._settings)) as producer:
            return len(await producer.partitions_for(self._settings.topology.touchpoints.name))

    async def largest_batch(self, topic: Topic = TOUCHPOINTS) -> int:
        """The largest batch that a topic takes, in bytes.

        Raises:
            BrokerError: Kafka does not answer.
            TopicError: Kafka does not permit reading the topic's settings.
        """
        async with administration(self._settings) as admin:
            [found] = await look(admin, self._settings.topology, topics=[topic])
        return int(found.config.get("max.message.bytes", BATCH_BYTES))

    def reader(self, partition: int, group: str | None = None) -> Reader:
        """A reader of a partition, for this group or another one, as an async context manager."""
        return Reader(self._settings, group or self.group, partition)


async def started(producer: aiokafka.AIOKafkaProducer) -> aiokafka.AIOKafkaProducer:
    """Start a producer; if it does not start, everything is cleaned up.

    Raises:
        KafkaError: it did not start.
    """
    try:
        await producer.start()
    except BaseException:
        await producer.stop()
        raise
    return producer


async def discard(producer: aiokafka.AIOKafkaProducer) -> None:
    """Stop a producer, without waiting for records that cannot be delivered."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_GOODBYE_SECONDS):
            await producer.stop()
            return
    # A second stop() does nothing, and the tasks that the first did not stop would go on.
    with contextlib.suppress(Exception):
        async with asyncio.timeout(_GOODBYE_SECONDS):
            sender = producer._sender.sender_task  # noqa: SLF001
            if sender is not None:
                sender.cancel()
                await asyncio.wait([sender])
            await producer.client.close()


class Reader:
    """Reads what a partition needs besides its feed: snapshot, committed offset, missed records.

    Args:
        settings: how to reach Kafka.
        group: consumer group whose committed offset is read; the reader does not join it.
        partition: number of the partition, of cx.touchpoints, cx.snapshots and cx.forget alike.
    """

    def __init__(self, settings: Settings, group: str, partition: int) -> None:
        self._partition = partition
        topics = settings.topology
        self._touchpoints = topics.touchpoints.name
        self._read = frozenset(topic.name for topic in topics.all if "worker" in topic.readers)
        self._limits, self._most = limits(settings), settings.worker.fetch_bytes * FETCH_COST
        self._consumer = aiokafka.AIOKafkaConsumer(
            **connection(settings),
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_partition_fetch_bytes=settings.worker.fetch_bytes,
        )

    async def __aenter__(self) -> Self:
        try:
            await self._consumer.start()
        except BaseException:
            await self._consumer.stop()
            raise
        read_whole(self._consumer, self._limits, self._most)
        # Asking for offsets of a topic that is not assigned waits up to a second for a metadata refresh.
        everything = [self._tp(topic) for topic in sorted(self._read)]
        self._consumer.assign(everything)
        self._consumer.pause(*everything)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def committed(self, topic: str | None = None) -> int | None:
        """The offset that the group has committed for a topic, by default of cx.touchpoints; None if it has none.

        Only reliable after the claim.
        """
        offset: int | None = await self._consumer.committed(self._tp(topic or self._touchpoints))
        return offset

    async def bounds(self, topic: str) -> tuple[int, int]:
        """The first offset that the log holds, and the one after the last (an open transaction delays it)."""
        tp = self._tp(topic)
        begin, end = await self._consumer.beginning_offsets([tp]), await self._consumer.end_offsets([tp])
        return int(begin[tp]), int(end[tp])

    def partitions(self) -> int:
        """How many partitions cx.touchpoints has, by the latest metadata of this client."""
        return len(self._consumer.partitions_for_topic(self._touchpoints) or (0,))

    async def read(self, topic: str, start: int, stop: int) -> AsyncIterator[Sequence[Any]]:
        """Yield the records with start <= offset < stop in order, one fetch at a time.

        Offsets without a record (transaction markers, compacted or deleted records) are skipped. `stop`
        must not lie beyond the end of the log.

        Raises:
            UnreadableError: records cannot be fetched or decoded.
        """
        if start >= stop:
            return
        tp = self._tp(topic)
        self._consumer.seek(tp, start)
        self._consumer.resume(tp)
        while await self._consumer.position(tp) < stop:
            fetched = await self._consumer.getmany(tp, timeout_ms=1000)
            records = together(fetched.get(tp, []))
            if records and records[-1].offset >= stop:
                records = between(records, start, stop)
            if records:
                yield records
        self._consumer.pause(tp)

    async def follow(self, topic: str, start: int) -> AsyncIterator[Sequence[Any]]:
        """Yield the records from `start` on, one fetch at a time, and wait for more, forever.

        Raises:
            UnreadableError: records cannot be fetched or decoded.
        """
        tp = self._tp(topic)
        self._consumer.seek(tp, start)
        self._consumer.resume(tp)
        while True:
            fetched = await self._consumer.getmany(tp, timeout_ms=_FOLLOW_MS)
            records = together(fetched.get(tp, []))
            if records:
                yield records

    def _tp(self, topic: str) -> TopicPartition:
        return TopicPartition(topic, self._partition)
