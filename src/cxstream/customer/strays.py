"""A customer's touchpoints in wrong partitions, and what became of each.

They come from a producer with another partitioner, or one that sets the partition or no key. The worker forwards
those that are valid to the customer's partition, with a header of their old position, and rejects the others.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from cxstream.customer.history import refused
from cxstream.model.kinds import FORGET_TYPE
from cxstream.model.rfc3339 import rfc3339
from cxstream.scoring.codec.peek import about
from cxstream.scoring.codec.routing import FORWARDED_FROM

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cxstream.customer.identity import Identity
    from cxstream.kafka.reader import TopicReader


class Stray(msgspec.Struct, frozen=True):
    """A record of the customer in another partition.

    Attributes:
        partition: where it lies.
        offset: its offset there.
        arrived: Kafka's timestamp.
        time: event time, as the source wrote it.
        kind: of touchpoint.
        source: the system that sent it.
        id: its id there.
        outcome: forwarded, the reason it was rejected for, or "not forwarded" if neither has happened.
        forwarded_to: offset of the copy in the customer's partition; None if it was not forwarded, or the copy is older
            than the records that were read.
    """

    partition: int
    offset: int
    arrived: str
    time: str
    kind: str
    source: str
    id: str
    outcome: str
    forwarded_to: int | None


async def strays(
    reader: TopicReader,
    who: Identity,
    since_ms: int,
    own: Sequence[Any],
    on_progress: Callable[[str, int, int], None],
) -> list[Stray]:
    """The customer's records in all partitions but their own, in order of arrival.

    Args:
        reader: of cx.touchpoints and cx.rejected.
        who: the customer.
        since_ms: the earliest Kafka timestamp, ms UTC.
        own: the records in the customer's own partition; forwarded ones name their old position.
        on_progress: called with the topic, the offsets read, and their number.
    """
    topic = reader.topology.touchpoints.name
    copies = _copies(own)
    found: list[tuple[int, Stray]] = []
    for partition in range(reader.partitions[topic]):
        if partition == who.partition:
            continue
        records = await _records(reader, topic, partition, since_ms, on_progress, who)
        if not records:
            continue
        reasons = await _reasons(reader, partition, since_ms)
        for record in records:
            copy = copies.get(f"{topic}-{partition}-{record.offset}")
            found.append((record.timestamp, _stray(record, partition, copy, reasons.get(record.offset))))
    return [each for _, each in sorted(found, key=lambda pair: pair[0])]


def _copies(own: Sequence[Any]) -> dict[str, int]:
    """Offset of each forwarded record, by its old position."""
    return {
        value.decode(errors="replace"): record.offset
        for record in own
        for name, value in record.headers
        if name == FORWARDED_FROM and value
    }


async def _records(
    reader: TopicReader,
    topic: str,
    partition: int,
    since_ms: int,
    on_progress: Callable[[str, int, int], None],
    who: Identity,
) -> list[Any]:
    key, needles = who.id.encode(), {who.id.encode(), json.dumps(who.id)[1:-1].encode()}
    start = await reader.offset_at(topic, partition, since_ms)
    _, end = await reader.bounds(topic, partition)
    found = []

    def tell(at: int) -> None:
        on_progress(topic, at - start, end - start)

    async for records in reader.read(topic, partition, start, end, on_offset=tell):
        for record in records:
            if record.key == key or any(needle in (record.value or b"") for needle in needles):
                said = about(record.value, record.headers)
                # Erasure requests are sent to every partition.
                if said.type != FORGET_TYPE and (record.key == key or said.subject == who.id):
                    found.append(record)
    return found


async def _reasons(reader: TopicReader, partition: int, since_ms: int) -> Mapping[int, str]:
    """Which offsets of a partition of cx.touchpoints were rejected, and why."""
    topic = reader.topology.rejected.name
    start = await reader.offset_at(topic, partition, since_ms)
    _, end = await reader.bounds(topic, partition)
    read = reader.read(topic, partition, start, end)
    return refused([record async for records in read for record in records], reader.topology.touchpoints.name)


def _stray(record: Any, partition: int, copy: int | None, reason: str | None) -> Stray:
    said = about(record.value, record.headers)
    return Stray(
        partition=partition,
        offset=record.offset,
        arrived=rfc3339(record.timestamp),
        time=str(said.time or ""),
        kind=said.kind,
        source=str(said.source or ""),
        id=str(said.id or ""),
        outcome="forwarded" if copy is not None else reason or "not forwarded",
        forwarded_to=copy,
    )
