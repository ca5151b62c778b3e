"""Snapshots in transactions of their own: what they wait for, and what becomes of them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka.errors import ProducerFenced

from cxstream.kafka.transactions import TransactionProducer
from cxstream.model.parameters import ScoringParams
from cxstream.scoring.engine import Engine
from cxstream.scoring.state.sealed_rows import columns_of
from cxstream.topology import SNAPSHOTS
from cxstream.worker.clients import BATCH_BYTES
from cxstream.worker.metrics.counters import Counters
from cxstream.worker.ownership import saving
from cxstream.worker.ownership.saving import Saving
from cxstream.worker.ownership.session import OwnershipSession

if TYPE_CHECKING:
    from collections.abc import Callable


PLACE = (SNAPSHOTS.name, 0)


class Producer(TransactionProducer):
    """Writes down what it is asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.sizes: list[int] = []
        self.sent = asyncio.Event()

    async def begin_transaction(self) -> None:
        self.asked.append("begin")

    def create_batch(self, *, compress: bool = False) -> Any:
        assert not compress

        def fill(data: bytes, rows: int, _: int) -> None:
            self.sizes.append(len(data))
            self.asked.append(rows)

        return SimpleNamespace(fill=fill)

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> Any:
        assert (topic, partition) == PLACE
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        sent.set_result(None)
        self.sent.set()
        return sent

    async def commit_transaction(self) -> None:
        self.asked.append("commit")


def of(count: int, results: asyncio.Future[None], limit: int | None = None) -> tuple[Saving, Producer]:
    rows = columns_of([(b"c%05d" % i, b"v" * 100) for i in range(count)])
    producer, taken = Producer(), Engine(ScoringParams(), {}).begin_snapshot()
    return Saving(replace(taken, changed=[rows]), producer, PLACE, limit, results), producer


def results() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


async def test_a_snapshot_is_written_when_the_results_up_to_it_are_committed() -> None:
    before = results()
    one, producer = of(5, before)
    for _ in range(10):
        await asyncio.sleep(0)
    assert producer.asked == []
    before.set_result(None)
    assert await one.written == 6
    assert producer.asked == ["begin", 6, "commit"]


@pytest.mark.parametrize(
    "fail", [lambda each: each.cancel(), lambda each: each.set_exception(ProducerFenced())]
)
async def test_a_snapshot_of_results_that_were_not_committed_is_not_written(
    fail: Callable[[asyncio.Future[None]], object],
) -> None:
    before = results()
    one, producer = of(5, before)
    fail(before)
    assert await one.written is None
    assert producer.asked == []


async def test_a_snapshot_that_kafka_does_not_take_is_named_and_taken_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(saving, "_LATE_SECONDS", 0.001)
    before, led, told = results(), asyncio.Event(), asyncio.Event()
    one, producer = of(5, before)
    monkeypatch.setattr(saving.log, "warning", lambda *_, **places: told.set() or warned.append(places))
    warned: list[dict[str, Any]] = []
    send = producer.send_batch

    async def leaderless(*args: Any, **options: Any) -> Any:
        await led.wait()
        return await send(*args, **options)

    monkeypatch.setattr(producer, "send_batch", leaderless)
    before.set_result(None)
    await told.wait()
    led.set()
    assert await one.written == 6
    assert warned == [{"topic": SNAPSHOTS.name, "partition": 0, "seconds": 0.001}]


async def test_a_snapshot_that_kafka_takes_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    timers: list[Any] = []
    loop = asyncio.get_running_loop()
    later = loop.call_later
    monkeypatch.setattr(loop, "call_later", lambda *args: timers.append(later(*args)) or timers[-1])
    before = results()
    one, _ = of(5, before)
    before.set_result(None)
    await one.written
    assert [each.cancelled() for each in timers if each.when() > loop.time() + 30] == [True]


@pytest.mark.parametrize(
    ("end", "saved", "unsaved"),
    [
        (lambda task: task.set_result(6), 1, 0),
        (lambda task: task.set_result(None), 0, 0),
        (lambda task: task.set_exception(ProducerFenced()), 0, 1),
        (lambda task: task.cancel(), 0, 0),
    ],
    ids=["written", "not wanted", "failed", "abandoned"],
)
async def test_snapshots_are_counted_by_their_end(
    end: Callable[[asyncio.Future[Any]], object], saved: int, unsaved: int
) -> None:
    task: Any = asyncio.get_running_loop().create_future()
    end(task)
    counters = Counters()
    session: Any = SimpleNamespace(_counters=counters)
    OwnershipSession._count_saved(session, task)
    assert (counters.snapshots, counters.unsaved) == (saved, unsaved)


async def test_a_snapshot_is_sent_in_pieces_and_without_pauses_once_somebody_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(saving, "_PAUSE_SECONDS", 60.0)
    monkeypatch.setattr(saving, "_PAUSES_SECONDS", 6000.0)
    before = results()
    one, producer = of(5000, before)
    before.set_result(None)
    await producer.sent.wait()
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(producer.sizes) == 1, "it pauses"
    await one.finish()
    assert await one.written == 5001
    assert (producer.asked[0], producer.asked[-1]) == ("begin", "commit")
    assert sum(producer.asked[1:-1]) == 5001
    assert max(producer.sizes) <= saving._PIECE_BYTES


async def test_all_pauses_together_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(saving, "_PAUSES_SECONDS", 0.002)
    before = results()
    one, producer = of(300, before, limit=1)
    before.set_result(None)
    assert await one.written == 301
    assert producer.asked == ["begin", *[1] * 301, "commit"]
    assert one._paused == pytest.approx(0.002)


async def test_pieces_of_a_large_snapshot_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "_PIECE_BYTES", 1000)
    monkeypatch.setattr(saving, "_PAUSE_SECONDS", 0.0001)
    monkeypatch.setattr(saving, "_PAUSES_SECONDS", 0.001)
    before = results()
    one, producer = of(5000, before)
    before.set_result(None)
    assert await one.written == 5001
    assert len(producer.sizes) in range(10, 13)
    assert max(producer.sizes) < BATCH_BYTES
