"""Whether sources write their records to the partitions of their customers."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from cxstream.doctor.finding import Finding, Patient, ok, skipped, warning
from cxstream.kafka.reader import reading
from cxstream.model.kinds import BY_TYPE
from cxstream.scoring.codec.peek import about
from cxstream.scoring.codec.routing import partition_of
from cxstream.topology import TOUCHPOINTS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from cxstream.kafka.reader import TopicReader

# The records of each partition that are looked at, the newest ones.
_TAIL = 2_000
_SHOWN = 5
_ADVICE = (
    "set the producer of that source to murmur2: partitioner=murmur2_random for librdkafka and the clients built on "
    "it; docs/events.md has a table of clients. Until then each such record is forwarded, and read twice"
)


async def routing(patient: Patient) -> AsyncIterator[Finding]:
    """Which sources write records to other partitions than their customers', by the newest records."""
    looked = 0
    touchpoints = patient.settings.topology.touchpoints.name
    strays: Counter[tuple[str, int]] = Counter()
    async with reading(patient.settings, [TOUCHPOINTS]) as reader:
        count = reader.partitions[touchpoints]
        for partition in range(count):
            records = await _tail(reader, partition)
            looked += len(records)
            strays.update((source, partition) for source in misrouted(records, partition, count))
    if not looked:
        yield skipped(f"{touchpoints} has no records")
    by_source: Counter[str] = Counter()
    for (source, _), n in strays.items():
        by_source[source] += n
    for source, n in by_source.most_common(_SHOWN):
        yield warning(
            f"source {source!r}: {n:,} of the newest {looked:,} records of {touchpoints} lie in another partition "
            "than their customer's",
            _ADVICE,
        )
    if len(by_source) > _SHOWN:
        yield warning(f"{len(by_source) - _SHOWN} more sources do the same", _ADVICE)
    if looked and not by_source:
        yield ok(f"the newest {looked:,} records lie in the partitions of their customers")


def misrouted(records: Sequence[Any], partition: int, count: int) -> list[str]:
    """The source of each touchpoint that lies in another partition than its customer's.

    Args:
        records: of the partition.
        partition: which.
        count: how many there are.
    """
    found = []
    for record in records:
        said = about(record.value, record.headers)
        if said.type not in BY_TYPE or not isinstance(said.subject, str):
            continue
        if (record.key or b"") == said.subject.encode(errors="replace") and (
            partition_of([said.subject], count)[0] != partition
        ):
            found.append(str(said.source))
    return found


async def _tail(reader: TopicReader, partition: int) -> list[Any]:
    first, end = await reader.bounds(reader.topology.touchpoints.name, partition)
    return [
        record
        async for records in reader.read(
            reader.topology.touchpoints.name, partition, max(first, end - _TAIL), end
        )
        for record in records
    ]
