"""One partition on a simulated Kafka: what takes minutes, or a network that fails at a chosen moment."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka.errors import KafkaConnectionError, ProducerFenced
from structlog.testing import capture_logs

from cxstream.kafka.coordinators import TransactionExpiredError
from cxstream.scoring.engine import Engine, Records
from cxstream.topology import FORGOTTEN, SNAPSHOTS, TOUCHPOINTS
from cxstream.worker.feed import Fetch
from cxstream.worker.metrics.counters import Counters
from cxstream.worker.ownership import session
from cxstream.worker.ownership.partition import Partition
from cxstream.worker.ownership.saving import Saving
from simulation.cluster import Cluster
from simulation.histories import FUTURE_MS, LENGTH, history
from simulation.kafka import Kafka as SimulatedKafka
from simulation.loop import WORLD
from simulation.network import Weather
from simulation.scenario import GROUP, draw

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from simulation.broker import Record

_SECONDS = 300.0
_STEPS = 100_000
# One with a request to erase a customer that is followed after the first ten records.
_HISTORY = 1
_NOTHING_ARRIVES = Weather(lost=1.0)
_ALL_IS_REFUSED = Weather(refused=1.0)


class World:
    """A cluster of one partition with the whole of a history in its log, and no worker but the one of the test.

    Attributes:
        cluster: all of it.
        partition: the partition under test, once it is started.
    """

    def __init__(self, **worker: Any) -> None:
        chance = random.Random(1)
        scenario = draw(chance)
        calm = {
            "snapshot_seconds": 1000.0,
            "flush_seconds": 0.1,
            "flush_records": 200_000,
            "flush_bytes": 2**25,
        }
        settings = scenario.settings.model_copy(
            update={"worker": scenario.settings.worker.model_copy(update=calm | worker)}
        )
        scenario = replace(
            scenario,
            partitions=1,
            histories=(_HISTORY,),
            records=LENGTH,
            settings=settings,
            transactional_source=0.0,
        )
        self.cluster = Cluster(scenario, chance, in_order=True)
        self.partition: Partition | None = None

    def tell(self, story: Coroutine[Any, Any, None]) -> None:
        loop = self.cluster.loop
        task = loop.start(WORLD, story)
        task.add_done_callback(lambda _: loop.stop())
        try:
            loop.run(steps=_STEPS)
            task.result()
        finally:
            self.cluster.network.down = True
            loop.dispose()

    def start(self, seen: int = 0) -> Partition:
        settings, kafka = self.cluster.scenario.settings, self.cluster.kafka()
        self.partition = Partition(settings, kafka, 0, parked=None, counters=Counters(), seen=seen)
        return self.partition

    async def feed(self, start: int, stop: int) -> None:
        """Hand records over, and wait until they are committed."""
        assert self.partition is not None
        self.partition.put(Fetch(0, self.records[start:stop], start - 1 if start else None, LENGTH))
        await self.until(lambda: self.committed == stop)

    @property
    def records(self) -> list[Record]:
        """The whole log; there are no offsets without a record."""
        return self.cluster.broker.log((TOUCHPOINTS.name, 0)).records

    def erasing(self, first: int) -> int:
        """The offset of a request, `first` or later, that is followed."""
        settings = self.cluster.scenario.settings
        rows = history(_HISTORY)
        records = Records(
            [row.value for row in rows],
            range(LENGTH),
            [row.timestamp + FUTURE_MS for row in rows],
            [row.key for row in rows],
        )
        receipts = Engine(settings.scoring, settings.actions).process(records).receipts
        return next(receipt.index for receipt in receipts if receipt.index >= first)

    @property
    def committed(self) -> int:
        return self.cluster.broker.committed.get((GROUP, (TOUCHPOINTS.name, 0)), 0)

    async def until(self, condition: Callable[[], bool]) -> None:
        end = self.cluster.loop.time() + _SECONDS
        while not condition():
            if self.cluster.loop.time() > end:
                pytest.fail(f"left alone for {_SECONDS} s")
            await asyncio.sleep(0.01)


@pytest.fixture
def logs() -> Iterator[list[Any]]:
    with capture_logs() as logs:
        yield logs


def test_a_partition_that_has_worked_is_soon_tried_again(logs: list[Any]) -> None:
    world = World()

    async def story() -> None:
        await world.cluster.run_source()
        world.cluster.network.weather = _ALL_IS_REFUSED
        partition = world.start()
        await world.until(lambda: partition.counters.failures == 3)
        world.cluster.network.weather = Weather()
        await world.feed(0, 10)
        world.cluster.network.weather = _ALL_IS_REFUSED
        partition.put(Fetch(0, world.records[10:20], 9, LENGTH))
        await world.until(lambda: partition.counters.failures == 5)

    world.tell(story())
    waits = [entry["seconds"] for entry in logs if entry["event"] == "partition failed; trying again"]
    assert waits == [0.5, 1.0, 2.0, 0.5, 1.0]


def test_a_partition_whose_transaction_took_too_long_is_claimed_again_after_two_heartbeats(
    logs: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The group would have taken it away by then, and whoever was fenced waits longer."""
    world = World(session_seconds=30.0)
    errors = [TransactionExpiredError("a transaction took 61 s"), ProducerFenced()]
    pauses = []
    pause = Partition._pause

    async def noted(partition: Partition, seconds: float) -> None:
        pauses.append(seconds)
        await pause(partition, seconds)

    async def fails(*_: Any, **__: Any) -> None:
        raise errors.pop(0)

    monkeypatch.setattr(Partition, "_pause", noted)

    async def story() -> None:
        await world.cluster.run_source()
        world.start()
        with monkeypatch.context() as broken:
            broken.setattr(session, "commit", fails)
            for _ in range(2):
                await world.until(lambda: world.partition.state == "running")
                world.partition.put(Fetch(0, world.records[:10], None, LENGTH))
                await world.until(lambda: world.partition.state == "fenced")
        await world.until(lambda: world.partition.state == "running")
        await world.feed(0, 10)

    world.tell(story())
    assert pauses == [6.0, 30.0]
    assert world.partition.counters.fenced == 1
    assert [entry["event"] for entry in logs if "took too long" in entry["event"]] == [
        "a transaction took too long; the partition starts over"
    ]


@pytest.mark.parametrize("seen", [10, LENGTH, LENGTH + 5], ids=["some", "all", "more than there is"])
def test_what_the_feed_brought_before_the_partition_was_owned_is_read(seen: int) -> None:
    """There may be less: a log may have lost its end, or been made again."""
    world = World()

    async def story() -> None:
        await world.cluster.run_source()
        partition = world.start(seen)
        await world.until(lambda: world.committed == min(seen, LENGTH))
        if seen < LENGTH:
            await world.feed(seen, seen + 10)
        assert await partition.close(8.0) is not None

    world.tell(story())


def test_a_partition_that_cannot_save_is_closed_in_time(logs: list[Any]) -> None:
    """What is not saved is left to the next owner, and nothing is wrong with that."""
    world = World()

    async def story() -> None:
        await world.cluster.run_source()
        partition = world.start()
        await world.feed(0, 10)
        await world.feed(10, 20)
        # Requests to be erased come too, and what is still to be committed has no time limit but the partition's.
        await world.until(lambda: partition._session is not None and partition._session.idle)
        world.cluster.network.weather = _NOTHING_ARRIVES
        assert await partition.close(8.0) is None

    world.tell(story())
    assert [entry["event"] for entry in logs if entry["event"].startswith("partition")] == [
        "partition running",
        "partition closed",
    ]


def test_an_owner_claims_results_and_then_snapshots_so_that_one_under_way_is_not_committed() -> None:
    """Its later rows would come after those of the new owner, who has not read it."""
    world = World()

    async def story() -> None:
        await world.cluster.run_source()
        kafka = world.cluster.kafka()
        before = [await kafka.claim(0), await kafka.claim(0, of=SNAPSHOTS)]
        saver = before[1]
        await saver.begin_transaction()
        batch = saver.create_batch()
        batch.append(timestamp=0, key=b"c", value=b"row")
        await (await saver.send_batch(batch, SNAPSHOTS.name, partition=0))
        partition = world.start()
        await world.until(lambda: partition.state == "running")
        for producer in before:
            with pytest.raises(ProducerFenced):
                await _end(producer)
        await world.feed(0, 10)
        assert b"row" not in [row.value for row in world.cluster.broker.fetch((SNAPSHOTS.name, 0), 0)]

    world.tell(story())
    names = [line.split()[3] for line in world.cluster.trace.lines() if " claimed " in line]
    results = f"{GROUP}-{TOUCHPOINTS.name}-0"
    assert names == [results, f"{results}-snapshots"] * 2


async def _end(producer: Any) -> None:
    if producer.state == "ready":
        await producer.begin_transaction()
        batch = producer.create_batch()
        batch.append(timestamp=0, key=b"c", value=b"row")
        await (await producer.send_batch(batch, SNAPSHOTS.name, partition=0))
    await producer.commit_transaction()


def test_a_partition_that_is_not_closed_in_time_releases_both_its_producers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that is left open has connections, and tasks that nobody ends."""
    world, released = World(), []

    async def hangs(_: Any, producer: Any) -> None:
        released.append(producer.name)
        await asyncio.sleep(60.0)

    async def story() -> None:
        await world.cluster.run_source()
        partition = world.start()
        await world.feed(0, 10)
        monkeypatch.setattr(SimulatedKafka, "release", hangs)
        await partition.close(2.0)

    world.tell(story())
    results = f"{GROUP}-{TOUCHPOINTS.name}-0"
    assert released == [results, f"{results}-snapshots"]


def test_a_partition_whose_snapshot_fails_starts_over(
    logs: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its changes count as saved, and would be missing from the next one."""
    world = World(snapshot_seconds=0.05)

    async def fails(_: Saving, results: asyncio.Task[None]) -> None:
        await asyncio.wait([results])
        raise KafkaConnectionError("no leader")

    async def story() -> None:
        await world.cluster.run_source()
        partition = world.start()
        await world.feed(0, 10)
        with monkeypatch.context() as broken:
            broken.setattr(Saving, "_write", fails)
            await world.feed(10, 20)
            await world.until(lambda: partition.counters.failures == 1)
        await world.until(lambda: partition.state == "running")
        assert partition.counters.replayed == 10
        await world.feed(20, 30)
        await partition.close(8.0)

    world.tell(story())
    [failed] = [entry for entry in logs if entry["event"].startswith("partition failed")]
    assert "no leader" in failed["error"]


def test_a_closing_partition_saves_with_the_receipt_that_somebody_is_erased() -> None:
    world = World(flush_seconds=1000.0, flush_records=10)
    request = world.erasing(10)
    receipts = world.cluster.broker.log((FORGOTTEN.name, 0)).records

    async def story() -> None:
        await world.cluster.run_source()
        partition = world.start()
        await world.feed(0, request)
        before = len(receipts)
        partition.put(Fetch(0, world.records[request : request + 1], request - 1, LENGTH))
        await world.until(lambda: partition.position == request + 1)
        assert len(receipts) == before
        await partition.close(8.0)
        assert len(receipts) == before + 1

    world.tell(story())
    saved = world.cluster.broker.fetch((SNAPSHOTS.name, 0), 0)
    assert receipts[-1].transaction in [row.transaction for row in saved]


def test_a_state_for_another_number_of_partitions_is_not_used() -> None:
    """The others' customers are left out of it, and their rows and cards would go with its first commit."""
    world = World()

    async def story() -> None:
        kafka = world.cluster.kafka()
        settings = world.cluster.scenario.settings
        world.partition = Partition(settings, kafka, 0, parked=None, counters=Counters(), count=2)
        partition = world.partition
        await world.until(lambda: partition.counters.failures > 0)
        assert partition.position is None
        assert world.committed == 0

    world.tell(story())
