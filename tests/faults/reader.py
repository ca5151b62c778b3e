"""What is in a topic, as a careful consumer sees it: read_committed, past the proxy, outside of any group."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import aiokafka
from aiokafka import TopicPartition

from cxstream.kafka.connection import connection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from cxstream.settings import Settings

_WAIT_MS = 500


class Record(NamedTuple):
    """One record of a topic."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


async def read(
    settings: Settings,
    topic: str,
    partitions: int,
    *,
    since: Mapping[int, int] | None = None,
    until: Mapping[int, int] | None = None,
) -> AsyncIterator[tuple[int, list[Record]]]:
    """Yield the records of partitions 0..n-1, some of one partition at a time, each partition's in order.

    Args:
        settings: where Kafka is.
        topic: the topic.
        partitions: how many.
        since: the first offset to read, by partition; None: all that there is.
        until: the first offset not to read, by partition; None: all that is committed now.
    """
    tps = [TopicPartition(topic, partition) for partition in range(partitions)]
    async with aiokafka.AIOKafkaConsumer(
        **connection(settings), enable_auto_commit=False, isolation_level="read_committed"
    ) as consumer:
        consumer.assign(tps)
        await consumer.seek_to_beginning(*tps)
        for partition, offset in (since or {}).items():
            consumer.seek(TopicPartition(topic, partition), offset)
        ends = await consumer.end_offsets(tps)
        if until is not None:
            ends = {tp: until.get(tp.partition, 0) for tp in tps}
        while left := [tp for tp in tps if await consumer.position(tp) < ends[tp]]:
            for tp, found in (await consumer.getmany(*left, timeout_ms=_WAIT_MS)).items():
                records = [
                    Record(r.offset, r.timestamp, r.key, r.value, tuple(r.headers))
                    for r in found
                    if r.offset < ends[tp]
                ]
                if records:
                    yield tp.partition, records


async def read_all(settings: Settings, topic: str, partitions: int) -> dict[int, list[Record]]:
    """Everything committed in a topic, by partition."""
    found: dict[int, list[Record]] = {partition: [] for partition in range(partitions)}
    async for partition, records in read(settings, topic, partitions):
        found[partition] += records
    return found


async def bounds(settings: Settings, topic: str, partitions: int) -> Mapping[int, tuple[int, int]]:
    """First offset, and the one after the last, of each partition."""
    tps = [TopicPartition(topic, partition) for partition in range(partitions)]
    async with aiokafka.AIOKafkaConsumer(**connection(settings), enable_auto_commit=False) as consumer:
        first, end = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
    return {tp.partition: (first[tp], end[tp]) for tp in tps}
