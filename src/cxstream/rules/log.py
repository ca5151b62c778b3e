"""The rules that are in force in each partition of cx.touchpoints, read from Kafka.

    cx.snapshots     the marker of the saved state: the rules at its offset
    cx.touchpoints   sets of rules after that offset; without a marker, all of them

The latest valid set in a partition whose time is later than that of the set before is in force. What a worker would
reject (not signed, from the future, not valid) does not count here either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cxstream.kafka.reader import reading
from cxstream.model.errors import SnapshotError
from cxstream.model.kinds import RULES_TYPE
from cxstream.model.rules import read_rules, rules_of
from cxstream.scoring.codec.decode import decode, rules_among
from cxstream.scoring.state.in_force import InForce, loaded
from cxstream.scoring.state.marker import MARKER_KEY, read_marker
from cxstream.topology import SNAPSHOTS, TOUCHPOINTS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cxstream.kafka.reader import TopicReader
    from cxstream.scoring.codec.signatures import Authority
    from cxstream.settings import Settings

_NAME = RULES_TYPE.encode()
# A type may be written with escapes.
_ESCAPE = b"\\u00"


@dataclass(frozen=True, slots=True)
class Standing:
    """The rules of a partition.

    Attributes:
        partition: its number.
        rules: the set in force.
        since: when its record came into the log, by the broker's clock, ms UTC; None for the settings.
        end: the offset up to which the log was read.
    """

    partition: int
    rules: InForce
    since: int | None
    end: int


async def in_force(
    settings: Settings, on_progress: Callable[[int, int], None] = lambda *_: None
) -> list[Standing]:
    """The rules in force in each partition, in order.

    Args:
        settings: how to reach Kafka; in force where the log has no rules.
        on_progress: called with the offsets that have been read, and their number.

    Raises:
        BrokerError: Kafka does not answer, or does not permit reading.
        TopicError: cx.touchpoints is missing.
    """
    async with reading(settings, [TOUCHPOINTS, SNAPSHOTS]) as reader:
        return await standings(settings, reader, on_progress)


async def standings(
    settings: Settings, reader: TopicReader, on_progress: Callable[[int, int], None] = lambda *_: None
) -> list[Standing]:
    """As `in_force`, with a reader of cx.touchpoints and cx.snapshots."""
    topic = settings.topology.touchpoints.name
    count = reader.partitions[topic]
    begins = [await _begin(settings, reader, p) for p in range(count)]
    ends = [(await reader.bounds(topic, p))[1] for p in range(count)]
    total = sum(max(0, end - begin.end) for begin, end in zip(begins, ends, strict=True))
    done, found = 0, []
    for begin, end in zip(begins, ends, strict=True):
        before = done

        def tell(at: int, begin: Standing = begin, before: int = before) -> None:
            on_progress(before + at - begin.end, total)

        found.append(await _follow(settings, reader, begin, end, tell))
        done += max(0, end - begin.end)
    return found


async def standing(
    settings: Settings,
    reader: TopicReader,
    partition: int,
    on_offset: Callable[[int], None] = lambda _: None,
) -> Standing:
    """The rules in force in one partition.

    Args:
        settings: in force where the log has no rules.
        reader: of cx.touchpoints and cx.snapshots.
        partition: its number.
        on_offset: called with the offset that has been reached.
    """
    _, end = await reader.bounds(settings.topology.touchpoints.name, partition)
    return await _follow(settings, reader, await _begin(settings, reader, partition), end, on_offset)


async def _begin(settings: Settings, reader: TopicReader, partition: int) -> Standing:
    """The rules of the saved state, or of the settings, and the offset from which the log says more."""
    topic = settings.topology.touchpoints.name
    first, end = await reader.bounds(topic, partition)
    saved = await _saved(settings, reader, partition)
    if saved is None:
        return Standing(partition, InForce(rules_of(settings.scoring, settings.actions)), None, first)
    offset, rules = saved
    since = await _arrival(reader, topic, partition, rules)
    return Standing(partition, rules, since, min(max(first, offset), end))


async def _follow(
    settings: Settings,
    reader: TopicReader,
    begin: Standing,
    end: int,
    on_offset: Callable[[int], None] = lambda _: None,
) -> Standing:
    """The rules after the records up to an offset, given those before them."""
    scan = _Scan(settings, begin)
    topic = settings.topology.touchpoints.name
    async for records in reader.read(topic, begin.partition, begin.end, end, on_offset):
        scan.take(records)
    return Standing(begin.partition, scan.latest, scan.since, end)


async def _saved(settings: Settings, reader: TopicReader, partition: int) -> tuple[int, InForce] | None:
    """Offset and rules of a partition's saved state; None if there is none that says them and belongs to this log."""
    topics = reader.topology
    if partition >= reader.partitions[topics.snapshots.name]:
        return None
    record = await reader.latest(topics.snapshots.name, partition, MARKER_KEY)
    if record is None or record.value is None:
        return None
    try:
        marker = read_marker(record.value, settings.snapshot_secrets())
        rules = loaded(marker.rules[-1]) if marker.rules else None
    except SnapshotError:
        return None
    _, end = await reader.bounds(topics.touchpoints.name, partition)
    return None if rules is None or marker.offset > end else (marker.offset, rules)


async def _arrival(reader: TopicReader, topic: str, partition: int, rules: InForce) -> int | None:
    """When a set came into the log; its own time if the log does not have it any more."""
    if not rules.of_log:
        return None
    record = await reader.one(topic, partition, rules.offset)
    return rules.time if record is None else int(record.timestamp)


async def later(settings: Settings, reader: TopicReader, before: Sequence[Standing]) -> list[Standing]:
    """The rules in force at the present end of the log, given those at an earlier one."""
    topic = settings.topology.touchpoints.name
    found = []
    for each in before:
        _, end = await reader.bounds(topic, each.partition)
        found.append(await _follow(settings, reader, each, end))
    return found


def agree(found: Sequence[Standing]) -> bool:
    """Whether all partitions have the same rules."""
    return len({each.rules.rules.label for each in found}) <= 1


class _Scan:
    """The latest set in the records of a partition, as a worker sees it."""

    def __init__(self, settings: Settings, begin: Standing) -> None:
        self.latest, self.since = begin.rules, begin.since
        self._limit = settings.scoring.max_record_bytes
        self._authority: Authority | None = settings.control.authority()

    def take(self, records: Sequence[Any]) -> None:
        """Read the next records."""
        for record in records:
            if _may_be_rules(record):
                self._follow(record)

    def _follow(self, record: Any) -> None:
        decoded = decode(
            [record.value],
            [record.headers],
            keys=[record.key],
            limit=self._limit,
            authority=self._authority,
            appended=np.array([record.timestamp], np.int64),
        )
        if not rules_among(decoded):
            return
        [event], time, before = decoded.events, int(decoded.columns["time"][0]), self.latest.time
        if time > record.timestamp or (before is not None and time <= before):
            return
        rules = read_rules(bytes(event.data))
        self.latest = InForce(rules, record.offset, time, event.source, event.id)
        self.since = int(record.timestamp)


def _may_be_rules(record: Any) -> bool:
    """Whether a record is worth decoding: almost none is."""
    value = record.value
    if value is None:
        return False
    return _NAME in value or _ESCAPE in value or any(text == _NAME for _, text in record.headers)
