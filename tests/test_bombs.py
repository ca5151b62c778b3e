"""What costs a producer little and would cost a worker much: it costs a bounded part of memory, and its neighbours are scored."""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiokafka
import pytest
from aiokafka import codec

from cxstream.kafka.connection import connection
from cxstream.kafka.inflate import GZIP, LZ4, SNAPPY, ZSTD
from cxstream.topology import REJECTED, SCORES, TOUCHPOINTS
from test_batches import MIB, batch_of, record
from workers import Watcher, WorkerProcess, customers_of, touchpoint, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from cxstream.local.broker import LocalKafka
    from cxstream.settings import Settings

pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(sys.platform != "linux", reason="limits of another process are Linux's"),
]

SECONDS = 150.0
# What a worker may take beyond what it has when it is ready.
MORE_MIB = 320
MEMORY_MIB = 800


async def send_raw(settings: Settings, batches: dict[int, list[bytes]]) -> None:
    """Send batches as they are, each a request of its own."""
    async with aiokafka.AIOKafkaProducer(**connection(settings), max_request_size=4 * MIB) as producer:
        for partition, some in batches.items():
            for each in some:
                batch = producer.create_batch()
                batch.append(timestamp=None, key=None, value=b"in place of the records")
                batch.close()
                batch._buffer = each
                await (await producer.send_batch(batch, TOUCHPOINTS.name, partition=partition))


def data_bytes(pid: int) -> int:
    """Private memory that a process has asked for."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmData")).split()[1]) * 1024


def events(customer: str, count: int = 3, **data: Any) -> list[bytes]:
    return [record(n, touchpoint(customer, n, **data), customer.encode()) for n in range(count)]


def with_giant(number: int, size: int) -> Callable[[str], list[bytes]]:
    """A record that inflates to much between two that are fine."""

    def batches(customer: str) -> list[bytes]:
        first, _, last = events(customer)
        return [batch_of([first, record(1, bytes(size)), last], number)]

    return batches


def two_xerial_streams(customer: str) -> list[bytes]:
    records = events(customer, 4)
    packed = codec.snappy_encode(b"".join(records[:2])) + codec.snappy_encode(b"".join(records[2:]))
    return [batch_of(records, SNAPPY, packed=packed)]


def many_headers(customer: str) -> list[bytes]:
    first, _, last = events(customer)
    return [batch_of([first, record(1, b"{}", headers=[(b"", b"")] * 1_000_000), last], ZSTD)]


def odd_headers(customer: str) -> list[bytes]:
    value = touchpoint(customer, 0)
    return [batch_of([record(0, value, customer.encode(), [(b"\xff", b"x")]), *events(customer)[1:]], GZIP)]


def many_sources(customer: str) -> list[bytes]:
    """200 sources of 500 kB each, none of which may be so long, left 100 MB behind."""
    long = "s" * 500_000
    values = [touchpoint(customer, n).replace(b"/test", f"/{n}/{long}".encode()) for n in range(200)]
    return [batch_of([record(n, value, customer.encode()) for n, value in enumerate(values)], ZSTD)]


def large_batch(customer: str) -> list[bytes]:
    """A fine batch of 60 MB that compresses well."""
    values = [touchpoint(customer, n, text="x" * 15_000) for n in range(4000)]
    return [batch_of([record(n, value, customer.encode()) for n, value in enumerate(values)], ZSTD)]


KINDS: dict[str, Callable[[str], list[bytes]]] = {
    "zstd": with_giant(ZSTD, 270 * MIB),
    "gzip": with_giant(GZIP, 200 * MIB),
    "lz4": with_giant(LZ4, 30 * MIB),
    "snappy": with_giant(SNAPPY, 15 * MIB),
    "beyond the bound of a batch": lambda customer: [
        batch_of([events(customer)[0], *(record(n, bytes(30 * MIB)) for n in range(1, 12))], ZSTD)
    ],
    "two xerial streams": two_xerial_streams,
    "many headers": many_headers,
    "odd headers": odd_headers,
    "many sources": many_sources,
    "large batch": large_batch,
}


async def test_a_worker_with_little_memory_survives_bombs_and_scores_their_neighbours(
    broker: LocalKafka, settings: Settings, topics: Callable[[int], None], tmp_path: Path
) -> None:
    topics(len(KINDS))
    names = [customers_of(p, len(KINDS), 2) for p in range(len(KINDS))]
    with WorkerProcess(settings, tmp_path / "log", CXSTREAM_WORKER__MEMORY_MIB=str(MEMORY_MIB)) as worker:
        worker.ready()
        most = data_bytes(worker.process.pid) + MORE_MIB * MIB
        resource.prlimit(worker.process.pid, resource.RLIMIT_DATA, (most, most))
        for p, (customer, other) in enumerate(names):
            bomb = list(KINDS.values())[p](customer)
            assert sum(map(len, bomb)) < MIB
            await send_raw(settings, {p: [*bomb, batch_of(events(other))]})
        async with Watcher(settings, len(KINDS)) as watcher:
            await until(watcher.all_committed, SECONDS, lambda: worker.log[-3000:])
            # Of a worker that is behind, some cards follow with a later flush.
            expected = {name for both in names for name in both} - {
                names[list(KINDS).index("many sources")][0]
            }
            cards: set[str] = set()

            async def all_scored() -> bool:
                found = (await watcher.read(SCORES.name)).values()
                cards.update(r.key.decode() for records in found for r in records)
                return cards >= expected

            await until(all_scored, SECONDS, lambda: f"no card of {expected - cards}: {worker.log[-3000:]}")
            rejected = await watcher.read(REJECTED.name)
        assert worker.process.poll() is None
    assert '"total_mib": 800' in (tmp_path / "log").read_text()
    assert cards == expected
    reasons = {
        name: [dict(each.headers)["reason"].decode() for each in rejected.get(p, [])]
        for p, name in enumerate(KINDS)
    }
    assert reasons["zstd"] == reasons["gzip"] == reasons["lz4"] == reasons["many headers"] == ["too_large"]
    assert reasons["many sources"] == ["invalid"] * 200
    assert reasons["odd headers"] == ["malformed"]
    assert not any(reasons[name] for name in ("two xerial streams", "large batch"))
