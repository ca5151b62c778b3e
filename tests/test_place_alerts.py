"""Signals about places on a real Kafka: a follower, a second one, files and a rebuild say the same, each signal with one id."""

from __future__ import annotations

import json
import threading
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from cxstream.files.scored import empty as empty_record
from cxstream.files.scored import encode, record_batch
from cxstream.kafka.admin import administration, partition_counts
from cxstream.model.errors import MissingTopicError
from cxstream.scoring.router import Router
from cxstream.settings import Settings
from cxstream.topology import INSIGHTS, SCORED
from cxstream.warehouse.feed import TOPICS
from cxstream.warehouse.follow import follow
from cxstream.warehouse.metrics import FollowMetrics
from cxstream.warehouse.predictions import PredictionWatch
from cxstream.warehouse.rebuild import rebuild, verify
from cxstream.warehouse.store import Store, reading
from in_process import completed
from test_warehouse_follow import Written, produce
from workers import Watcher, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.broker, pytest.mark.timeout(280)]

PARTITIONS = 2
WAREHOUSE = {"memory_mib": 512, "threads": 1, "flush_seconds": 0.1, "keep_days": 100_000}
START = datetime(2025, 3, 3, tzinfo=UTC)
DAYS = 8
OUTAGE = DAYS * 1440 + 14 * 60
END = OUTAGE + 200


def event(number: int, minute: int, *, failed: bool = False) -> bytes:
    moment = START + timedelta(minutes=minute, seconds=number % 60)
    kind = "error" if failed else "page_view"
    return json.dumps(
        {
            "specversion": "1.0",
            "id": f"e{number}",
            "source": "/shop",
            "type": f"cx.touchpoint.{kind}.v1",
            "subject": f"c{number % 700}",
            "time": moment.isoformat(),
            "data": {"channel": "web", "touchpoint": "checkout"},
        }
    ).encode()


EVENTS = [
    *[event(i, 3 * i, failed=i % 50 == 0) for i in range(OUTAGE // 3)],
    *[event(100_000 + i, OUTAGE + i, failed=True) for i in range(45)],
    *[event(200_000 + i, OUTAGE + 45 + i) for i in range(END - OUTAGE - 45)],
]


@pytest.fixture
def settings(kafka: str) -> Settings:
    return Settings(kafka=kafka, warehouse=WAREHOUSE, worker={"group": f"test-{uuid.uuid4().hex[:12]}"})


def scored(router: Router, values: list[bytes]) -> Written:
    """The records of cx.scored, as a worker writes them."""
    outcome = router.process(values)
    assert outcome.scored is not None
    found: Written = {}
    for p in range(PARTITIONS):
        mine = [i for i, partition in enumerate(outcome.scored.partitions.tolist()) if partition == p]
        found[SCORED.name, p] = [(None, encode(record_batch(outcome.scored.taken(mine))), [])]
    return found


def clocks(*minutes: float) -> Written:
    """What a worker writes if only ticks come."""
    found: Written = {}
    for partition, minute in enumerate(minutes):
        clock = round((START + timedelta(minutes=minute)).timestamp() * 1000)
        headers = [("rows", b"0"), ("clock", str(clock).encode())]
        found[SCORED.name, partition] = [(None, empty_record(), headers)]
    return found


async def catch_up(settings: Settings, path: Path, metrics: FollowMetrics | None = None) -> None:
    with Store(path, settings.warehouse) as store:
        await follow(settings, store, lambda _: None, until_end=True, metrics=metrics)


async def told(settings: Settings) -> list[tuple[str, bytes]]:
    """What is in cx.insights: key and value, in the order of the partitions."""
    async with Watcher(settings, PARTITIONS) as watcher:
        found = await watcher.read(INSIGHTS.name)
    return [(record.key.decode(), record.value) for some in found.values() for record in some]


def kept(settings: Settings, path: Path) -> list[bytes]:
    with reading(path, settings.warehouse) as connection:
        rows = connection.execute("SELECT event FROM place_signals ORDER BY time, n").fetchall()
    return [event.encode() for (event,) in rows]


def value(metrics: FollowMetrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


@pytest.fixture
def predicting(monkeypatch: pytest.MonkeyPatch) -> set[threading.Thread]:
    """The threads in which predictions are compared."""
    step, threads = PredictionWatch.step, set[threading.Thread]()

    def seen(watch: PredictionWatch) -> None:
        threads.add(threading.current_thread())
        step(watch)

    monkeypatch.setattr(PredictionWatch, "step", seen)
    return threads


async def test_followers_files_and_a_rebuild_say_the_same(
    settings: Settings, topics: Callable[[int], None], tmp_path: Path, predicting: set[threading.Thread]
) -> None:
    (tmp_path / "in.ndjson").write_bytes(b"\n".join(EVENTS) + b"\n")
    files = tmp_path / "files.duckdb"
    options = ["--partitions", PARTITIONS, "--warehouse", files]
    completed("replay", tmp_path / "in.ndjson", "--out", tmp_path / "out", "-q", *options)
    wanted = kept(settings, files)
    subjects = {json.loads(each)["subject"] for each in wanted}
    assert subjects == {"touchpoint/web/checkout", "channel/web"}
    out = tmp_path / "told.ndjson"
    completed("insights", "--warehouse", files, "--format", "ndjson", "--out", out)
    assert out.read_bytes().splitlines() == wanted

    topics(PARTITIONS)
    path, metrics = tmp_path / "w.duckdb", FollowMetrics([topic.contract for topic in TOPICS])
    router = Router(settings.scoring, settings.actions, partitions=PARTITIONS, scored=True)
    half = OUTAGE // 3 + 30
    await produce(settings, scored(router, EVENTS[:half]))
    await catch_up(settings, path, metrics)
    raised = await told(settings)
    assert {json.loads(each)["data"]["change"] for _, each in raised} == {"raised"}
    opened = value(metrics, "cxstream_place_alarms_open", dimension="touchpoint", measure="failure")
    assert opened == 1
    assert value(metrics, "cxstream_place_signals_total", change="raised") == len(raised)
    assert value(metrics, "cxstream_warehouse_lag_records", topic="cx.scored") == 0
    assert value(metrics, "cxstream_warehouse_rows_total") == half
    # Predictions are compared in the same step, beside the event loop; nobody knows yet what comes of them.
    assert predicting - {threading.main_thread()} == predicting != set()
    waiting = value(metrics, "cxstream_predictions", rules="in_force", state="waiting")
    assert (waiting or 0) >= 700
    assert value(metrics, "cxstream_predictions", rules="in_force", state="followed") == 0

    await produce(settings, scored(router, EVENTS[half:]))
    await catch_up(settings, path)
    # One partition has nothing to say for a while: what is complete is what both are past.
    await produce(settings, clocks(END + 60, END + 60))
    await catch_up(settings, path, metrics)
    found = await told(settings)
    assert sorted(each for _, each in found) == sorted(wanted)
    assert all(key == json.loads(each)["subject"] for key, each in found)
    assert kept(settings, path) == wanted
    assert await verify(settings, path) == []

    # Kafka has it, and the process was killed before it remembered that: it comes again, with the same id.
    with Store(path, settings.warehouse) as store:
        store.connection.execute("UPDATE place_signals SET sent = false WHERE n = 0 AND change = 'cleared'")
    await catch_up(settings, path)
    again = await told(settings)
    assert len(again) > len(found)
    assert set(again) == set(found)

    # A second follower says the same; a rebuild has it, and sends nothing again.
    await catch_up(settings, tmp_path / "second.duckdb")
    assert set(await told(settings)) == set(found)
    assert kept(settings, tmp_path / "second.duckdb") == wanted
    before = len(await told(settings))
    await rebuild(settings, path)
    await catch_up(settings, path)
    assert kept(settings, path) == wanted
    assert len(await told(settings)) == before


async def test_signals_stay_in_the_file_where_they_are_not_published(
    settings: Settings, topics: Callable[[int], None], tmp_path: Path
) -> None:
    topics(PARTITIONS)
    async with administration(settings) as admin:
        await admin.delete_topics([INSIGHTS.name])

        async def gone() -> bool:
            return INSIGHTS.name not in await partition_counts(admin)

        await until(gone, 60.0, lambda: "still there")
    with pytest.raises(MissingTopicError, match=r"cx\.insights.*cxstream topics --create"):
        await catch_up(settings, tmp_path / "w.duckdb")
    quiet: dict[str, Any] = {"insights": settings.insights.model_copy(update={"publish": False})}
    await catch_up(settings.model_copy(update=quiet), tmp_path / "w.duckdb")
