"""All partitions that this worker owns, as the group gives and takes them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from faust.types import TP

from cxstream.topology import TOUCHPOINTS
from cxstream.worker.counters import Counters
from cxstream.worker.partition import Partition

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cxstream.scoring.engine import Engine
    from cxstream.settings import Settings
    from cxstream.worker.clients import Kafka
    from cxstream.worker.feed import Fetch

# The share of the time a stop may take that committing may take; the rest is for leaving the group.
_STOP_SHARE = 0.6
# The share of the session that committing before a rebalance may take.
_REVOKE_SHARE = 0.8


class Partitions:
    """Starts, feeds and closes the partitions.

    Attributes:
        topics: topics that the transport hands over a fetch at a time.
        assigned: the group has told this worker at least once what it owns, be it nothing.
        counters: totals by partition, kept when a partition goes and comes back.
    """

    topics = frozenset({TOUCHPOINTS.name})

    def __init__(self, settings: Settings, kafka: Kafka) -> None:
        self.assigned = False
        self.counters: dict[int, Counters] = {}
        self._settings = settings
        self._kafka = kafka
        self._owned: dict[int, Partition] = {}
        self._parked: dict[int, Engine] = {}
        self._closed = False

    def __iter__(self) -> Iterator[Partition]:
        return iter(sorted(self._owned.values(), key=lambda partition: partition.number))

    @property
    def ready(self) -> bool:
        """The group has assigned, and all that it assigned runs."""
        return self.assigned and not self._closed and all(partition.state == "running" for partition in self)

    def full(self) -> set[TP]:
        """Partitions that have enough to do and want no fetch now."""
        return {TP(TOUCHPOINTS.name, partition.number) for partition in self if partition.full}

    def put(self, fetch: Fetch) -> None:
        """Hand a fetch to its partition; one that is not owned any more will be read by its new owner."""
        partition = self._owned.get(fetch.partition)
        if partition is not None:
            partition.put(fetch)

    async def on_assigned(self, assigned: Iterable[TP]) -> None:
        """Start what is new; forget states kept for partitions that went elsewhere."""
        if self._closed:
            return
        numbers = {tp.partition for tp in assigned if tp.topic in self.topics}
        await self._close(set(self._owned) - numbers, self._revoke_seconds)
        for number in sorted(numbers - set(self._owned)):
            self._owned[number] = Partition(
                self._settings,
                self._kafka,
                number,
                parked=self._parked.get(number),
                counters=self.counters.setdefault(number, Counters()),
            )
        self._parked.clear()
        self.assigned = True

    async def on_revoked(self, revoked: Iterable[TP]) -> None:
        """Commit and give up, before the group moves on."""
        numbers = {tp.partition for tp in revoked if tp.topic in self.topics}
        await self._close(numbers & set(self._owned), self._revoke_seconds)

    async def close(self) -> None:
        """Commit and give up everything, for good."""
        self._closed = True
        await self._close(set(self._owned), self._settings.worker.stop_seconds * _STOP_SHARE)
        self._parked.clear()

    @property
    def _revoke_seconds(self) -> float:
        return self._settings.worker.session_seconds * _REVOKE_SHARE

    async def _close(self, numbers: set[int], seconds: float) -> None:
        leaving = [self._owned.pop(number) for number in sorted(numbers)]
        kept = await asyncio.gather(*(partition.close(seconds) for partition in leaving))
        self._parked |= {
            p.number: engine for p, engine in zip(leaving, kept, strict=True) if engine is not None
        }
