"""A simulated worker: the real `Partitions`, and in the place of Faust a membership and a feed.

    join -> on_assigned -> heartbeats until the group moves -> on_revoked -> join ...
                |
               feed: fetch -> inbox -> put

The feed has the faults that a Faust feed has been seen to have: fetches that a rebalance swallows, fetches of
an assignment that is over or not known yet, the same fetch again, and a consumer that goes back to what is
committed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from aiokafka.errors import KafkaError
from faust.types import TP as FaustTP  # noqa: N811 - two things are called TP here

from cxstream.kafka.records import PackedRecords
from cxstream.scoring.codec.packed import Packed
from cxstream.topology import TOUCHPOINTS
from cxstream.worker.feed import Fetch
from cxstream.worker.ownership.partitions import Partitions

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from cxstream.settings import Settings
    from simulation.broker import Broker, Record
    from simulation.group import Answer, Group
    from simulation.kafka import Kafka
    from simulation.network import Network
    from simulation.trace import Trace

_IDLE_SECONDS = 0.05
_IDLE_MAX_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Feeding:
    """How a feed behaves.

    Attributes:
        records: the most records of a fetch.
        lingers: share of rebalances that leave in the inbox what was there.
        repeated: share of fetches that come twice.
        dropped: share of fetches that never come.
        goes_back: how often it goes back, per round of fetches.
        packed: fetches are packed where the transport would pack them.
    """

    records: int = 50
    lingers: float = 0.5
    repeated: float = 0.0
    dropped: float = 0.0
    goes_back: float = 0.0
    packed: bool = False


class Worker:
    """One worker process.

    Attributes:
        partitions: the worker's own.
        closed: it has closed in good order.
    """

    def __init__(
        self,
        name: str,
        settings: Settings,
        *,
        broker: Broker,
        network: Network,
        group: Group,
        kafka: Kafka,
        chance: random.Random,
        trace: Trace,
        feeding: Feeding,
    ) -> None:
        self.name = name
        self.closed = False
        self.partitions = Partitions(settings, kafka)
        self._settings = settings
        self._broker = broker
        self._network = network
        self._group = group
        self._chance = chance
        self._trace = trace
        self._feeding = feeding
        self._closing = False
        self._moved = asyncio.Event()
        self._inbox: deque[Fetch] = deque()
        self._arrived = asyncio.Event()
        self._fed: asyncio.Task[None] | None = None
        self._handed_out: dict[int, int] = {}

    def close(self) -> None:
        """Ask it to close in good order."""
        self._closing = True
        self._moved.set()

    async def live(self) -> None:
        """From the start to the end."""
        beating = asyncio.create_task(self._beat())
        handing = asyncio.create_task(self._hand_over())
        while not self._closing:
            numbers = await self._join()
            if numbers is None:
                continue
            self._moved.clear()
            tps = {FaustTP(TOUCHPOINTS.name, number) for number in numbers}
            early = self._chance.random() < 0.3
            if early:
                self._feed(numbers)
                if self._chance.random() < 0.5:
                    # The first fetches are there before the worker hears what it owns.
                    await asyncio.sleep(self._chance.random() * self._settings.worker.session_seconds / 2)
            await self.partitions.on_assigned(tps)
            if not early:
                self._feed(numbers)
            if not self._closing:
                await self._moved.wait()
            if self._fed is not None:
                self._fed.cancel()
            if self._chance.random() >= self._feeding.lingers:
                self._inbox.clear()
            if not self._closing:
                self._trace.add("revoked", *numbers)
                await self.partitions.on_revoked(tps)
                self._trace.add("gave up", *numbers)
        self._trace.add("closing")
        await self.partitions.close()
        beating.cancel()
        handing.cancel()
        await self._tried("leave", lambda: self._group.leave(self.name))
        self._trace.add("closed")
        self.closed = True

    # --- membership

    async def _join(self) -> list[int] | None:
        joined = await self._tried("join", lambda: self._group.join(self.name))
        if joined is None:
            await asyncio.sleep(0.1)
            return None
        # The coordinator answers late, and not at all if it has given this member up meanwhile.
        await asyncio.wait([joined], timeout=self._settings.worker.session_seconds * 4)
        if not joined.done():
            return None
        await asyncio.sleep(self._network.delay())
        return joined.result()

    async def _beat(self) -> None:
        every = self._settings.worker.session_seconds / 4
        while True:
            await asyncio.sleep(every)
            answer: Answer | None = await self._tried("heartbeat", lambda: self._group.heartbeat(self.name))
            if answer in ("rebalance", "unknown"):
                self._moved.set()

    async def _tried(self, what: str, execute: Callable[[], object]) -> object:
        try:
            return await self._network.call(f"{what} {self.name}", execute)
        except KafkaError:
            return None

    # --- feed

    def _feed(self, numbers: list[int]) -> None:
        if self._chance.random() < 0.5:
            # Else a fetch of the assignment before came late: the next one follows it, as far as the transport knows.
            self._handed_out.clear()
        self._fed = asyncio.create_task(self._fetch(numbers))

    async def _fetch(self, numbers: list[int]) -> None:
        positions = {number: await self._start(number) for number in numbers}
        idle = _IDLE_SECONDS
        while numbers:
            if self._chance.random() < self._feeding.goes_back:
                number = self._chance.choice(numbers)
                positions[number] = await self._start(number)
            full = {tp.partition for tp in self.partitions.full()}
            found = [await self._fetch_one(number, positions) for number in numbers if number not in full]
            idle = _IDLE_SECONDS if any(found) else min(idle * 2, _IDLE_MAX_SECONDS)
            await asyncio.sleep(idle if not any(found) else self._network.delay())

    async def _start(self, number: int) -> int:
        key = self._settings.worker.group, (TOUCHPOINTS.name, number)
        while True:
            # An absent offset and an answer that never came are both None: a list tells them apart.
            answer = await self._tried(f"start {number}", lambda: [self._broker.committed.get(key)])
            if answer is not None:
                return answer[0] or 0
            await asyncio.sleep(0.1)

    async def _fetch_one(self, number: int, positions: dict[int, int]) -> bool:
        tp = TOUCHPOINTS.name, number
        limit = 1 + int(self._chance.random() * self._feeding.records)

        def execute() -> tuple[list[Record], int]:
            records = []
            for record in self._broker.fetch(tp, positions[number]):
                records.append(record)
                if len(records) == limit:
                    break
            return records, self._broker.log(tp).end

        answer = await self._tried(f"fetch {number} {positions[number]}", execute)
        if answer is None or not answer[0]:
            return False
        records, end = answer
        brought = _packed(records) if self._feeding.packed else records
        fetch = Fetch(number, brought, self._handed_out.get(number), end)
        self._handed_out[number] = fetch.last
        positions[number] = fetch.last + 1
        self._take(fetch, last=next(self._broker.fetch(tp, fetch.last + 1), None) is None)
        return True

    def _take(self, fetch: Fetch, *, last: bool) -> None:
        chance = self._chance.random()
        # What follows on a fetch that never came tells of it; if nothing follows, nobody can know.
        if chance < self._feeding.dropped and not last:
            self._trace.add("fetch dropped", fetch.partition, fetch.first, fetch.last)
            return
        self._inbox.append(fetch)
        if chance > 1 - self._feeding.repeated:
            self._inbox.append(fetch)
        self._arrived.set()

    async def _hand_over(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._inbox:
                await asyncio.sleep(self._network.delay())
                if self._inbox:
                    fetch = self._inbox.popleft()
                    self._trace.add("fetch", fetch.partition, fetch.first, fetch.last)
                    self.partitions.put(fetch)


def _packed(records: list[Record]) -> Sequence[Any]:
    """Records packed in one text, if all have a key and a value and none has headers."""
    if any(each.key is None or each.value is None or each.headers for each in records):
        return records
    texts = Packed.of([text for each in records for text in (each.key, each.value)])
    offsets, timestamps = np.array([(each.offset, each.timestamp) for each in records]).T
    return PackedRecords(offsets, timestamps, 1, texts[::2], texts[1::2])
