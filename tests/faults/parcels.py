"""Records that somebody else sends beside the traffic: a batch at a time, into any partition, compressed as they like."""

from __future__ import annotations

import asyncio
import itertools
import json
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import aiokafka
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from cxstream.kafka.connection import connection
from cxstream.kafka.producer import route
from cxstream.topology import FORGET, TOUCHPOINTS

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping, Sequence

    from cxstream.settings import Settings

CODECS = ("gzip", "snappy", "lz4", "zstd")
# What a producer may ask of these brokers at once, and more than any batch here takes before it is compressed.
_REQUEST_BYTES, _BATCH_BYTES = 16 << 20, 1 << 30


class Sent(NamedTuple):
    """A record as it is sent."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Parcel:
    """Records that go into one partition, in one batch.

    Attributes:
        what: in a few words.
        partition: where to.
        records: in order.
        codec: gzip, snappy, lz4 or zstd; None for none.
        topic: the topic.
        refused: of each record in cx.forget, the reason and field with which it is to be rejected.
    """

    what: str
    partition: int
    records: Sequence[Sent]
    codec: str | None = None
    topic: str = TOUCHPOINTS.name
    refused: Sequence[tuple[str, str]] = ()


@dataclass(slots=True)
class Places:
    """Where the records of parcels came to lie.

    Attributes:
        touchpoints: offsets in cx.touchpoints, by partition.
        refused: offset, record, reason and field of those in cx.forget, by partition.
    """

    touchpoints: dict[int, set[int]] = field(default_factory=dict)
    refused: dict[int, list[tuple[int, Sent, str, str]]] = field(default_factory=dict)

    def take(self, parcel: Parcel, first: int) -> None:
        """Take note of a parcel whose first record lies at an offset."""
        offsets = range(first, first + len(parcel.records))
        if parcel.topic == TOUCHPOINTS.name:
            self.touchpoints.setdefault(parcel.partition, set()).update(offsets)
        if parcel.topic == FORGET.name:
            some = zip(offsets, parcel.records, parcel.refused, strict=True)
            self.refused.setdefault(parcel.partition, []).extend(
                (offset, record, *why) for offset, record, why in some
            )


class Post:
    """Sends parcels, each acknowledged by all replicas before the next.

    Args:
        settings: where Kafka is; past the proxy.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stack = AsyncExitStack()
        self._producers: dict[str | None, aiokafka.AIOKafkaProducer] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def send(self, parcel: Parcel) -> int:
        """Send a parcel; the offset of its first record."""
        producer = await self._producer(parcel.codec)
        batch = producer.create_batch()
        # A megabyte compresses in no time, a gigabyte does not: meanwhile everything else goes on.
        await asyncio.to_thread(_fill, batch, parcel.records)
        sent = await (await producer.send_batch(batch, parcel.topic, partition=parcel.partition))
        return int(sent.offset)

    async def _producer(self, codec: str | None) -> aiokafka.AIOKafkaProducer:
        if codec not in self._producers:
            self._producers[codec] = await self._stack.enter_async_context(
                aiokafka.AIOKafkaProducer(
                    **connection(self._settings), acks="all", enable_idempotence=True, compression_type=codec,
                    max_request_size=_REQUEST_BYTES, max_batch_size=_BATCH_BYTES,
                )
            )  # fmt: skip
        return self._producers[codec]


def _fill(batch: Any, records: Sequence[Sent]) -> None:
    for record in records:
        added = batch.append(timestamp=None, key=record.key, value=record.value, headers=list(record.headers))
        assert added is not None, "a parcel is one batch"
    batch.close()


# --- what is in them


class People:
    """Customers by partition, who are in none of the traffic.

    Args:
        partitions: how many cx.touchpoints has.
    """

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._numbers = itertools.count()

    def of(self, partition: int) -> str:
        """Another customer of a partition."""
        return next(
            name
            for name in map("parcel-{}".format, self._numbers)
            if route([name.encode()], self._partitions) == [partition]
        )

    def elsewhere(self, partition: int) -> str:
        """Another customer of any other partition."""
        return self.of((partition + 1) % self._partitions)


_ids = itertools.count()
# Times of events count on from here, a second each: after what the traffic begins with, so that none is too late.
_FROM = "2025-01-01T00:"


def event(customer: str, kind: str = "error", more: Mapping[str, Any] | None = None, **data: Any) -> bytes:
    """A touchpoint that is valid unless what is given makes it another.

    Args:
        customer: whose.
        kind: what happens.
        more: attributes in place of the usual ones.
        data: of the touchpoint.
    """
    number = next(_ids)
    made: dict[str, Any] = {
        "specversion": "1.0",
        "id": f"parcel-{number}",
        "source": "/parcels",
        "type": f"cx.touchpoint.{kind}.v1",
        "subject": customer,
        "time": f"{_FROM}{number // 60 % 60:02}:{number % 60:02}Z",
        "data": {"channel": "web", **data},
    }
    return json.dumps({**made, **(more or {})}, separators=(",", ":")).encode()


def one_batch(record: Sent) -> int:
    """Bytes of a batch of this record alone, not compressed."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, _BATCH_BYTES)
    builder.append(0, 0, record.key, record.value, list(record.headers))
    return len(builder.build())


def padded(value: bytes, size: int) -> bytes:
    """An event with a field that nobody knows, so that it has this many bytes and is as valid as before."""
    begun = value[:-1] + b',"filler":"'
    return begun + b"x" * (size - len(begun) - 2) + b'"}'


def noise(rng: random.Random, size: int) -> str:
    """Text of this many characters that cannot be compressed much."""
    return rng.randbytes(-(-size * 3 // 4)).hex()[:size]
