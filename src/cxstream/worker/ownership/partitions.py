"""All partitions that this worker owns, as the group assigns and revokes them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from cxstream.settings.skips import skips
from cxstream.worker.feed import FETCH_COST, limits
from cxstream.worker.memory_budget import budget, taken
from cxstream.worker.metrics.counters import Counters
from cxstream.worker.metrics.process import Measures
from cxstream.worker.ownership.partition import Partition
from cxstream.worker.ownership.standby import Standby
from cxstream.worker.ownership.standstill import Standstill
from cxstream.worker.ownership.unreadable import DamagedPartitions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from cxstream.model.errors import OwnershipError
    from cxstream.settings import Settings
    from cxstream.worker.clients import Kafka
    from cxstream.worker.feed import Fetch
    from cxstream.worker.ownership.restore import Restored

# The share of the stop time for committing; the rest is for leaving the group.
_STOP_SHARE = 0.6
_RETRY_SECONDS = 5.0
# The share of the session timeout for committing before a rebalance.
_REVOKE_SHARE = 0.8

_LEAST_FETCH_BYTES = 64 << 10
# The share of the memory above which the worker warns.
_SHORT = 0.85

log = structlog.get_logger(__name__)


class Partitions:
    """Starts, feeds and closes the partitions.

    Attributes:
        topics: topics that the transport delivers by whole fetches.
        assigned: the group has sent this worker at least one assignment, possibly an empty one.
        counters: totals by partition, kept while a partition is revoked.
        measures: what is measured over all partitions.
        damaged: the records that the feed cannot read.
        halted: why this worker has stopped scoring; "" while it scores.
        budget: the shares of the memory.
    """

    def __init__(self, settings: Settings, kafka: Kafka) -> None:
        self._touchpoints = settings.topology.touchpoints.name
        self.topics = frozenset({self._touchpoints})
        self.assigned = False
        self.measures = Measures(settings.worker.metrics_sources)
        self.counters: dict[int, Counters] = {}
        self.damaged = DamagedPartitions(
            self.topics,
            limits(settings),
            settings.worker.fetch_bytes * FETCH_COST,
            lambda number: skips(settings.worker.skip, number),
        )
        self.halted = ""
        self.budget = budget(settings)
        self._count_at_start: int | None = None
        self._settings = settings
        self._kafka = kafka
        self._owned: dict[int, Partition] = {}
        # What is fetched of partitions that are assigned, and do not run yet because standby replicas stop first.
        self._early: dict[int, list[Fetch]] = {}
        # Where fetches ended that came before this worker heard what it owns: nothing brings their records again.
        self._unheard: dict[int, int] = {}
        self._parked: dict[int, Restored] = {}
        self._standbys: dict[int, Standby] = {}
        self._following: asyncio.Task[None] | None = None
        self._closed = False
        self._short = False

    def __iter__(self) -> Iterator[Partition]:
        return iter(sorted(self._owned.values(), key=lambda partition: partition.number))

    @property
    def ready(self) -> bool:
        """Whether the group has assigned partitions, and all of them run and have passed the records that failed."""
        usable = self.assigned and not self._closed and not self.halted
        return usable and all(partition.state == "running" and not partition.failed for partition in self)

    def standstills(self, stalls: Mapping[int, str]) -> dict[int, Standstill]:
        """The offsets at which owned partitions make no progress, by number.

        Args:
            stalls: why partitions are stalled, by number.
        """
        found: dict[int, Standstill] = {}
        fed = dict(self.damaged.found)
        for partition in self:
            damage = fed.get((self._touchpoints, partition.number))
            committed = partition.counters.committed or 0
            if damage is not None:
                found[partition.number] = Standstill(damage.error.offset, damage.error.reason)
            elif partition.failed is not None:
                found[partition.number] = partition.failed
            elif partition.number in stalls:
                found[partition.number] = Standstill(committed, stalls[partition.number])
        return found

    @property
    def dispossessed(self) -> OwnershipError | None:
        """The error if the topics belong to another group; None if they do not."""
        return next((each.dispossessed for each in self if each.dispossessed is not None), None)

    @property
    def unreadable(self) -> dict[tuple[str, int], str]:
        """The records that owned partitions cannot read, by topic and number."""
        found: dict[tuple[str, int], str] = {}
        fed = dict(self.damaged.found)
        for partition in self:
            found |= {(topic, partition.number): str(error) for topic, error in partition.unreadable.items()}
            damage = fed.get((self._touchpoints, partition.number))
            if damage is not None:
                found[self._touchpoints, partition.number] = str(damage.error)
        return found

    def full(self) -> set[TopicPartition]:
        """Partitions with a full queue, which want no fetch now."""
        most = self._settings.worker.queue_batches
        early = {number for number, fetches in self._early.items() if len(fetches) >= most}
        numbers = early | {partition.number for partition in self if partition.full}
        return {TopicPartition(self._touchpoints, number) for number in numbers}

    @property
    def waiting_bytes(self) -> int:
        """The memory of fetched records, in bytes."""
        early = sum(fetch.cost for fetches in self._early.values() for fetch in fetches)
        return early + sum(partition.waiting_bytes for partition in self._owned.values())

    @property
    def room(self) -> int:
        """How much more may be fetched, in bytes of memory; not positive if nothing may be fetched."""
        return self.budget.fetches - self.waiting_bytes

    @property
    def fetch_bytes(self) -> int:
        """Most bytes of one partition in one fetch: all fetches may be in memory before any is unpacked."""
        share = self.budget.fetches // max(1, self._count_at_start or 1)
        return max(_LEAST_FETCH_BYTES, min(self._settings.worker.fetch_bytes, share))

    def check_memory(self) -> None:
        """Warn once if most of the memory is in use; the part that grows is the state of the customers."""
        used = taken()
        short = used > _SHORT * self.budget.total
        if short and not self._short:
            log.warning(
                "memory runs short: give the worker more, or run more workers",
                taken_mib=used >> 20,
                budget_mib=self.budget.total >> 20,
                customers=sum(each.engine.customers for each in self if each.engine is not None),
            )
        self._short = short

    def put(self, fetch: Fetch) -> None:
        """Pass a fetch to its partition; if that is not owned, its new owner reads the records, which may be this worker."""
        partition = self._owned.get(fetch.partition)
        if partition is not None:
            partition.put(fetch)
        elif fetch.partition in self._early:
            self._early[fetch.partition].append(fetch)
        else:
            self._unheard[fetch.partition] = fetch.last + 1

    async def on_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Start new partitions; drop the states of partitions that other workers own now, or follow these as standby."""
        if self._closed or self.halted:
            return
        numbers = {tp.partition for tp in assigned if tp.topic in self.topics}
        self._early = {number: [] for number in numbers - set(self._owned)}
        try:
            await self._close(set(self._owned) - numbers, self._revoke_seconds)
            for number in sorted(numbers - set(self._owned)):
                parked = await self._kept(number)
                if self.halted:
                    return
                self._own(number, parked)
        finally:
            self._early, self._unheard = {}, {}
        self.assigned = True
        left, self._parked = self._parked, {}
        if self._settings.worker.standby:
            await self._cancel_following()
            self._following = asyncio.create_task(self._stand_by(left), name="standbys")

    def _own(self, number: int, parked: Restored | None) -> None:
        """Start a partition, which takes what was fetched of it meanwhile."""
        self._owned[number] = partition = Partition(
            self._settings,
            self._kafka,
            number,
            parked=parked,
            counters=self._counters(number),
            count=self._count_at_start,
            seen=self._unheard.get(number, 0),
        )
        for fetch in self._early.pop(number, ()):
            partition.put(fetch)

    async def on_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Commit and release revoked partitions, before the rebalance continues."""
        numbers = {tp.partition for tp in revoked if tp.topic in self.topics}
        await self._close(numbers & set(self._owned), self._revoke_seconds)

    def expect(self, count: int) -> None:
        """Record how many partitions cx.touchpoints has, before any is assigned."""
        self._count_at_start = count

    async def check_count(self, count: int | None, least: int = 0) -> None:
        """Halt if cx.touchpoints has another number of partitions than when this worker started.

        Producers then send a customer's events to another partition than the one that holds their state.

        Args:
            count: how many there are now; None if it is not known.
            least: how many there are at least, by the group's assignment.
        """
        if self.halted or self._closed:
            return
        if self._count_at_start is None:
            self._count_at_start = count
        before = self._count_at_start
        if before is None or (least <= before and count in {None, before}):
            return
        count = max(count or 0, least)
        self.halted = (
            f"{self._touchpoints} has {count} partitions now, and had {before} when this worker "
            "started: producers send the events of many customers to other partitions than those that hold their "
            "state. The worker has committed what it had applied and scores no further; docs/operations.md, "
            "'More partitions', says how to go on"
        )
        log.error("partitions were added; this worker has stopped scoring", reason=self.halted)
        await self._give_up(self._revoke_seconds)

    async def close(self) -> None:
        """Commit and release all partitions."""
        self._closed = True
        await self._give_up(self._settings.worker.stop_seconds * _STOP_SHARE)

    async def _give_up(self, seconds: float) -> None:
        await self._cancel_following()
        await asyncio.gather(*(standby.take() for standby in self._standbys.values()))
        self._standbys.clear()
        await self._close(set(self._owned), seconds)
        self._parked.clear()

    async def _kept(self, number: int) -> Restored | None:
        """The state of a partition that this process kept, because it owned or followed it."""
        standby = self._standbys.pop(number, None)
        return await standby.take() if standby else self._parked.get(number)

    async def _stand_by(self, parked: dict[int, Restored]) -> None:
        """Follow all partitions that other workers own."""
        for number in range(await self._count()):
            if number not in self._owned and number not in self._standbys:
                self._standbys[number] = Standby(
                    self._settings,
                    self._kafka,
                    number,
                    start=parked.get(number),
                    counters=self._counters(number),
                )

    async def _count(self) -> int:
        """How many partitions there are, as soon as Kafka says."""
        while True:
            try:
                return await self._kafka.partitions()
            except KafkaError as error:
                log.warning("standbys wait", error=str(error), seconds=_RETRY_SECONDS)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _cancel_following(self) -> None:
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])

    def _counters(self, number: int) -> Counters:
        return self.counters.setdefault(number, Counters(self.measures))

    @property
    def _revoke_seconds(self) -> float:
        return self._settings.worker.session_seconds * _REVOKE_SHARE

    async def _close(self, numbers: set[int], seconds: float) -> None:
        leaving = [self._owned.pop(number) for number in sorted(numbers)]
        kept = await asyncio.gather(*(partition.close(seconds) for partition in leaving))
        self._parked |= {p.number: state for p, state in zip(leaving, kept, strict=True) if state is not None}
