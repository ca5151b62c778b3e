"""What the partitions of cx.touchpoints do while they are watched: what waits in them, and whether it is committed.

Two checks need it, and it takes seconds, so they share one watch.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from aiokafka import TopicPartition

from cxstream.kafka.groups import patiently
from cxstream.kafka.reader import reading
from cxstream.topology import TOUCHPOINTS

if TYPE_CHECKING:
    from cxstream.doctor.cluster import Cluster
    from cxstream.kafka.reader import TopicReader
    from cxstream.settings import Settings

# Longer than a worker takes to commit a record, and much shorter than a session.
WAITING_SECONDS = 5.0
# Longer than a worker takes from one commit to the next while it has work.
LOOK_AGAIN_SECONDS = 3.0


class Progress(NamedTuple):
    """What the group has done with the partitions while they were watched.

    Attributes:
        lags: for each partition the offsets that were unread, and the age in seconds of the oldest record there.
        committed: what the group had committed at the end, by partition.
        stuck: partitions in which records wait and nothing was committed: {partition: seconds of the oldest record}.
        moved: partitions whose committed offset has moved.
    """

    lags: tuple[tuple[int, float], ...]
    committed: dict[int, int]
    stuck: dict[int, float]
    moved: frozenset[int]


@dataclass(slots=True)
class Watch:
    """One watch for all checks of an examination."""

    _seen: Progress | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def progress(self, settings: Settings, cluster: Cluster) -> Progress:
        """What is seen; who asks first waits for it.

        Raises:
            TopicError: cx.touchpoints is missing.
            KafkaError: Kafka does not say.
        """
        async with self._lock:
            if self._seen is None:
                self._seen = await watch(settings, cluster)
            return self._seen


async def watch(settings: Settings, cluster: Cluster) -> Progress:
    """Look at the committed offsets, and once more if records wait."""
    async with reading(settings, [TOUCHPOINTS]) as reader:
        count = reader.partitions[reader.topology.touchpoints.name]
        before = await committed_offsets(settings, cluster, count)
        lags = tuple([await lag(reader, p, before.get(p)) for p in range(count)])
    waiting = {p: seconds for p, (_, seconds) in enumerate(lags) if seconds > WAITING_SECONDS}
    if not waiting:
        return Progress(lags, before, {}, frozenset())
    await asyncio.sleep(LOOK_AGAIN_SECONDS)
    after = await committed_offsets(settings, cluster, count)
    moved = frozenset(p for p in range(count) if after.get(p) != before.get(p))
    return Progress(lags, after, {p: seconds for p, seconds in waiting.items() if p not in moved}, moved)


async def lag(reader: TopicReader, partition: int, committed: int | None) -> tuple[int, float]:
    """Offsets from the committed one to the end, and the age in seconds of the oldest record there."""
    first, end = await reader.bounds(reader.topology.touchpoints.name, partition)
    start = max(first, committed or 0)
    oldest = await reader.first(reader.topology.touchpoints.name, partition, start, end)
    return (0, 0.0) if oldest is None else (end - start, max(0.0, time.time() - oldest.timestamp / 1000))


async def committed_offsets(settings: Settings, cluster: Cluster, count: int) -> dict[int, int]:
    """What the group has committed of cx.touchpoints, by partition."""
    wanted = [TopicPartition(settings.topology.touchpoints.name, p) for p in range(count)]
    name = settings.worker.group
    found = await patiently(lambda: cluster.admin.list_consumer_group_offsets(name, partitions=wanted))
    return {tp.partition: each.offset for tp, each in found.items() if each.offset >= 0}
