"""When signals came and offsets were committed, seen from outside while a run goes on."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Self

import aiokafka
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from cxstream.kafka.connection import connection
from cxstream.topology import FORGET, TOUCHPOINTS
from faults import reader
from faults.checker import SIGNAL_TOPICS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiokafka.structs import OffsetAndMetadata

    from cxstream.settings import Settings

_SAMPLE_SECONDS = 0.2
_ANSWER_SECONDS = 5.0
_POLL_MS = 200
# So far before its end a log has a record that is no marker of a transaction.
_TAIL = 500
_FIRST_SECONDS = 60.0

Offsets = dict[int, int]


class Watcher:
    """Watches one run.

    Args:
        settings: where Kafka is, past the proxy, and the group.
        partitions: how many.

    Attributes:
        arrivals: time.monotonic() at which signals were seen, rising, by partition.
        samples: time.monotonic() of the question and of the answer, and the committed offsets of cx.touchpoints by
            partition, rising.
        requested: committed offsets of cx.forget by partition, the highest that were seen: a group that takes over
            goes on from there, and commits nothing before there is something.
        group: whose offsets.
    """

    def __init__(self, settings: Settings, partitions: int) -> None:
        self.arrivals: dict[int, list[float]] = {partition: [] for partition in range(partitions)}
        self.samples: list[tuple[float, float, Offsets]] = []
        self.requested: Offsets = {}
        self.group = settings.worker.group
        self._settings = settings
        self._partitions = partitions
        self._seen = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._see_signals()), asyncio.create_task(self._see_commits())]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    @property
    def committed(self) -> Offsets:
        """Offsets as last seen."""
        return self.samples[-1][2] if self.samples else {}

    async def first(self) -> Offsets:
        """Committed offsets, once they have been seen.

        Raises:
            TimeoutError: nobody tells them.
        """
        async with asyncio.timeout(_FIRST_SECONDS):
            await self._seen.wait()
        return self.committed

    async def ends(self) -> Offsets:
        """The offset after the last record of each source partition."""
        tps = [TopicPartition(TOUCHPOINTS.name, partition) for partition in range(self._partitions)]
        async with aiokafka.AIOKafkaConsumer(
            **connection(self._settings), enable_auto_commit=False
        ) as consumer:
            return {tp.partition: end for tp, end in (await consumer.end_offsets(tps)).items()}

    async def last(self) -> Offsets:
        """The offset after the last record that a reader gets of each source partition: markers may follow it."""
        first = await reader.bounds(self._settings, TOUCHPOINTS.name, self._partitions)
        found = dict.fromkeys(first, 0)
        async for partition, records in reader.read(
            self._settings,
            TOUCHPOINTS.name,
            self._partitions,
            since={partition: max(begin, end - _TAIL) for partition, (begin, end) in first.items()},
        ):
            found[partition] = records[-1].offset + 1
        return found

    async def all_requests_taken(self, seconds: float) -> bool:
        """Wait until everything in cx.forget is committed; False: it was not, within that time."""
        bounds = await reader.bounds(self._settings, FORGET.name, self._partitions)
        deadline = time.monotonic() + seconds
        while not all(self.requested.get(p, 0) >= end for p, (_, end) in bounds.items()):
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(_SAMPLE_SECONDS)
        return True

    async def reached(self, ends: Mapping[int, int], seconds: float) -> bool:
        """Wait until everything before these offsets is committed; False: it was not, within that time."""
        deadline = time.monotonic() + seconds
        while not all(self.committed.get(partition, 0) >= end for partition, end in ends.items()):
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(_SAMPLE_SECONDS)
        return True

    def longest_gap(self, began: float, ended: float) -> float:
        """Longest time in seconds without a new signal of some partition, of those that begin while traffic flows."""
        return max(gap(arrivals, began, ended) for arrivals in self.arrivals.values())

    def recovery(self, since: float, until: float, ends: Mapping[int, int]) -> float | None:
        """Seconds from a moment until every partition has committed anew, or all there is; None: not seen.

        Anew is what was not yet committed when this was first asked after the moment: an answer to an older question
        may lack what a worker committed just before it died.
        """
        before: Offsets | None = None
        for asked, at, offsets in self.samples:
            if asked < since:
                continue
            if before is None:
                before = offsets
            if all(
                offsets.get(p, 0) > before.get(p, 0) or offsets.get(p, 0) >= end for p, end in ends.items()
            ):
                return at - since
            if at > until:
                break
        return None

    async def _see_signals(self) -> None:
        while True:
            with suppress(KafkaError):
                await self._consume()
            await asyncio.sleep(_SAMPLE_SECONDS)

    async def _consume(self) -> None:
        tps = [TopicPartition(topic, p) for topic in SIGNAL_TOPICS for p in range(self._partitions)]
        async with aiokafka.AIOKafkaConsumer(
            **connection(self._settings),
            enable_auto_commit=False,
            isolation_level="read_committed",
            auto_offset_reset="earliest",
        ) as consumer:
            consumer.assign(tps)
            while True:
                for tp in await consumer.getmany(timeout_ms=_POLL_MS):
                    self.arrivals[tp.partition].append(time.monotonic())

    async def _see_commits(self) -> None:
        while True:
            with suppress(KafkaError, TimeoutError, OSError, AssertionError):
                await self._ask()
            await asyncio.sleep(_SAMPLE_SECONDS)

    async def _ask(self) -> None:
        admin = AIOKafkaAdminClient(**connection(self._settings))
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await admin.start()
            while True:
                asked = time.monotonic()
                async with asyncio.timeout(_ANSWER_SECONDS):
                    found = await admin.list_consumer_group_offsets(self.group)
                offsets = _of(found, TOUCHPOINTS.name)
                for partition, offset in _of(found, FORGET.name).items():
                    self.requested[partition] = max(offset, self.requested.get(partition, 0))
                # A coordinator that is still loading knows of no offsets at all.
                if offsets or not self.samples:
                    self.samples.append((asked, time.monotonic(), offsets))
                    self._seen.set()
                await asyncio.sleep(_SAMPLE_SECONDS)
        finally:
            await admin.close()


def _of(found: Mapping[TopicPartition, OffsetAndMetadata], topic: str) -> Offsets:
    return {tp.partition: each.offset for tp, each in found.items() if tp.topic == topic and each.offset >= 0}


def gap(arrivals: Sequence[float], began: float, ended: float) -> float:
    """The longest time without an arrival that begins between two times."""
    points = [began, *(at for at in arrivals if at >= began)]
    if len(points) == 1:
        return ended - began
    return max(after - before for before, after in pairwise(points) if before < ended)
