"""Reads every partition of every topic for the records of some customers.

A record is a customer's if its key is their id (their pseudonym, in outputs), or its `subject` is; in records of
cx.scored, the rows of the customer are. Values are not kept, only the data needed to decide whether the record may still
exist.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pyarrow as pa

from cxstream.customer.identity import identify
from cxstream.files.scored import offsets_of
from cxstream.kafka.reader import reading
from cxstream.model.outputs import SIGNAL_TOPICS
from cxstream.scoring.codec.peek import about
from cxstream.scoring.state.erasures import digest
from cxstream.topology import AUDIT, FORGET, FORGOTTEN, SCORED, SCORES, SNAPSHOTS, TOPICS, WORK

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cxstream.customer.identity import Identity
    from cxstream.settings import Settings
    from cxstream.topology import Topic

# The byte before the customer in the key of a row of cx.snapshots.
_ROW = b"c"


class Place(NamedTuple):
    """A record of a topic.

    Attributes:
        partition: its partition.
        offset: its offset there.
    """

    partition: int
    offset: int


class Seen(NamedTuple):
    """A record that is a customer's.

    Attributes:
        place: where it is.
        arrived_ms: Kafka's timestamp, ms UTC.
        empty: it is a tombstone, or has no value.
        said_ms: event time, ms UTC; None if it cannot be read.
        cause: the touchpoint that caused it; None if it does not name one.
        request: its id if it is an erasure request; "" for any other record.
        erased: it is the signal of the erasure.
        key: of the record, in cx.work.
    """

    place: Place
    arrived_ms: int
    empty: bool
    said_ms: int | None = None
    cause: Place | None = None
    request: str = ""
    erased: bool = False
    key: bytes = b""


class Receipt(NamedTuple):
    """The receipt of an erasure.

    Attributes:
        place: where it is in cx.forgotten.
        arrived_ms: Kafka's timestamp, ms UTC.
        request: id of the request that it answers.
        requested_ms: time of the request, ms UTC.
        cause: the request in cx.touchpoints.
    """

    place: Place
    arrived_ms: int
    request: str
    requested_ms: int
    cause: Place


@dataclass(slots=True)
class Traces:
    """All records of a customer.

    Attributes:
        who: the customer.
        seen: their records, by the contract's name of the topic; in each partition in the order of the log.
        receipts: of all partitions, in the order they were read.
    """

    who: Identity
    seen: dict[str, list[Seen]] = field(default_factory=lambda: defaultdict(list))
    receipts: list[Receipt] = field(default_factory=list)

    @property
    def erased(self) -> Receipt | None:
        """The latest receipt of the customer's own partition."""
        own = [each for each in self.receipts if each.cause.partition == self.who.partition]
        return max(own, key=lambda each: each.cause.offset, default=None)


async def scan(
    settings: Settings,
    customers: Sequence[str],
    on_progress: Callable[[str, int, int], None] = lambda *_: None,
) -> list[Traces]:
    """Read all topics from their beginnings.

    Args:
        settings: how to reach Kafka.
        customers: their ids.
        on_progress: called with the topic, the offsets read, and their number.

    Raises:
        BrokerError: Kafka does not answer, or does not permit reading.
        TopicError: a topic is missing.
        InputError: an id is invalid.
    """
    topology = settings.topology
    async with reading(settings, TOPICS) as reader:
        count = reader.partitions[topology.touchpoints.name]
        found = [Traces(identify(settings, customer, count)) for customer in customers]
        for topic in topology.all:
            finder = _Finder(topic, found)
            ends = [await reader.bounds(topic.name, p) for p in range(reader.partitions[topic.name])]
            total, done = sum(end - first for first, end in ends), 0
            for partition, (first, end) in enumerate(ends):
                async for records in reader.read(topic.name, partition, first, end):
                    for record in records:
                        finder.take(partition, record)
                    on_progress(topic.name, done + records[-1].offset - first + 1, total)
                done += end - first
    return found


class _Finder:
    """Finds the customers' records of a topic."""

    def __init__(self, topic: Topic, traces: Sequence[Traces]) -> None:
        self._topic = topic.contract
        self._by_key = {_key(self._topic, each.who): each for each in traces}
        self._by_subject = {each.who.subject: each for each in traces}
        # Text of a value that may name a customer, plain and with JSON escapes.
        self._needles = {
            needle: each
            for each in traces
            for needle in (each.who.id.encode(), json.dumps(each.who.id)[1:-1].encode())
            if self._topic not in {FORGOTTEN.contract, SCORED.contract, SNAPSHOTS.contract, SCORES.contract}
        }

    def take(self, partition: int, record: Any) -> None:
        """Keep a record if it is one of the customers', or has rows of them."""
        if self._topic == SCORED.contract:
            self._take_rows(partition, record)
            return
        traces = self._traces(record)
        if traces is None:
            return
        if self._topic == FORGOTTEN.contract:
            traces.receipts.append(_receipt(Place(partition, record.offset), record))
        else:
            traces.seen[self._topic].append(_seen(self._topic, Place(partition, record.offset), record))

    def _traces(self, record: Any) -> Traces | None:
        """Whose record it is."""
        key = record.key or b""
        if self._topic == WORK.contract:
            return self._by_subject.get(key.rpartition(b"/")[0].decode(errors="replace"))
        if self._topic == AUDIT.contract:
            data = about(record.value or b"", record.headers).data
            return self._by_subject.get(str(data.get("customer"))) if isinstance(data, dict) else None
        return self._by_key.get(key) or self._named(record)

    def _take_rows(self, partition: int, record: Any) -> None:
        """Keep the rows of the customers in a record of cx.scored, which has those of many."""
        try:
            rows = offsets_of(record.value or b"", list(self._by_subject))
        except pa.ArrowInvalid:
            # Nobody but a worker may write there, and a worker writes no such record.
            return
        for subject, offset in rows:
            seen = Seen(
                Place(partition, record.offset), record.timestamp, False, cause=Place(partition, offset)
            )
            self._by_subject[subject].seen[self._topic].append(seen)

    def _named(self, record: Any) -> Traces | None:
        """The customer of a record by its subject, with any key."""
        value = record.value
        for needle, traces in self._needles.items() if value else ():
            if needle in value and about(value, record.headers).subject == traces.who.id:
                return traces
        return None


def _key(topic: str, who: Identity) -> bytes:
    if topic == FORGOTTEN.contract:
        return digest(who.subject).hex().encode()
    if topic == SNAPSHOTS.contract:
        return _ROW + who.subject.encode()
    outputs = {*SIGNAL_TOPICS, SCORES.contract}
    return (who.subject if topic in outputs else who.id).encode()


def _seen(topic: str, place: Place, record: Any) -> Seen:
    seen = Seen(place, record.timestamp, not record.value)
    if topic == FORGET.contract:
        said = about(record.value, record.headers).id if record.value else None
        name = said if isinstance(said, str) else f"{topic}-{place.partition}-{place.offset}"
        return seen._replace(request=name)
    if topic == WORK.contract:
        seen = seen._replace(key=record.key)
    if topic == SNAPSHOTS.contract or not record.value:
        return seen
    if topic == SCORES.contract:
        return seen._replace(cause=_of_card(record.value))
    said = about(record.value, record.headers)
    if topic in SIGNAL_TOPICS and isinstance(said.data, dict):
        cause = said.data.get("cause") or {}
        return seen._replace(
            cause=Place(cause.get("partition", -1), cause.get("offset", -1)),
            erased=said.data.get("change") == "erased",
        )
    return seen._replace(said_ms=_ms(said.time))


def _of_card(value: bytes) -> Place:
    """The touchpoint that a score card was made at, by its id."""
    name: str = msgspec.json.decode(value)["id"]
    _, partition, offset = name.partition(":")[0].rsplit("-", 2)
    return Place(int(partition), int(offset))


def _receipt(place: Place, record: Any) -> Receipt:
    data = msgspec.json.decode(record.value)["data"]
    cause = data["cause"]
    return Receipt(
        place,
        record.timestamp,
        data["request"],
        _ms(data["requested_at"]) or 0,
        Place(cause["partition"], cause["offset"]),
    )


def _ms(time: Any) -> int | None:
    """RFC 3339 as ms UTC; None if it is invalid."""
    try:
        parsed = datetime.fromisoformat(time)
    except (TypeError, ValueError):
        return None
    return round((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() * 1000)
