"""The batch transport: what it relies on, and what an app sees through it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import aiokafka
import faust
import numpy as np
import pytest
from aiokafka.protocol.fetch import FetchRequest
from faust.exceptions import ImproperlyConfigured
from faust.transport import by_url
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.types import TP

from cxstream.kafka.connection import connection
from cxstream.kafka.records import PackedRecords
from cxstream.scoring.codec.packed import Packed
from cxstream.settings import Settings
from cxstream.topology import FRICTION, TOUCHPOINTS
from cxstream.worker.faust.app import create_app
from cxstream.worker.faust.transport import Consumer, ConsumerThread, Transport
from cxstream.worker.faust.upstream_pins import DIGESTS, digest
from workers import in_process, key_of, members, touchpoint, until, write

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from cxstream.worker.feed import Fetch


@pytest.mark.parametrize("name", DIGESTS)
def test_faust_is_what_the_transport_was_written_against(name: str) -> None:
    assert digest(name) == DIGESTS[name]


def test_url_finds_the_transport() -> None:
    assert by_url("cxstream://localhost:9092") is Transport


async def test_another_app_is_told_to_use_another_transport() -> None:
    app = faust.App("other", broker="cxstream://localhost:9092")
    with pytest.raises(ImproperlyConfigured, match="create_app"):
        _ = app.consumer


@pytest.mark.broker
async def test_a_fetch_is_one_message_and_other_topics_pass_through(
    settings: Settings, topics: Callable[[int], None]
) -> None:
    topics(2)
    app = create_app(
        settings.model_copy(update={"worker": settings.worker.model_copy(update={"web": False})})
    )
    fetches: list[Fetch] = []
    singles: list[bytes] = []
    app.partitions.put = fetches.append

    @app.agent(app.topic(FRICTION.name, value_type=bytes, value_serializer="raw"))
    async def others(values: AsyncIterator[bytes]) -> None:
        async for value in values:
            singles.append(value)  # noqa: PERF401 - it never ends

    values = [touchpoint(f"c{n}", n) for n in range(500)]
    await write(settings, TOUCHPOINTS.name, {0: values[:300], 1: values[300:400]})
    async with aiokafka.AIOKafkaProducer(**connection(settings), transactional_id="a-source") as source:
        for value in values[400:]:
            await _in_transaction(source, b"never mind", commit=False)
            await _in_transaction(source, value, commit=True)
    await write(settings, FRICTION.name, {0: values[:5]})
    async with in_process(app):
        await until(lambda: len(singles) == 5, 60, lambda: str(singles))
        await until(
            lambda: sum(len(fetch.records) for fetch in fetches) == 500, 60, lambda: str(len(fetches))
        )
        assert await app.commit(set()) is not None  # Faust's own commit has nothing to do with the batches
    assert singles == values[:5]
    assert len(fetches) < 150
    for number, expected in ((0, values[:300]), (1, values[300:])):
        mine = [fetch for fetch in fetches if fetch.partition == number]
        assert [record.value for fetch in mine for record in fetch.records] == expected
        assert [fetch.follows for fetch in mine] == [None, *(fetch.last for fetch in mine[:-1])]
        assert mine[-1].end > mine[-1].last
        assert all(tuple(record.headers) == () for fetch in mine for record in fetch.records)


@pytest.mark.broker
async def test_brokers_gather_after_a_small_fetch_and_wait_for_one_byte_once_nothing_comes(
    settings: Settings, topics: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    topics(1)
    app = create_app(
        settings.model_copy(
            update={"worker": settings.worker.model_copy(update={"web": False, "ticker": False})}
        )
    )
    fetches: list[Fetch] = []
    app.partitions.put = fetches.append
    waits: list[tuple[int, int]] = []

    class Asked(FetchRequest):
        def __init__(
            self, max_wait: int, min_bytes: int, most: int, isolation: int, asked: Any, **named: Any
        ) -> None:
            if any(topic == TOUCHPOINTS.name for topic, _ in asked):
                waits.append((max_wait, min_bytes))
            super().__init__(max_wait, min_bytes, most, isolation, asked, **named)

    monkeypatch.setattr("aiokafka.consumer.fetcher.FetchRequest", Asked)
    gathering = min(50, round(settings.worker.flush_seconds * 200)), 256 << 10
    async with in_process(app):
        await until(lambda: waits, 60, lambda: "nothing is fetched")
        assert set(waits) == {(500, 1)}
        for _ in range(2):
            await write(settings, TOUCHPOINTS.name, {0: [touchpoint("c", 0)]})
            await until(lambda: gathering in waits, 60, lambda: str(waits))
            await until(lambda: waits[-1] == (500, 1), 60, lambda: str(waits))
            waits.clear()
        assert sum(len(fetch.records) for fetch in fetches) == 2


@pytest.mark.parametrize("change", ["none", "flow", "generation"])
async def test_a_fetch_that_a_rebalance_overtakes_is_passed_on(
    monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Its records may be of the new assignment, and nothing brings them again."""
    fetches: list[Fetch] = []
    partitions = SimpleNamespace(
        topics={TOUCHPOINTS.name}, full=set, room=1, halted="", put=fetches.append,
        damaged=SimpleNamespace(leave_room=lambda _: None),
    )  # fmt: skip
    app = SimpleNamespace(partitions=partitions, consumer_generation_id=1)
    consumer: Any = Consumer.__new__(Consumer)
    consumer.app, consumer.flow_active, consumer._handed_out = app, True, {}
    monkeypatch.setattr(Consumer, "highwater", lambda *_: 10)
    monkeypatch.setattr("cxstream.worker.faust.transport.together", list)
    tp, other = TP(TOUCHPOINTS.name, 0), TP(FRICTION.name, 0)
    firsts, overtakes = [0, 3, 6], ["none", change, "none"]

    async def fetched(*_: Any) -> Any:
        overtaking = overtakes.pop(0)
        consumer.flow_active = overtaking != "flow"
        app.consumer_generation_id += overtaking == "generation"
        first = firsts.pop(0)
        return {tp: [SimpleNamespace(offset=first + n, cost=1) for n in range(3)], other: ["as it is"]}

    monkeypatch.setattr("faust.transport.drivers.aiokafka.Consumer._getmany", fetched)
    while firsts:
        assert await consumer._getmany({tp, other}, 1.0) == {other: ["as it is"]}
    assert [(each.first, each.follows) for each in fetches] == [(0, None), (3, 2), (6, 5)]


def test_few_records_do_not_keep_the_whole_fetch_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Consumer, "highwater", lambda *_: 10)
    consumer: Any = Consumer.__new__(Consumer)
    consumer._handed_out = {}
    text = b"k" * 100_000
    places = np.arange(2, dtype=np.int64)
    few = PackedRecords(
        places, places, 0, Packed(text, places, places + 1), Packed(text, places + 1, places + 2)
    )
    fetch = consumer._next(TP(TOUCHPOINTS.name, 0), [few])
    assert len(fetch.records.values.text) < 1000
    assert [(each.key, each.value) for each in fetch.records] == [(b"k", b"k")] * 2


@pytest.mark.parametrize(
    ("flush", "fetch_bytes", "expected"),
    [
        (0.5, 4 << 20, (50, 256 << 10)),
        (0.1, 4 << 20, (20, 256 << 10)),
        (0.001, 4 << 20, (5, 256 << 10)),
        (0.5, 64 << 10, (50, 32 << 10)),
    ],
)
async def test_a_small_fetch_is_followed_by_one_that_brokers_gather_and_a_large_one_by_one_that_takes_what_is_there(
    flush: float, fetch_bytes: int, expected: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    thread: Any = ConsumerThread.__new__(ConsumerThread)
    fetcher = SimpleNamespace(_fetch_max_wait_ms=500, _fetch_min_bytes=1)
    consumer = SimpleNamespace(_fetcher=fetcher)
    settings = Settings(worker={"flush_seconds": flush})  # type: ignore[arg-type]
    partitions = SimpleNamespace(fetch_bytes=fetch_bytes, damaged=SimpleNamespace(guard=lambda _: None))
    monkeypatch.setattr(
        ConsumerThread, "app", SimpleNamespace(settings=settings, partitions=partitions), raising=False
    )
    asked: list[float] = []
    found: dict[str, list[Any]] = {}

    async def fetch(_: Any, __: Any, ___: Any, *, timeout: float, max_records: Any) -> dict[str, list[Any]]:  # noqa: ASYNC109
        asked.append(timeout)
        return found

    async def nothing(_: Any) -> None:
        pass

    monkeypatch.setattr(AIOKafkaConsumerThread, "on_start", nothing)
    monkeypatch.setattr(AIOKafkaConsumerThread, "_fetch_records", fetch)
    monkeypatch.setattr(thread, "_ensure_consumer", lambda: consumer)
    await thread.on_start()
    waits = []
    for cost in (10, expected[1] - 1, expected[1], 10, 0):
        found = {"tp": [SimpleNamespace(cost=cost)]} if cost else {}
        assert await thread._fetch_records(consumer, set(), timeout=1.0) is found
        waits.append((fetcher._fetch_max_wait_ms, fetcher._fetch_min_bytes))
    assert waits == [expected, expected, (500, 1), expected, (500, 1)]
    assert asked == [1.0, 0.25, 0.25, 1.0, 0.25]


@pytest.mark.broker
async def test_a_worker_leaves_its_group_when_a_rebalance_meets_its_stop(
    settings: Settings, topics: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    topics(1)
    app = create_app(
        settings.model_copy(update={"worker": settings.worker.model_copy(update={"web": False})})
    )
    stop = app.on_stop

    async def met() -> None:
        await app._on_partitions_revoked(set())
        await app._on_partitions_assigned(set())
        await stop()

    monkeypatch.setattr(app, "on_stop", met)
    async with in_process(app):
        await until(lambda: members(settings), 60, lambda: "never joined")
    assert await members(settings) == []


async def _in_transaction(producer: aiokafka.AIOKafkaProducer, value: bytes, *, commit: bool) -> None:
    await producer.begin_transaction()
    await producer.send_and_wait(TOUCHPOINTS.name, value, key=key_of(value), partition=1)
    await (producer.commit_transaction() if commit else producer.abort_transaction())
