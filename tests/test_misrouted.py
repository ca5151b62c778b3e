"""Misrouted records on a real Kafka: forwarded byte for byte, scored once, and counted."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

import aiokafka
import pytest

from cxstream.kafka import connection
from cxstream.topology import REJECTED, SCORES, TOUCHPOINTS
from cxstream.worker.clients import Kafka
from workers import Watcher, WorkerProcess, customers_of, touchpoint, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cxstream.settings import Settings

SECONDS = 120.0
BUSY = {"CXSTREAM_WORKER__FLUSH_SECONDS": "0.1", "CXSTREAM_WORKER__SNAPSHOT_SECONDS": "0.5"}
COUNT = 2

pytestmark = [pytest.mark.broker, pytest.mark.timeout(280)]


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


async def test_misrouted_records_are_forwarded_as_they_are(
    settings: Settings, topics: Callable[[int], None], tmp_path: Path
) -> None:
    topics(COUNT)
    [here], [there, other] = customers_of(0, COUNT), customers_of(1, COUNT, 2)
    limit = await Kafka(settings, settings.worker.group).largest_batch()
    hops = [("forwarded-from", b"cx.touchpoints-1-0")] * 3
    binary = {"id": "b1", "source": "/b", "type": "cx.touchpoint.error.v1", "subject": there}
    headers = [(f"ce_{name}", text.encode()) for name, text in binary.items()]
    headers += [("ce_specversion", b"1.0"), ("ce_time", b"2025-03-01T00:00:09Z"), ("trace", b"\x00\xff")]
    strays: list[tuple[bytes, list[tuple[str, bytes]]]] = [
        (touchpoint(there, 1), []),
        (touchpoint(there, 2), [("trace", b"\x01"), ("trace", b"")]),
        (b'{ "channel" : "web" }', headers),
        (touchpoint(there, 3, text="x" * limit), []),
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
            [card] = [r.value for r in (await watcher.read(SCORES.name))[1] if r.key == there.encode()][-1:]
            assert json.loads(card)["data"]["touches"]["90"] == 3
