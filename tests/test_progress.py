"""One record never stops its partition, on a real Kafka; and where a partition does stand still, it is named."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from cxstream.rejected.record import read
from cxstream.scoring.engine import Engine
from cxstream.scoring.signals import Emitted, Signals, Writer
from cxstream.topology import CHURN_RISK, FRICTION, REJECTED, SCORES, TOUCHPOINTS
from cxstream.worker.clients import Reader
from cxstream.worker.faust.app import create_app
from cxstream.worker.feed import to_records
from cxstream.worker_client.http import get
from damage import DAMAGES, alter, segment
from test_metrics import samples, scraped
from workers import Watcher, customers_of, in_process, touchpoint, until, write

if TYPE_CHECKING:
    from collections.abc import Callable

    from cxstream.local.broker import LocalKafka
    from cxstream.settings import Settings
    from cxstream.worker.faust.app import App

SECONDS = 240.0
RAISES, HUGE = "raises", "huge"

pytestmark = pytest.mark.broker


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signals of some records cannot be written: one fails here, one is larger than Kafka takes."""
    signals = Writer.signals

    def broken(self: Writer, told: Signals) -> list[Emitted]:
        events = [told.felt(place) for place in told.places.tolist()]
        places = [event.data.touchpoint if getattr(event, "data", None) else None for event in events]
        for i, place in enumerate(places):
            if place == RAISES:
                raise ValueError(told.names[i])
        return [
            replace(each, value=each.value + b" " * 14_000_000) if place == HUGE else each
            for each, place in zip(signals(self, told), places, strict=True)
        ]

    monkeypatch.setattr(Writer, "signals", broken)


def crashes(customer: str, first: int, count: int, **data: Any) -> list[bytes]:
    return [touchpoint(customer, first + n, "app_crash", **data) for n in range(count)]


async def source(settings: Settings, partition: int) -> list[Any]:
    async with Reader(settings, settings.worker.group, partition) as reader:
        _, end = await reader.bounds(TOUCHPOINTS.name)
        return [record async for some in reader.read(TOUCHPOINTS.name, 0, end) for record in some]


def quick(settings: Settings, **worker: Any) -> Settings:
    worker = {"flush_seconds": 0.1, "stalled_seconds": 2.0, **worker}
    return settings.model_copy(update={"worker": settings.worker.model_copy(update=worker)})


async def assert_as_without(
    settings: Settings, watcher: Watcher, partition: int, over: dict[int, str], records: list[Any]
) -> None:
    """All results are those of an engine that reads the log once, and passes over these records."""
    engine = Engine(settings.scoring, settings.actions, partition=partition)
    for offset, reason in over.items():
        engine.partition.passed.add(offset, reason)
    outcome = engine.process(to_records(records, 300_000))
    for topic in (CHURN_RISK.name, FRICTION.name):
        expected = [signal.value for signal in outcome.signals if signal.topic == topic]
        assert [r.value for r in (await watcher.read(topic)).get(partition, [])] == expected
    latest = {r.key: r.value for r in (await watcher.read(SCORES.name)).get(partition, [])}
    assert latest == {subject.encode(): card for subject, card in engine.cards()}
    rejected = [read(r) for r in (await watcher.read(REJECTED.name)).get(partition, [])]
    assert {r.place.offset: r.reason for r in rejected if r} == over
    assert all(r and r.value is None for r in rejected)
    assert outcome.signals


async def test_records_that_fail_and_records_to_be_skipped_stop_nothing(
    broker: LocalKafka, settings: Settings, topics: Callable[[int], None], faults: None
) -> None:
    topics(4)
    names = [customers_of(p, 4, 2) for p in range(4)]
    for times in range(4):
        first = 10 * times
        middle = {0: {"touchpoint": RAISES}, 1: {"touchpoint": HUGE}}
        await write(
            settings,
            TOUCHPOINTS.name,
            {
                p: crashes(names[p][0], first, 3, **(middle.get(p, {}) if times == 1 else {}))
                + crashes(names[p][1], first + 5, 3)
                for p in range(4)
            },
        )
    logs = {p: await source(settings, p) for p in range(4)}
    alter(segment(broker, TOUCHPOINTS.name, 2), 6, DAMAGES["unknown codec"])
    logs[2] = [record for record in logs[2] if not 6 <= record.offset < 12]
    asked = quick(settings, skip=("2:6-11", "3:7", "3:1000"))
    with capture_logs() as said:
        async with in_process(create_app(asked)), Watcher(settings, 4) as watcher:
            await until(lambda: committed(watcher, 96), SECONDS, lambda: str(said)[-3000:])
    failing = {p: [n for n in range(6, 9) if p < 2] for p in range(2)}
    async with Watcher(settings, 4) as watcher:
        found = {
            p: {r.place.offset: r.reason for r in map(read, records) if r}
            for p, records in (await watcher.read(REJECTED.name)).items()
        }
    for p in range(2):
        assert found[p], said
        assert set(found[p]) <= set(failing[p])
        assert set(found[p].values()) == {"failed"}
    found[2], found[3] = dict.fromkeys(range(6, 12), "skipped"), {7: "skipped"}
    for p in range(4):
        async with Watcher(settings, 4) as watcher:
            await assert_as_without(settings, watcher, p, found[p], logs[p])
    over = [each for each in said if each["event"] == "record passed over: it is rejected by reference"]
    assert {(e["topic"], e["partition"], e["offset"]) for e in over} == {
        (TOUCHPOINTS.name, p, offset) for p in range(4) for offset in found[p]
    }
    assert all(each["log_level"] == "error" for each in over)
    assert not any(name in str(over) for some in names for name in some)
    ends = [each for each in said if each["event"] == "not skipped: the log ends before"]
    assert [(each["partition"], each["asked"]) for each in ends] == [(3, "1000")]

    # Again with the same options, and with a record that has been processed: nothing is done, and it is said.
    again = quick(settings, skip=("2:6-11", "3:7", "3:8"))
    with capture_logs() as said:
        app = create_app(again)
        async with in_process(app), Watcher(settings, 4) as watcher:
            await until(lambda: app.ready, SECONDS, lambda: str(said)[-3000:])
            await write(settings, TOUCHPOINTS.name, {0: crashes(names[0][0], 100, 1)})
            await until(lambda: committed(watcher, 97), SECONDS, lambda: str(said)[-3000:])
            assert sum(map(len, (await watcher.read(REJECTED.name)).values())) == sum(
                map(len, found.values())
            )
    told = {(e["event"], e["partition"], e["asked"]) for e in said if "asked" in e}
    assert told == {
        ("skipped before; --skip can be left out", 2, "6-11"),
        ("skipped before; --skip can be left out", 3, "7"),
        ("not skipped: processed before", 3, "8"),
    }


async def committed(watcher: Watcher, offsets: int) -> bool:
    return await watcher.committed() == offsets


async def test_where_a_partition_makes_no_progress_is_named(
    settings: Settings, topics: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is applied from offset 3 on fails, as if not a record but the installation were at fault."""
    topics(2)
    records = {p: crashes(*customers_of(p, 2), 0, 6) for p in range(2)}
    await write(settings, TOUCHPOINTS.name, {p: some[:3] for p, some in records.items()})
    process = Engine.score

    def fails(self: Engine, decoded: Any, batch: Any) -> Any:
        if self.partition.number == 1 and batch.offsets[-1] >= 3:
            raise OSError("no such device")
        return process(self, decoded, batch)

    app = create_app(quick(settings))
    with capture_logs() as said:
        async with in_process(app), Watcher(settings, 2) as watcher:
            await until(lambda: committed(watcher, 6), SECONDS, lambda: str(said))
            await until(lambda: app.ready, SECONDS, lambda: str(said))
            assert await metric(app) == {}
            monkeypatch.setattr(Engine, "score", fails)
            await write(settings, TOUCHPOINTS.name, {p: some[3:] for p, some in records.items()})
            await until(lambda: app.partitions.counters[1].failures >= 3, SECONDS, lambda: str(said))
            seen: set[bool] = set()
            await until(lambda: seen.add(app.ready) or app.watch.stalls, SECONDS, lambda: str(said))
            assert seen == {False}
            status, body = await asyncio.to_thread(
                get, f"http://{app.conf.web_host}:{app.conf.web_port}/readyz"
            )
            assert status == 503
            assert body["no_progress"]["1"]["offset"] == 3
            assert "OSError" in body["no_progress"]["1"]["reason"]
            assert set(body["no_progress"]) == {"1"}
            assert await metric(app) == {"1": 3.0}
            monkeypatch.setattr(Engine, "score", process)
            await until(lambda: committed(watcher, 12), SECONDS, lambda: str(said))
            await until(lambda: app.ready, SECONDS, lambda: str(said))
            assert await metric(app) == {}
    assert not [each for each in said if "no such device" in str(each)]


async def metric(app: App) -> dict[str, float]:
    assert app.exporter
    found = samples(await asyncio.to_thread(scraped, app.exporter.address))
    name = "cxstream_partition_no_progress_offset"
    return {dict(labels)["partition"]: number for (each, labels), number in found.items() if each == name}
