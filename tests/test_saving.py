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
from cxstream.worker.ownership import saving
from cxstream.worker.ownership.saving import Saving

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
