"""Training from Kafka: the partitions side by side in time, each in its own order, and what comes of it as from a file."""

from __future__ import annotations

import asyncio
import json
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from hypothesis import given
from hypothesis import strategies as st

from cxstream.kafka.connection import connection
from cxstream.kafka.reader import reading
from cxstream.kafka.records import Record
from cxstream.kernels.text import BAD_TIME
from cxstream.model.errors import InputError
from cxstream.topology import TOUCHPOINTS
from cxstream.training.log import Bought, Source, read_log
from cxstream.training.topic import Topic, _in_time
from in_process import cxstream
from strategies import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cxstream.settings import Settings

GRACE, MOST = 300_000, 400


def touch(time: str, kind: str = "purchase", **data: Any) -> bytes:
    event = {"specversion": "1.0", "id": "1", "source": "/shop", "type": f"cx.touchpoint.{kind}.v1"}
    event |= {"subject": "anna", "time": time, "data": data}
    return json.dumps(event).encode()


@given(
    st.lists(st.tuples(st.integers(0, 20), st.sampled_from(["good", "future", "bad", "long"])), min_size=1),
    st.integers(0, 20),
)
def test_a_partition_keeps_its_order_and_believes_no_future(rows: list[tuple[int, str]], before: int) -> None:
    records, keys, values, clock = [], [], [], before
    for i, (time, kind) in enumerate(rows):
        arrived = time - GRACE - (kind == "future")
        value = b"{" if kind == "bad" else touch(rfc3339(time), note="x" * (MOST if kind == "long" else 1))
        records.append(Record(i, arrived, 0, b"anna", value))
        if kind == "good":
            clock = max(clock, time)
        keys.append(clock)
        values.append(b"" if kind in ("future", "long") else value)
    found, lines = _in_time(records, before, GRACE, MOST)
    assert (found.tolist(), lines) == (keys, values)


def test_nothing_is_known_before_the_first_time() -> None:
    keys, _ = _in_time([Record(0, 0, 0, b"anna", b"{")], BAD_TIME + 1, GRACE, MOST)
    assert keys.dtype == np.int64
    assert keys.tolist() == [BAD_TIME + 1]


async def _sent(settings: Settings, key: bytes, value: bytes, headers: list[tuple[str, bytes]]) -> None:
    async with AIOKafkaProducer(**connection(settings)) as producer:
        await producer.send_and_wait(settings.topology.touchpoints.name, value, key, headers=headers)


async def _deleted(settings: Settings, partition: int, before: int) -> None:
    name = settings.topology.touchpoints.name
    admin = AIOKafkaAdminClient(**connection(settings))
    await admin.start()
    try:
        await admin.delete_records({TopicPartition(name, partition): RecordsToDelete(before_offset=before)})
    finally:
        await admin.close()


async def _partitions(settings: Settings) -> list[list[Any]]:
    name = settings.topology.touchpoints.name
    async with reading(settings, [TOUCHPOINTS]) as reader:
        found: list[list[Any]] = [[] for _ in range(reader.partitions[name])]
        for partition in range(len(found)):
            first, end = await reader.bounds(name, partition)
            async for some in reader.read(name, partition, first, end):
                found[partition] += some
    return found


def _as_a_file(partitions: list[list[Any]], now_ms: int) -> bytes:
    """The slow way: each record waits for the largest time of its partition so far."""
    rows = []
    for partition in partitions:
        clock = 0.0
        for record in partition:
            time = datetime.fromisoformat(json.loads(record.value)["time"]).timestamp()
            if 1000 * time > now_ms:
                rows.append((clock, b"{}"))
                continue
            clock = max(clock, time)
            rows.append((clock, record.value))
    return b"\n".join(value for _, value in sorted(rows, key=lambda row: row[0])) + b"\n"


@pytest.mark.timeout(900)
def test_models_from_a_topic_are_those_of_a_file_in_its_order(
    settings: Settings, topics: Callable[[int], None], tmp_path: Path
) -> None:
    topics(3)
    log, as_file = tmp_path / "log.ndjson", tmp_path / "file.ndjson"
    done = cxstream(
        "simulate", "--customers", 150, "--days", 50, "--trouble", 4, "--seed", 5, "--broken", 0, "--quiet", "--out", log
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = log.read_bytes().splitlines()
    later = (datetime.now(UTC) + timedelta(days=300)).isoformat()
    log.write_bytes(b"\n".join([*lines[:900], touch(later), *lines[900:]]) + b"\n")
    for name in ("churn", "purchases"):
        refused = cxstream("train", name, "--kafka", settings.kafka, "--out", tmp_path / "none.toml")
        assert refused.returncode == 1
        assert b"has no records" in refused.stderr
    assert cxstream("produce", log, "--kafka", settings.kafka).returncode == 0
    partitions = asyncio.run(_partitions(settings))
    as_file.write_bytes(_as_a_file(partitions, round(datetime.now(UTC).timestamp() * 1000)))
    assert min(map(len, partitions)) > 1000
    # The same records in another order are another log.
    assert as_file.read_bytes() != log.read_bytes()
    topic = Topic(settings, memory_bytes=1 << 20)
    assert (
        b"".join(line + b"\n" for chunk in topic.chunks(1 << 20) for line in chunk.lines).replace(
            b"\n\n", b"\n{}\n"
        )
        == as_file.read_bytes()
    )
    how = ("--leaving", "silence", "--horizon", "2d", "--every", "5d", "--warmup", "10d")
    names = ("r.toml", "card.json")
    for name, source in {"kafka": ("--kafka", settings.kafka), "file": (as_file,)}.items():
        (tmp_path / name).mkdir()
        rules, card = (tmp_path / name / each for each in names)
        done = cxstream("train", "churn", *source, *how, "--out", rules, "--report", card)
        assert done.returncode == 0, done.stderr
    for name in names:
        assert (tmp_path / "kafka" / name).read_bytes() == (tmp_path / "file" / name).read_bytes()
    bought = [
        read_log(Source((path,), settings.scoring, settings.actions, False, 1 << 20, 2**60, feed=feed))
        for path, feed in ((log, topic.chunks), (as_file, None))
    ]
    for each in fields(Bought):
        one, other = (getattr(some, each.name) for some in bought)
        assert np.array_equal(one, other), each.name
    # A second pass reads what the first one read, and half of an event may be in headers.
    event = json.loads(lines[0])
    headers = [
        (f"ce_{each}", event[each].encode())
        for each in ("specversion", "id", "source", "type", "subject", "time")
    ]
    asyncio.run(_sent(settings, event["subject"].encode(), json.dumps(event["data"]).encode(), headers))
    assert sum(len(chunk.lines) for chunk in topic.chunks(1 << 20)) == len(lines) + 1
    again = [line for chunk in Topic(settings).chunks(1 << 20) for line in chunk.lines]
    assert len(again) == len(lines) + 2
    assert sum(json.loads(line or b"{}").get("id") == event["id"] for line in again) == 2
    asyncio.run(_deleted(settings, 1, 7))
    with pytest.raises(InputError, match=r"partition 1: retention has deleted the offsets 0 to 6 since"):
        next(topic.chunks(1 << 20))
    # A training that begins afterwards reads what is left.
    fresh = Topic(settings)
    assert sum(len(chunk.lines) for chunk in fresh.chunks(1 << 20)) == len(lines) + 2 - 7
    assert fresh.spans[1][0] == 7


def test_files_and_kafka_are_one_or_the_other(tmp_path: Path) -> None:
    for words in (("--kafka", "localhost:1", tmp_path / "a.ndjson"), ("--sort",)):
        for name in ("churn", "purchases"):
            done = cxstream("train", name, *words, "--out", tmp_path / "out.toml")
            assert done.returncode == 2, done.stderr


def test_an_unreachable_kafka_is_said(tmp_path: Path) -> None:
    done = cxstream("train", "churn", "--kafka", "localhost:1", "--out", tmp_path / "out.toml")
    assert done.returncode == 1
    assert b"localhost:1" in done.stderr
