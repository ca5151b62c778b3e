"""A warehouse that follows Kafka: the same as one from files, exactly once, provable, and one process at a time."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import uuid
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import aiokafka
import pytest
from aiokafka.admin import RecordsToDelete
from aiokafka.structs import TopicPartition

from cxstream.files.scored import empty, encode, record_batch
from cxstream.kafka.admin import administration
from cxstream.kafka.connection import connection
from cxstream.model.errors import LostRecordsError, WarehouseError
from cxstream.model.scored import CLOCK
from cxstream.scoring.router import Router
from cxstream.settings import Settings
from cxstream.topology import FORGOTTEN, REJECTED, SCORED, SCORES
from cxstream.warehouse.feed import positions
from cxstream.warehouse.follow import follow
from cxstream.warehouse.rebuild import rebuild, verify
from cxstream.warehouse.store import Store, copy_of, reading
from cxstream.warehouse.verify import compare
from in_process import completed
from workers import Watcher, WorkerProcess, touchpoint, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PARTITIONS = 2
SECONDS = 60.0
WAREHOUSE = {"memory_mib": 512, "threads": 1, "flush_rows": 40, "flush_seconds": 0.2, "keep_days": 100_000}

pytestmark = [pytest.mark.broker, pytest.mark.timeout(280)]


@pytest.fixture
def settings(kafka: str) -> Settings:
    group = f"test-{uuid.uuid4().hex[:12]}"
    return Settings(
        kafka=kafka, warehouse=WAREHOUSE, worker={"group": group, "metrics_port": 0, "web_port": 0}
    )


def records() -> list[bytes]:
    """Events of some customers, of which one is erased, and records that are rejected."""
    events = [touchpoint(f"c{i % 5}", i, touchpoint="checkout" if i % 2 else None) for i in range(300)]
    asked = json.loads(touchpoint("c1", 200)) | {"type": "cx.forget.v1", "id": "f"}
    asked.pop("data")
    events[200:200] = [json.dumps(asked).encode(), b"{", touchpoint("c2", 3, channel="telex")]
    return events


def from_files(folder: Path, values: list[bytes]) -> Path:
    """The warehouse that `replay` makes of the records."""
    (folder / "in.ndjson").write_bytes(b"\n".join(values) + b"\n")
    options = ["--partitions", PARTITIONS, "--warehouse", folder / "files.duckdb"]
    completed("replay", folder / "in.ndjson", "--out", folder / "out", "-q", *options)
    return folder / "files.duckdb"


Written = dict[tuple[str, int], list[tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]]]


def written(router: Router, values: list[bytes]) -> Written:
    """What workers write about some records: (key, value, headers), by topic and partition."""
    outcome = router.process(values)
    found: Written = defaultdict(list)
    assert outcome.scored is not None
    for p in range(PARTITIONS):
        mine = [i for i, partition in enumerate(outcome.scored.partitions.tolist()) if partition == p]
        if mine:
            found[SCORED.name, p].append((None, encode(record_batch(outcome.scored.taken(mine))), []))
    for row in outcome.rows:
        cause = json.loads(row.value)["data"]["cause"]["partition"]
        found[row.topic, cause].append((row.key, row.value, []))
    for each in outcome.rejected:
        said = {
            "reason": each.reason,
            "field": each.field,
            "topic": "cx.touchpoints",
            "partition": "0",
            "offset": "1",
        }
        headers = [(name, text.encode()) for name, text in said.items()]
        found[REJECTED.name, 0].append((None, values[each.index], headers))
    return found


def cards(router: Router) -> Written:
    found: Written = defaultdict(list)
    for _, card in router.cards():
        event = json.loads(card)
        partition = int(event["id"].partition(":")[0].rsplit("-", 2)[1])
        found[SCORES.name, partition].append((event["subject"].encode(), card, []))
    return found


async def produce(settings: Settings, what: Written) -> None:
    async with aiokafka.AIOKafkaProducer(**connection(settings)) as producer:
        for (topic, partition), some in what.items():
            for key, value, headers in some:
                await producer.send_and_wait(topic, value, key=key, headers=headers, partition=partition)


async def catch_up(settings: Settings, path: Path, **options: Any) -> None:
    with Store(path, settings.warehouse) as store:
        await follow(settings, store, lambda _: None, until_end=True, **options)


def differences(settings: Settings, here: Path, there: Path) -> set[str]:
    # Kafka says when a rejected record arrived, a file does not.
    found = {each.table for each in compare(here, there, settings.warehouse, ignore=("arrived",))}
    return found - {"rejected"}


def select(settings: Settings, path: Path, query: str) -> list[tuple[Any, ...]]:
    with reading(path, settings.warehouse) as connection:
        return connection.execute(query).fetchall()


async def cut(settings: Settings, topic: str, partition: int, before: int) -> None:
    """Delete the first records of a partition, as retention does."""
    async with administration(settings) as admin:
        await admin.delete_records({TopicPartition(topic, partition): RecordsToDelete(before_offset=before)})


async def test_a_followed_warehouse_equals_one_from_files_and_the_log(
    settings: Settings, topics: Callable[[int], None], tmp_path: Path
) -> None:
    topics(PARTITIONS)
    values = records()
    files, path = from_files(tmp_path, values), tmp_path / "w.duckdb"
    router = Router(settings.scoring, settings.actions, partitions=PARTITIONS, scored=True)
    places: set[tuple[str, int]] = set()
    for i in range(0, len(values), 60):
        some = written(router, values[i : i + 60])
        places |= some.keys()
        await produce(settings, some)
        if i % 120 == 0:
            await catch_up(settings, path)
    # Whatever else is in a topic is left out.
    strange = [
        (None, b"nothing", []),
        *((None, empty(), [(CLOCK, said)]) for said in (b"-1", b"1_0", b"9" * 16)),
    ]
    await produce(settings, {(SCORED.name, 0): strange, (SCORES.name, 1): [(b"x", b"{}", [])]})
    await produce(settings, cards(router))
    await catch_up(settings, path)
    assert differences(settings, path, files) == set()
    assert select(settings, path, "SELECT reason, sum(records) FROM rejected GROUP BY 1 ORDER BY 1") == [
        ("invalid", 1),
        ("malformed", 1),
    ]
    assert select(settings, path, "SELECT count(*) FROM touchpoints")[0][0] > 200

    assert await verify(settings, path) == []
    with Store(path, settings.warehouse) as store:
        store.connection.execute("UPDATE touchpoints SET effort = effort + 1 WHERE id = 'e250'")
    assert [each.table for each in await verify(settings, path) if each.table == "touchpoints"] == [
        "touchpoints"
    ]
    await rebuild(settings, path)
    assert await verify(settings, path) == []
    assert differences(settings, path, files) == set()

    # The log loses its beginning: the rest can still be proved, and the file is worth keeping.
    for topic, partition in places:
        if topic in {SCORED.name, FORGOTTEN.name}:
            await cut(settings, topic, partition, 1)
    assert await verify(settings, path) == []
    with pytest.raises(WarehouseError, match="touchpoints, up to 2025-03-01, that the log no longer has"):
        await rebuild(settings, path)
    assert differences(settings, path, files) == set()
    behind = tmp_path / "behind.duckdb"
    with Store(behind, settings.warehouse) as store:
        store.connection.execute("INSERT INTO positions VALUES ('cx.scored', 0, 0)")
    with pytest.raises(
        LostRecordsError, match=r"cx\.scored-0: .* offset 0, and the log begins at 1: .*--accept-loss"
    ):
        await catch_up(settings, behind)
    await catch_up(settings, behind, accept_loss=True)
    with Store(behind, settings.warehouse) as store:
        assert positions(store)["cx.scored", 0] > 1
        store.connection.execute("UPDATE positions SET next_offset = 10000")
    with pytest.raises(LostRecordsError, match="another log"):
        await catch_up(settings, behind)
    await rebuild(settings, path, accept_loss=True)
    assert "touchpoints" in differences(settings, path, files)


async def test_what_a_worker_writes_makes_the_same_warehouse_as_replay(
    settings: Settings, topics: Callable[[int], None], tmp_path: Path
) -> None:
    topics(PARTITIONS)
    files, path = from_files(tmp_path, records()), tmp_path / "w.duckdb"
    completed("produce", tmp_path / "in.ndjson", "--kafka", settings.kafka)
    async with Watcher(settings, PARTITIONS) as watcher:
        with WorkerProcess(settings, tmp_path / "log") as worker:
            worker.ready()
            await until(watcher.all_committed, SECONDS * 2, lambda: worker.log)
            assert worker.stop() == 0
    await catch_up(settings, path)
    assert differences(settings, path, files) == set()
    assert select(settings, path, "SELECT count(arrived) > 200 FROM touchpoints") == [(True,)]


def start(settings: Settings, path: Path, *options: str) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        **{f"CXSTREAM_WAREHOUSE__{name.upper()}": str(value) for name, value in WAREHOUSE.items()},
    }
    command = [sys.executable, "-m", "cxstream", "warehouse", "follow", "--warehouse", str(path), *options]
    return subprocess.Popen(
        [*command, "--kafka", settings.kafka],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


async def test_a_process_that_is_killed_goes_on_where_it_was_and_serves_readers_by_a_copy(
    settings: Settings, topics: Callable[[int], None], tmp_path: Path
) -> None:
    topics(PARTITIONS)
    values = records()
    path = tmp_path / "w.duckdb"
    router = Router(settings.scoring, settings.actions, partitions=PARTITIONS, scored=True)
    await produce(settings, written(router, values[:100]))
    with start(settings, path) as killed:
        await until(path.exists, SECONDS, lambda: "no file")
        await produce(settings, written(router, values[100:200]))
        killed.kill()
        killed.communicate()
    with start(settings, path) as follower:
        assert follower.stdout is not None
        line = await asyncio.to_thread(follower.stdout.readline)
        assert line == f"ready: {path} is up to date\n"
        with start(settings, path) as second:
            _, said = await asyncio.to_thread(second.communicate)
            assert second.returncode == 1
            assert f"process {follower.pid} has it open" in said
        follower.send_signal(signal.SIGUSR1)
        await until(copy_of(path).exists, SECONDS, lambda: "no copy")
        assert select(settings, path, "SELECT count(*) FROM touchpoints")[0][0] > 100
        follower.send_signal(signal.SIGTERM)
        await asyncio.to_thread(follower.communicate)
        assert follower.returncode == 0
    assert await verify(settings, path) == []
