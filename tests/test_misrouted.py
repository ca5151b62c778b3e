"""Misrouted records on a real Kafka: forwarded byte for byte, scored once, and counted."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from hashlib import sha256
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import aiokafka
import pytest
from aiokafka import TopicPartition
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.structs import OffsetAndMetadata

from cxstream.erasure.score_cards import Erased, Leftovers
from cxstream.kafka.admin import administration
from cxstream.kafka.connection import connection
from cxstream.model.parameters import ScoringParams
from cxstream.rejected.record import read
from cxstream.scoring.codec.rejection import Reference
from cxstream.scoring.engine import MARKER_KEY, Engine, Records
from cxstream.scoring.state.erasures import digest
from cxstream.topology import FORGOTTEN, REJECTED, SCORES, SNAPSHOTS, TOUCHPOINTS, topology
from cxstream.worker.ownership.outbox import Forward, Outbox
from cxstream.worker.ownership.session import OwnershipSession
from in_process import cxstream_text
from saved import altered
from workers import Watcher, WorkerProcess, customers_of, touchpoint, until, write

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from cxstream.settings import Settings

SECONDS = 120.0
BUSY = {"CXSTREAM_WORKER__FLUSH_SECONDS": "0.1", "CXSTREAM_WORKER__SNAPSHOT_SECONDS": "0.5"}
COUNT = 2


async def cards(watcher: Watcher) -> dict[str, list[int]]:
    """Partitions of cx.scores in which each customer has a card."""
    found: dict[str, list[int]] = {}
    for partition, records in sorted((await watcher.read(SCORES.name)).items()):
        latest = {record.key.decode(): record.value for record in records}
        for name in sorted(name for name, card in latest.items() if card is not None):
            found.setdefault(name, []).append(partition)
    return found


async def rejected(watcher: Watcher) -> Counter[tuple[str, str, str]]:
    found = (await watcher.read(REJECTED.name)).values()
    said = [dict(record.headers) for records in found for record in records]
    return Counter((s["reason"].decode(), s["field"].decode(), s["partition"].decode()) for s in said)


@pytest.mark.broker
@pytest.mark.timeout(280)
async def test_misrouted_records_are_forwarded_as_they_are(
    settings: Settings, topics: Callable[[int], None], tmp_path: Path
) -> None:
    topics(COUNT)
    [here], [there, other] = customers_of(0, COUNT), customers_of(1, COUNT, 2)
    limit = 200_000
    async with administration(settings) as admin:
        lower = {**TOUCHPOINTS.config, "max.message.bytes": str(limit)}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, TOUCHPOINTS.name, lower)])
    hops = [("forwarded-from", b"cx.touchpoints-1-0")] * 3
    binary = {"id": "b1", "source": "/b", "type": "cx.touchpoint.error.v1", "subject": there}
    headers = [(f"ce_{name}", text.encode()) for name, text in binary.items()]
    headers += [("ce_specversion", b"1.0"), ("ce_time", b"2025-03-01T00:00:09Z"), ("trace", b"\x00\xff")]
    strays: list[tuple[bytes, list[tuple[str, bytes]]]] = [
        (touchpoint(there, 1), []),
        (touchpoint(there, 2), [("trace", b"\x01"), ("trace", b"")]),
        (b'{ "channel" : "web" }', headers),
        (touchpoint(there, 3, more="x" * limit), []),
        (touchpoint(other, 4), hops),
        (touchpoint(other, 5), hops[:2]),
    ]
    options = {"compression_type": "gzip", "max_request_size": 2 * limit}
    async with aiokafka.AIOKafkaProducer(**connection(settings), **options) as producer:
        await producer.send_and_wait(TOUCHPOINTS.name, touchpoint(here, 0), key=here.encode(), partition=0)
        for value, own in strays:
            key = (other if other.encode() in value else there).encode()
            await producer.send_and_wait(TOUCHPOINTS.name, value, key=key, partition=0, headers=own)
    with WorkerProcess(settings, tmp_path / "log", **BUSY) as worker:
        worker.ready()
        async with Watcher(settings, COUNT) as watcher:

            async def done() -> bool:
                return await cards(watcher) == {here: [0], there: [1], other: [1]}

            await until(done, SECONDS, lambda: worker.log)
            assert worker.stop() == 0, worker.log
            assert "partition failed" not in worker.log
            forwarded = (await watcher.read(TOUCHPOINTS.name))[1]
            found = [(r.key, r.value, list(r.headers)) for r in forwarded]
            kept = [(0, there), (1, there), (2, there), (5, other)]
            assert found == [
                (
                    who.encode(),
                    strays[n][0],
                    [*strays[n][1], ("forwarded-from", f"cx.touchpoints-0-{n + 1}".encode())],
                )
                for n, who in kept
            ]
            assert await rejected(watcher) == {("too_large", "", "0"): 1, ("misrouted", "key", "0"): 1}
            said = [read(record) for record in (await watcher.read(REJECTED.name))[0]]
            [reference] = [one.reference for one in said if one is not None and one.reference]
            assert reference == Reference(len(there) + len(strays[3][0]), sha256(strays[3][0]).hexdigest())
            [card] = [r.value for r in (await watcher.read(SCORES.name))[1] if r.key == there.encode()][-1:]
            assert json.loads(card)["data"]["touches"]["90"] == 3


@pytest.mark.parametrize(("raised", "forwarded"), [(5_000, 1), (1_000, 0)])
async def test_a_limit_that_was_raised_holds_for_the_next_misrouted_record(
    raised: int, forwarded: int
) -> None:
    class Producer:
        async def partitions_for(self, topic: str) -> set[int]:
            return set(range(COUNT))

    class Cluster:
        async def largest_batch(self) -> int:
            return raised

    record = SimpleNamespace(key=b"k", value=b"x" * 3_000, headers=[], offset=7)
    outbox = Outbox(topology())
    outbox.forwards[1].append(Forward(record, "/s", []))
    known: Any = SimpleNamespace(
        _producer=Producer(),
        _kafka=Cluster(),
        _partitions=COUNT,
        _partition=0,
        _topology=topology(),
        _limit=1_000,
    )
    assert await OwnershipSession._prepare_forwards(known, outbox) == raised
    assert len(outbox.forwards[1]) == forwarded
    assert outbox.count(REJECTED.name) == 1 - forwarded


async def command(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(cxstream_text, *arguments, "--kafka", settings.kafka)


async def send(
    settings: Settings, topic: str, partition: int, rows: list[tuple[bytes, bytes | None]]
) -> None:
    async with aiokafka.AIOKafkaProducer(**connection(settings)) as producer:
        for key, value in rows:
            await producer.send_and_wait(topic, value, key=key, partition=partition)


async def commit(settings: Settings, offset: int) -> None:
    """Commit an offset of partition 0 for the group, as the worker did that has saved the state."""
    where = TopicPartition(TOUCHPOINTS.name, 0)
    async with aiokafka.AIOKafkaConsumer(
        **connection(settings), group_id=settings.worker.group, enable_auto_commit=False
    ) as consumer:
        consumer.assign([where])
        await consumer.commit({where: OffsetAndMetadata(offset, "")})


@pytest.mark.broker
@pytest.mark.timeout(280)
async def test_whoever_is_in_the_wrong_partition_is_erased_everywhere(
    settings: Settings, topics: Callable[[int], None], tmp_path: Path
) -> None:
    """One is there now, one was saved there by an earlier version, of one nothing is left there but a card."""
    topics(COUNT)
    now, saved, orphan = customers_of(1, COUNT, 3)
    [stays] = customers_of(0, COUNT)
    earlier = Engine(ScoringParams(), {})
    values = [touchpoint(name, n) for n, name in enumerate((saved, stays, orphan))]
    earlier.process(Records(values, range(3)))
    await write(settings, TOUCHPOINTS.name, {0: [*values, touchpoint(now, 9)]})
    await send(settings, SCORES.name, 0, earlier.take_cards())
    rows = [row for row in earlier.snapshot() if row[0] != b"c" + orphan.encode()]
    await send(settings, SNAPSHOTS.name, 0, [row for row in rows if row[0] != MARKER_KEY])
    stored = {key: row for key, row in rows if row is not None}
    await send(settings, SNAPSHOTS.name, 0, list(altered(stored, customers=2).items()))
    await commit(settings, 3)
    async with Watcher(settings, COUNT) as watcher:
        assert await cards(watcher) == {name: [0] for name in sorted((saved, stays, orphan))}
        said = await command(settings, "customer", saved, "--no-worker")
        assert f"cx.scores-0 has a card of '{saved}', who belongs to partition 1" in said.stderr
        assert "has a card" not in (await command(settings, "customer", stays, "--no-worker")).stderr
        with WorkerProcess(settings, tmp_path / "log", **BUSY) as worker:
            worker.ready()

            async def restored() -> bool:
                return await cards(watcher) == {stays: [0], orphan: [0], now: [1]}

            await until(restored, SECONDS, lambda: worker.log)
            done = await command(settings, "forget", now, saved, orphan)
            assert done.returncode == 0, done.stderr + worker.log
            assert await cards(watcher) == {stays: [0]}
            receipts = await watcher.read(FORGOTTEN.name)
            assert Counter({p: len(found) for p, found in receipts.items()}) == {1: 3}
            assert worker.stop() == 0, worker.log
        for topic in (SCORES.name, SNAPSHOTS.name):
            latest = {r.key: r.value for found in (await watcher.read(topic)).values() for r in found}
            left = {key for key, value in latest.items() if value is not None}
            assert not left & {
                prefix + name.encode() for prefix in (b"", b"c") for name in (now, saved, orphan)
            }


class Cards:
    """Stands in for a reader of cx.scores."""

    def __init__(self, *records: tuple[int, str, bytes | None]) -> None:
        self.partitions = {SCORES.name: COUNT}
        self.records = list(records)

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        return 0, len(self._of(partition))

    async def read(self, topic: str, partition: int, start: int, stop: int) -> AsyncIterator[list[Any]]:
        yield self._of(partition)[start:stop]

    def _of(self, partition: int) -> list[Any]:
        return [SimpleNamespace(key=k.encode(), value=v) for p, k, v in self.records if p == partition]


async def test_a_card_that_is_left_is_found_in_any_partition() -> None:
    def card(partition: int, offset: int, name: str) -> bytes:
        return json.dumps({"id": f"cx.touchpoints-{partition}-{offset}:{name}"}).encode()

    reader: Any = Cards((0, "a", card(0, 99, "a")), (1, "a", card(1, 3, "a")), (1, "b", card(1, 1, "b")))
    left = Leftovers(reader, SCORES.name, {digest("a").hex(): Erased(1, 7)})
    assert await left.look() == [0, 1]
    reader.records.append((1, "a", None))
    assert await left.look() == [0]
    # A newer card where the customer belongs: they have come back.
    reader.records += [(0, "a", None), (1, "a", card(1, 8, "a"))]
    assert await left.look() == []
    reader.records.append((0, "a", card(0, 100, "a")))
    assert await left.look() == [0]
