"""Reads parts of topics like a consumer, without joining a group or changing anything in Kafka.

administration -> which topics, how many partitions
one consumer, every partition assigned and paused; `read` resumes the one that it reads
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal

import aiokafka
from aiokafka import TopicPartition
from aiokafka.errors import (
    ConsumerStoppedError,
    CorruptRecordException,
    KafkaError,
    TopicAuthorizationFailedError,
    UnsupportedCodecError,
)

from cxstream.kafka.acls import ADMIN, ONCALL, WAREHOUSE
from cxstream.kafka.admin import administration, or_hidden, partition_counts
from cxstream.kafka.connection import connection
from cxstream.kafka.fetch_screen import read_whole, unreadable
from cxstream.kafka.record_batches import HELD
from cxstream.kafka.records import between, together
from cxstream.model.errors import BrokerError, CxstreamError, MissingTopicError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence

    from cxstream.settings import Settings
    from cxstream.topology import Topic, Topology

Isolation = Literal["read_committed", "read_uncommitted"]

# A read without new records for this long is stuck; Kafka aborts an open transaction of a worker after 60 s.
_STALL_SECONDS = 75.0
_FETCH_MS = 500
_GOODBYE_SECONDS = 2.0
# The latest record of a key is searched in blocks of this many offsets, the last block first.
BLOCK = 50_000


class TopicReader:
    """Reads the partitions of some topics; made by `reading`.

    Attributes:
        partitions: how many partitions each topic has.
        topology: the topics of the installation.
    """

    def __init__(
        self, consumer: aiokafka.AIOKafkaConsumer, partitions: Mapping[str, int], topology: Topology
    ) -> None:
        self.partitions = dict(partitions)
        self.topology = topology
        self._consumer = consumer

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """The first offset in the log, and the one after the last that this reader may see."""
        tp = TopicPartition(topic, partition)
        first, end = await self._consumer.beginning_offsets([tp]), await self._consumer.end_offsets([tp])
        return int(first[tp]), int(end[tp])

    async def offset_at(self, topic: str, partition: int, time_ms: int) -> int:
        """The first offset whose Kafka timestamp (ms UTC) is not before `time_ms`; the end if there is none."""
        tp = TopicPartition(topic, partition)
        found = (await self._consumer.offsets_for_times({tp: max(0, time_ms)}))[tp]
        _, end = await self.bounds(topic, partition)
        return end if found is None else min(int(found.offset), end)

    async def read(
        self,
        topic: str,
        partition: int,
        start: int,
        stop: int,
        on_offset: Callable[[int], None] = lambda _: None,
    ) -> AsyncGenerator[Sequence[Any]]:
        """Yield the records with start <= offset < stop in order, a fetch at a time.

        Args:
            topic: the topic.
            partition: its partition.
            start: the first offset.
            stop: the offset after the last; not beyond the end of the log.
            on_offset: called with the offset that has been reached.

        Raises:
            BrokerError: nothing more comes, and the end has not been reached.
            UnreadableError: records cannot be fetched or decoded.
        """
        tp = TopicPartition(topic, partition)
        if start >= stop:
            return
        self._consumer.seek(tp, start)
        self._consumer.resume(tp)
        try:
            at, moved = start, time.monotonic()
            while at < stop:
                fetched = await self._fetch(tp, at)
                records = between(fetched, at, stop)
                if records:
                    yield records
                before, at = at, int(await self._consumer.position(tp))
                if at > before:
                    moved = time.monotonic()
                    on_offset(min(at, stop))
                elif time.monotonic() - moved > _STALL_SECONDS:
                    raise BrokerError(
                        f"{topic}-{partition}: nothing more comes after offset {at}; the log ends at {stop}: "
                        "'cxstream doctor' says whether a partition has no leader or a transaction hangs"
                    )
        finally:
            self._consumer.pause(tp)

    async def _fetch(self, tp: TopicPartition, offset: int) -> Sequence[Any]:
        try:
            pieces = (await self._consumer.getmany(tp, timeout_ms=_FETCH_MS)).get(tp, [])
            found = together(pieces)
        except (CorruptRecordException, UnsupportedCodecError) as error:
            raise unreadable(tp, offset, error) from error
        except (KafkaError, ConsumerStoppedError, CxstreamError):
            raise
        except Exception as error:
            # What damaged bytes lead to depends on their codec.
            raise unreadable(tp, offset, error) from error
        return found

    async def one(self, topic: str, partition: int, offset: int) -> Any | None:
        """The record at an offset; None if the log does not have it (any more)."""
        if not 0 <= partition < self.partitions[topic]:
            return None
        first, end = await self.bounds(topic, partition)
        return await self.first(topic, partition, offset, offset + 1) if first <= offset < end else None

    async def first(self, topic: str, partition: int, start: int, stop: int) -> Any | None:
        """The first record with start <= offset < stop, or None; `stop` is not beyond the end of the log."""
        # Without this, the partition pauses late, and the next read waits for an unused fetch.
        async with contextlib.aclosing(self.read(topic, partition, start, stop)) as reading:
            async for records in reading:
                return records[0]
        return None

    async def latest(
        self,
        topic: str,
        partition: int,
        key: bytes,
        on_progress: Callable[[int, int], None] = lambda *_: None,
    ) -> Any | None:
        """The last record of a key in a partition; None if there is none.

        Args:
            topic: the topic, a compacted one.
            partition: its partition.
            key: the key.
            on_progress: called with the number of offsets read, and their largest possible number.
        """
        first, end = await self.bounds(topic, partition)
        stop = end
        while stop > first:
            start = max(first, stop - BLOCK)
            found = None
            async for records in self.read(topic, partition, start, stop):
                found = next((each for each in reversed(records) if each.key == key), found)
                on_progress(end - stop + records[-1].offset - start, end - first)
            if found is not None:
                return found
            stop = start
        return None


@asynccontextmanager
async def reading(
    settings: Settings, topics: Sequence[Topic], isolation: Isolation = "read_committed"
) -> AsyncIterator[TopicReader]:
    """A reader of topics of the installation.

    Args:
        settings: how to reach Kafka.
        topics: what will be read.
        isolation: whether records of open or aborted transactions are read.

    Raises:
        BrokerError: Kafka does not answer.
        TopicError: a topic is missing.
        SettingsError: the security settings do not fit together.
    """
    topics = [settings.topology.named(topic) for topic in topics]
    try:
        async with administration(settings) as admin:
            there = await partition_counts(admin)
        missing = [topic.name for topic in topics if not there.get(topic.name)]
        if missing:
            raise MissingTopicError(
                missing,
                f"{', '.join(missing)}: no such topic at {settings.kafka}{or_hidden(settings)}: "
                "run 'cxstream topics --create'",
            )
        async with _consumer(settings, isolation) as consumer:
            everything = [TopicPartition(topic.name, p) for topic in topics for p in range(there[topic.name])]
            consumer.assign(everything)
            consumer.pause(*everything)
            counts = {topic.name: there[topic.name] for topic in topics}
            yield TopicReader(consumer, counts, settings.topology)
    except TopicAuthorizationFailedError as error:
        raise BrokerError(
            f"{settings.kafka}: {error!r}: the operator needs the role of 'cxstream topics --acls --role {_role(topics)}'"
        ) from error
    except KafkaError as error:
        raise BrokerError(f"{settings.kafka}: {error!r}; 'cxstream doctor' says more") from error


def _role(topics: Sequence[Topic]) -> str:
    """The role with the least rights that reads all of these topics."""
    readers = frozenset.intersection(*(topic.readers for topic in topics))
    return next((role.name for role in (ONCALL, WAREHOUSE, ADMIN) if role.name in readers), ONCALL.name)


@asynccontextmanager
async def _consumer(settings: Settings, isolation: Isolation) -> AsyncIterator[aiokafka.AIOKafkaConsumer]:
    """A consumer without a group."""
    consumer = aiokafka.AIOKafkaConsumer(
        **connection(settings),
        enable_auto_commit=False,
        isolation_level=isolation,
        max_partition_fetch_bytes=settings.worker.fetch_bytes,
    )
    try:
        await consumer.start()
        read_whole(consumer, HELD, settings.worker.fetch_bytes)
        # A consumer without a group that is stopped before its own task has run raises CancelledError.
        await asyncio.sleep(0)
        yield consumer
    finally:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await consumer.stop()
