"""Erasure on a real Kafka: from `cxstream forget` to files of the broker that no longer have the customer's id."""

from __future__ import annotations

import asyncio
import json
import secrets
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import aiokafka
import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry
from confluent_kafka.admin import ConfigResource as KafkaConfig

from cxstream.kafka.admin import administration
from cxstream.kafka.connection import connection
from cxstream.kafka.producer import route
from cxstream.model.kinds import FORGET_TYPE, TICK_TYPE
from cxstream.scoring.codec.signatures import Authority
from cxstream.scoring.engine import Engine
from cxstream.topology import (
    CHURN_RISK,
    FORGET,
    FORGOTTEN,
    FRICTION,
    REJECTED,
    SCORES,
    SNAPSHOTS,
    TOUCHPOINTS,
)
from cxstream.worker.feed import to_records
from in_process import cxstream_text
from workers import Watcher, WorkerProcess, touchpoint, until, write

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from cxstream.local.broker import LocalKafka
    from cxstream.settings import Settings

SECONDS = 120.0
GRACE_MS = 300_000
BUSY = {"CXSTREAM_WORKER__FLUSH_SECONDS": "0.1", "CXSTREAM_WORKER__SNAPSHOT_SECONDS": "0.5"}
WHOM = "somebody-who-left-4711"
KEY = "a key that is long enough"
OUTPUTS = (CHURN_RISK, FRICTION, SCORES, REJECTED, SNAPSHOTS, FORGOTTEN)

pytestmark = [pytest.mark.broker, pytest.mark.timeout(280)]


@pytest.fixture
async def watcher(settings: Settings, topics: Callable[[int], None]) -> AsyncIterator[Watcher]:
    topics(1)
    async with Watcher(settings, 1) as watcher:
        yield watcher


def forget(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    return cxstream_text("forget", "--kafka", settings.kafka, *arguments)


async def latest(watcher: Watcher, topic: str) -> dict[bytes, bytes | None]:
    return {record.key: record.value for record in (await watcher.read(topic)).get(0, [])}


async def until_committed(watcher: Watcher, worker: WorkerProcess) -> None:
    """Everything that can be read is committed; a marker of a transaction at the end can not be read."""

    async def done() -> bool:
        return await watcher.committed() >= await watcher.produced() - 1

    await until(done, SECONDS, lambda: worker.log)


def troubles(customer: str, count: int, start: int = 0, **data: Any) -> list[bytes]:
    return [touchpoint(customer, start + n, **data) for n in range(count)]


async def test_whoever_asks_is_erased(settings: Settings, watcher: Watcher, tmp_path: Path) -> None:
    opened = touchpoint(WHOM, 30, "complaint_opened", case_id="c1")
    await write(settings, TOUCHPOINTS.name, {0: [*troubles(WHOM, 30), opened, *troubles("other", 30, 60)]})
    with WorkerProcess(settings, tmp_path / "log", **BUSY) as worker:
        worker.ready()
        await until_committed(watcher, worker)
        assert (await latest(watcher, SCORES.name))[WHOM.encode()] is not None

        done = await asyncio.to_thread(forget, settings, WHOM)
        assert done.returncode == 0, done.stderr + worker.log
        assert "erased 1 days, 1 open complaints" in done.stdout
        assert WHOM not in done.stdout
        assert (await latest(watcher, SCORES.name))[WHOM.encode()] is None
        rows = await latest(watcher, SNAPSHOTS.name)
        assert rows[b"c" + WHOM.encode()] is None
        assert rows[b"cother"] is not None
        (receipt,) = (await watcher.read(FORGOTTEN.name))[0]
        assert WHOM.encode() not in receipt.key + receipt.value
        last = json.loads((await watcher.read(CHURN_RISK.name))[0][-1].value)
        assert last["subject"] == WHOM
        cause, previous = last["data"].pop("cause"), last["data"].pop("previous")
        assert last["data"] == {"change": "erased", "level": "none"}
        assert previous in {"elevated", "high", "critical"}
        assert last["id"] == f"{cause['topic']}-{cause['partition']}-{cause['offset']}-0"

        # A straggler does not bring him back; what he does afterwards does.
        await write(settings, TOUCHPOINTS.name, {0: troubles(WHOM, 5, 90)})
        await until_committed(watcher, worker)
        assert (await latest(watcher, SCORES.name))[WHOM.encode()] is None
        assert (await watcher.read(REJECTED.name)) == {}
        later = json.loads(touchpoint(WHOM, 200)) | {
            "time": json.loads(receipt.value)["data"]["requested_at"]
        }
        later["time"] = later["time"][:-1].split(".")[0] + ".999Z"
        await write(settings, TOUCHPOINTS.name, {0: [json.dumps(later).encode()]})

        async def back() -> bool:
            return (await latest(watcher, SCORES.name))[WHOM.encode()] is not None

        await until(back, SECONDS, lambda: worker.log)
        assert worker.stop() == 0, worker.log
        assert WHOM not in worker.log


async def test_a_request_survives_a_worker_that_dies(
    settings: Settings, watcher: Watcher, tmp_path: Path
) -> None:
    await write(settings, TOUCHPOINTS.name, {0: troubles(WHOM, 30)})
    # The group waits as long for a worker that was killed.
    session = {"CXSTREAM_WORKER__SESSION_SECONDS": "6"}
    with WorkerProcess(settings, tmp_path / "one", **session, **BUSY) as worker:
        worker.ready()
        await until_committed(watcher, worker)
        worker.process.kill()
    done = await asyncio.to_thread(forget, settings, WHOM, "--wait", "0")
    assert done.returncode == 0, done.stderr
    assert "asked for 1" in done.stdout
    with WorkerProcess(settings, tmp_path / "two", **session, **BUSY) as worker:
        worker.ready()

        async def told() -> bool:
            return len((await watcher.read(FORGOTTEN.name)).get(0, [])) == 1

        await until(told, SECONDS, lambda: worker.log)
        assert worker.stop() == 0, worker.log
    with WorkerProcess(settings, tmp_path / "three", **BUSY) as worker:
        worker.ready()
        assert worker.stop() == 0, worker.log
    assert await told()
    assert (await latest(watcher, SCORES.name))[WHOM.encode()] is None


async def test_a_key_is_enough_and_what_is_no_request_is_rejected(
    settings: Settings, watcher: Watcher, tmp_path: Path
) -> None:
    await write(settings, TOUCHPOINTS.name, {0: troubles(WHOM, 3)})
    async with aiokafka.AIOKafkaProducer(**connection(settings)) as producer:
        await producer.send_and_wait(FORGET.name, None, key=WHOM.encode(), partition=0)
        await producer.send_and_wait(FORGET.name, b"{}", key=b"x", partition=0)
        await producer.send_and_wait(FORGET.name, b"{}", key=None, partition=0)
    with WorkerProcess(settings, tmp_path / "log", **BUSY) as worker:
        worker.ready()

        async def told() -> bool:
            found = await watcher.read(FORGOTTEN.name), await watcher.read(REJECTED.name)
            return [len(records.get(0, [])) for records in found] == [1, 2]

        await until(told, SECONDS, lambda: worker.log)
        assert worker.stop() == 0, worker.log
    rejected = [dict(record.headers) for record in (await watcher.read(REJECTED.name))[0]]
    assert [(r["reason"], r["field"], r["topic"], r["offset"]) for r in rejected] == [
        (b"invalid", b"type", b"cx.forget", b"1"),
        (b"invalid", b"key", b"cx.forget", b"2"),
    ]


def control(kind: str, ahead: float, key: str | None = None, **more: str) -> bytes:
    """A control record as somebody makes it who may write cx.touchpoints."""
    said = (datetime.now(UTC) + timedelta(seconds=ahead)).isoformat(timespec="milliseconds")
    event = {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": "/shop",
        "type": kind,
        "time": said,
    } | more
    return json.dumps(event if key is None else Authority([key.encode()]).sign(event)).encode()


async def test_who_may_write_touchpoints_erases_nobody_and_moves_no_clock(
    settings: Settings, watcher: Watcher, tmp_path: Path
) -> None:
    """An attack with a producer's rights; then a request through cx.forget, which is followed."""
    ours, theirs = secrets.token_hex(32), secrets.token_hex(32)
    await write(settings, TOUCHPOINTS.name, {0: troubles(WHOM, 30)})
    with WorkerProcess(
        settings, tmp_path / "log", ticker=True, CXSTREAM_CONTROL__KEY=ours, **BUSY,
        CXSTREAM_WORKER__TICK_SECONDS="0.5",
    ) as worker:  # fmt: skip
        worker.ready()
        await until_committed(watcher, worker)
        forged = [
            control(kind, ahead, key, **more)
            for ahead in (-1, 290)
            for key in (None, theirs)
            for kind, more in ((FORGET_TYPE, {"subject": WHOM}), (TICK_TYPE, {}))
        ]
        await write(settings, TOUCHPOINTS.name, {0: forged})
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        events = [json.dumps(json.loads(each) | {"time": now}).encode() for each in troubles(WHOM, 5, 100)]
        await write(settings, TOUCHPOINTS.name, {0: events})

        async def counted() -> bool:
            card = (await latest(watcher, SCORES.name)).get(WHOM.encode())
            return card is not None and json.loads(card)["data"]["touches"]["1"] == 5

        await until(counted, SECONDS, lambda: worker.log)
        assert (await watcher.read(FORGOTTEN.name)) == {}
        rejected = (await watcher.read(REJECTED.name))[0]
        assert [record.value for record in rejected] == forged
        assert {dict(record.headers)["reason"] for record in rejected} == {b"forged"}

        async def ticked() -> bool:
            log = (await watcher.read(TOUCHPOINTS.name))[0]
            return b"/cxstream/ticker" in b"".join(record.value for record in log)

        await until(ticked, SECONDS, lambda: worker.log)
        done = await asyncio.to_thread(forget, settings, WHOM)
        assert done.returncode == 0, done.stderr + worker.log
        assert (await latest(watcher, SCORES.name))[WHOM.encode()] is None
        assert len((await watcher.read(REJECTED.name))[0]) == len(forged), "what the worker signs counts"
        assert worker.stop() == 0, worker.log
        assert ours not in worker.log
    # Who builds the state again from the log, with the next key and this one, comes to the same.
    log = (await watcher.read(TOUCHPOINTS.name))[0]
    engine = Engine(
        settings.scoring,
        settings.actions,
        authority=Authority([secrets.token_bytes(32), ours.encode()]),
    )
    outcome = engine.process(to_records(log, GRACE_MS))
    assert [each.reason for each in outcome.rejected] == ["forged"] * len(forged)
    assert (outcome.erasures, engine.customers) == (1, 0)


def test_what_forget_refuses(kafka: str, settings: Settings, topics: Callable[[int], None]) -> None:
    topics(0)
    assert "name a customer" in forget(settings).stderr
    assert "has 129 characters" in forget(settings, "x" * 129).stderr
    done = forget(settings, "x")
    assert done.returncode == 1
    assert "cx.forget, cx.forgotten: no such topic" in done.stderr
    assert kafka in done.stderr


async def test_nobody_follows_a_request(settings: Settings, topics: Callable[[int], None]) -> None:
    topics(4)
    done = await asyncio.to_thread(forget, settings, WHOM, "--wait", "1")
    assert done.returncode == 1
    assert "1 of 1 receipt did not come within 1 s" in done.stderr
    async with Watcher(settings) as watcher:
        (home,) = (await watcher.read(FORGET.name)).keys()
    assert [home] == route([WHOM.encode()], 4)


QUICK = {
    "segment.ms": "200",
    "max.compaction.lag.ms": "200",
    "min.cleanable.dirty.ratio": "0.001",
    "delete.retention.ms": "0",
}


async def compact_at_once(settings: Settings, topics: tuple[str, ...]) -> None:
    async with administration(settings) as admin:
        await admin.alter_configs(
            [
                ConfigResource(ConfigResourceType.TOPIC, topic, {"cleanup.policy": "compact", **QUICK})
                for topic in topics
            ]
        )


def files_with(broker: LocalKafka, topics: tuple[str, ...], text: bytes) -> list[str]:
    """Files of these topics on the broker's disk that contain a text."""
    assert broker.log is not None
    folders = [broker.log.parent / "log" / f"{topic}-0" for topic in topics]
    files = [file for folder in folders for file in folder.iterdir() if file.suffix in {".log", ".deleted"}]
    return [str(file) for file in files if text in _bytes(file)]


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:  # compacted away since it was listed
        return b""


@pytest.fixture
def busy_cleaner(broker: LocalKafka) -> Iterator[None]:
    """Kafka's cleaner looks for work ten times a second rather than every 15 s."""
    client = AdminClient({"bootstrap.servers": broker.bootstrap})

    def alter(operation: AlterConfigOpType) -> None:
        entry = ConfigEntry("log.cleaner.backoff.ms", "100", incremental_operation=operation)
        node = KafkaConfig(KafkaConfig.Type.BROKER, str(broker.node), incremental_configs=[entry])
        for done in client.incremental_alter_configs([node]).values():
            done.result()

    alter(AlterConfigOpType.SET)
    yield
    alter(AlterConfigOpType.DELETE)


@pytest.mark.usefixtures("busy_cleaner")
async def test_compaction_removes_the_id_from_the_brokers_files(
    settings: Settings, watcher: Watcher, broker: LocalKafka, tmp_path: Path
) -> None:
    compacted = (SCORES.name, SNAPSHOTS.name)
    await compact_at_once(settings, compacted)
    await write(settings, TOUCHPOINTS.name, {0: troubles(WHOM, 30)})
    with WorkerProcess(settings, tmp_path / "log", **BUSY) as worker:
        worker.ready()
        await until_committed(watcher, worker)
        assert files_with(broker, compacted, WHOM.encode())
        done = await asyncio.to_thread(forget, settings, WHOM)
        assert done.returncode == 0, done.stderr + worker.log
        number = 1000
        left = await asyncio.to_thread(files_with, broker, compacted, WHOM.encode())
        async with asyncio.timeout(SECONDS):
            while left:
                # A segment is closed, and so can be compacted, when the next record comes.
                number += 1
                await write(settings, TOUCHPOINTS.name, {0: [touchpoint("other", number)]})
                await until_committed(watcher, worker)
                left = await asyncio.to_thread(files_with, broker, compacted, WHOM.encode())
        assert not await asyncio.to_thread(files_with, broker, (FORGOTTEN.name,), WHOM.encode())
        assert worker.stop() == 0, worker.log


async def test_under_a_key_no_output_has_an_id_or_a_text(
    settings: Settings, watcher: Watcher, broker: LocalKafka, tmp_path: Path
) -> None:
    text = "what she wrote to us"
    broken = touchpoint(WHOM, 1, "survey_nps", score=99, text=text)
    await write(settings, TOUCHPOINTS.name, {0: [*troubles(WHOM, 30, 10, text=text), broken]})
    environment = {"CXSTREAM_PRIVACY__KEY": KEY, "CXSTREAM_LOG_LEVEL": "debug", **BUSY}
    with WorkerProcess(settings, tmp_path / "log", **environment) as worker:
        worker.ready()
        await until_committed(watcher, worker)
        (name,) = (await latest(watcher, SCORES.name)).keys()
        assert len(name) == 64
        assert {record.key for record in (await watcher.read(CHURN_RISK.name))[0]} == {name}
        (rejected,) = (await watcher.read(REJECTED.name))[0]
        assert (rejected.key, rejected.value) == (name, None)
        assert dict(rejected.headers)["offset"] == b"30"
        done = await asyncio.to_thread(forget, settings, WHOM)
        assert done.returncode == 0, done.stderr + worker.log
        assert (await latest(watcher, SCORES.name))[name] is None
        assert worker.stop() == 0, worker.log
    everywhere = tuple(topic.name for topic in OUTPUTS)
    for secret in (WHOM, text, KEY):
        assert files_with(broker, everywhere, secret.encode()) == []
        assert secret not in worker.log
    assert files_with(broker, everywhere, name)
