"""What the worker is given in the place of its Kafka clients: the same calls, on the simulated broker."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self, TypeVar

from aiokafka.errors import ConcurrentTransactions, KafkaConnectionError, KafkaError

from cxstream.kafka.claims import Claim
from cxstream.topology import SNAPSHOTS, TOUCHPOINTS
from simulation.producer import Producer

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

    from cxstream.topology import Topic
    from simulation.broker import TP, Broker, Record
    from simulation.network import Network
    from simulation.trace import Trace

T = TypeVar("T")

_BUSY_SECONDS = 0.1
_GOODBYE_SECONDS = 2.0
_IDLE_SECONDS = 0.05
_IDLE_MAX_SECONDS = 2.0
_EVERYTHING = 2**62
_LARGEST = 2**20


class Kafka:
    """Clients for one worker.

    Args:
        batch_bytes: size of a producer's batches.
        transaction_seconds: age at which the broker ends an open transaction.
        count: how many partitions there are.
    """

    def __init__(
        self,
        broker: Broker,
        network: Network,
        chance: random.Random,
        trace: Trace,
        *,
        group: str,
        batch_bytes: int,
        transaction_seconds: float,
        count: int,
    ) -> None:
        self.group = group
        self._broker = broker
        self._network = network
        self._chance = chance
        self._trace = trace
        self._batch_bytes = batch_bytes
        self._transaction_seconds = transaction_seconds
        self._count = count

    async def confirm(self) -> Claim:
        return await self._network.call("confirm", lambda: Claim("simulated", self.group, 1))

    async def fence(self, group: str, partition: int) -> None:
        await self.release(await self.claim(partition, group))
        await self.release(await self.claim(partition, group, of=SNAPSHOTS))

    async def claim(self, partition: int, group: str | None = None, *, of: Topic = TOUCHPOINTS) -> Producer:
        if self._network.happens(self._network.weather.refused):
            raise KafkaConnectionError("no node answers")
        name = f"{group or self.group}-{TOUCHPOINTS.name}-{partition}"
        if of is SNAPSHOTS:
            name += "-snapshots"
        while True:
            try:
                epoch = await self._network.call(
                    f"claim {name}", lambda: self._broker.claim(name, self._transaction_seconds)
                )
            except ConcurrentTransactions:
                await asyncio.sleep(_BUSY_SECONDS)
            except KafkaError as error:
                if not error.retriable:
                    raise
                await asyncio.sleep(_BUSY_SECONDS)
            else:
                self._trace.add("claimed", name, epoch)
                return Producer(
                    self._broker,
                    self._network,
                    name,
                    epoch,
                    batch_bytes=self._batch_bytes,
                    count=self._count,
                )

    async def release(self, producer: Producer) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await producer.stop()

    async def partitions(self) -> int:
        return await self._network.call("partitions", lambda: self._count)

    async def largest_batch(self, _: Topic = TOUCHPOINTS) -> int:
        return await self._network.call("largest batch", lambda: _LARGEST)

    def reader(self, partition: int, group: str | None = None) -> Reader:
        return Reader(self._broker, self._network, self._chance, group or self.group, partition, self._count)


class Reader:
    """Reads what a partition needs besides its feed."""

    def __init__(
        self,
        broker: Broker,
        network: Network,
        chance: random.Random,
        group: str,
        partition: int,
        count: int,
    ) -> None:
        self._count = count
        self._broker = broker
        self._network = network
        self._chance = chance
        self._group = group
        self._partition = partition

    async def __aenter__(self) -> Self:
        await self._ask("connect", lambda: None)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.sleep(0)

    async def committed(self, topic: str | None = None) -> int | None:
        key = self._group, (topic or TOUCHPOINTS.name, self._partition)
        return await self._ask("committed", lambda: self._broker.committed.get(key))

    async def bounds(self, topic: str) -> tuple[int, int]:
        tp = topic, self._partition
        begin = await self._ask("begin", lambda: self._broker.log(tp).begin)
        return begin, await self._ask("end", lambda: self._broker.stable(tp))

    def partitions(self) -> int:
        return self._count

    def read(self, topic: str, start: int, stop: int) -> Reading:
        return Reading(self._fetch, (topic, self._partition), start, stop)

    def follow(self, topic: str, start: int) -> Following:
        return Following(self._fetch, self._broker, (topic, self._partition), start)

    async def _fetch(self, tp: TP, start: int, stop: int) -> tuple[list[Record], int]:
        """Some records, and the offset after what was looked at."""
        limit = 1 + int(self._chance.random() ** 2 * 60)

        def execute() -> tuple[list[Record], int]:
            found = []
            for record in self._broker.fetch(tp, start, stop):
                found.append(record)
                if len(found) == limit:
                    return found, record.offset + 1
            return found, max(start, min(stop, self._broker.stable(tp)))

        # A consumer asks again by itself.
        while True:
            try:
                return await self._network.call(f"read {tp[0]}-{tp[1]} {start}", execute, patience=2.0)
            except KafkaError:
                if self._network.down:
                    raise
                await asyncio.sleep(_BUSY_SECONDS)

    async def _ask(self, what: str, execute: Callable[[], T]) -> T:
        return await self._network.call(f"{what} {self._partition}", execute)


class Reading:
    """The records between two offsets, a fetch at a time; unlike a generator it leaves nothing to finalise."""

    def __init__(
        self,
        fetch: Callable[[TP, int, int], Awaitable[tuple[list[Record], int]]],
        tp: TP,
        start: int,
        stop: int,
    ) -> None:
        self._fetch = fetch
        self._tp = tp
        self._at = start
        self._stop = stop

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Record]:
        while self._at < self._stop:
            records, self._at = await self._fetch(self._tp, self._at, self._stop)
            if records:
                return records
        raise StopAsyncIteration


class Following:
    """The records from an offset on, without end; a fetch is answered when there is something."""

    def __init__(
        self,
        fetch: Callable[[TP, int, int], Awaitable[tuple[list[Record], int]]],
        broker: Broker,
        tp: TP,
        start: int,
    ) -> None:
        self._fetch = fetch
        self._broker = broker
        self._tp = tp
        self._at = start

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Record]:
        idle = _IDLE_SECONDS
        while True:
            if self._broker.stable(self._tp) > self._at:
                records, self._at = await self._fetch(self._tp, self._at, _EVERYTHING)
                if records:
                    return records
            await asyncio.sleep(idle)
            idle = min(idle * 2, _IDLE_MAX_SECONDS)
