"""What sending a rejected record again would mean: the events it becomes, or why it cannot be sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiokafka.record.default_records import DefaultRecordBatchBuilder

from cxstream.kafka.producer import route
from cxstream.kernels.layout import RULES, TICK
from cxstream.model.cloudevents import content_bytes, is_binary, structured
from cxstream.model.errors import CloudEventError
from cxstream.model.parameters import MAX_RECORD_BYTES
from cxstream.rejected.fix import UnfixableError
from cxstream.rejected.record import RESENT_FROM, Rejection
from cxstream.scoring.codec.decode import FORGED, TOO_LARGE, TOO_LATE, decode, subjects_of
from cxstream.scoring.codec.routing import FORWARDED_FROM
from cxstream.scoring.codec.vocabulary import BUILT_IN, Vocabulary
from cxstream.scoring.failing import may_be_of_record, place_of
from cxstream.validate.problems import errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from cxstream.scoring.codec.decode import Rejected
    from cxstream.scoring.codec.rejection import Headers
    from cxstream.topology import Topology


_GONE = "cx.rejected has a reference to it, not a copy, and {place} no longer has the record: have the source send it again"


@dataclass(frozen=True, slots=True)
class Ready:
    """A record for cx.touchpoints.

    Attributes:
        partition: where its customer belongs.
        key: the customer.
        value: the event.
        headers: those it came with, and where it came from.
    """

    partition: int
    key: bytes
    value: bytes
    headers: Headers


@dataclass(frozen=True, slots=True)
class Plan:
    """A rejected record and what becomes of it.

    Attributes:
        rejection: the record.
        events: what to send; empty where nothing can be.
        refusal: why not, "" where it can.
    """

    rejection: Rejection
    events: list[Ready]
    refusal: str = ""


# Control records that are in every partition.
_CONTROL = {
    TICK: "a tick: the ticker writes the next one",
    RULES: "a set of rules: write it with 'cxstream rules apply'",
}


def plan(
    rejection: Rejection,
    fixer: Callable[[Rejection], list[bytes]] | None,
    *,
    topology: Topology,
    partitions: int,
    latest_ms: int,
    max_bytes: int | None = None,
    max_record_bytes: int = MAX_RECORD_BYTES,
    vocabulary: Vocabulary = BUILT_IN,
) -> Plan:
    """Decide about one record.

    Args:
        rejection: with its value.
        fixer: makes structured events of it; None to send it as it is.
        topology: the topics of the installation.
        partitions: how many cx.touchpoints has.
        latest_ms: the latest event time that is not from the future, ms UTC.
        max_bytes: the longest that cx.touchpoints takes (max.message.bytes); None for no limit.
        max_record_bytes: the most bytes that a record may have (scoring.max_record_bytes).
        vocabulary: the kinds of events that there are.
    """
    if refusal := _unsendable(rejection, topology):
        return Plan(rejection, [], refusal)
    try:
        values = fixer(rejection) if fixer else [rejection.value]
    except UnfixableError as error:
        return Plan(rejection, [], str(error))
    headers = _without_mode(rejection.headers) if fixer else _without_origin(rejection.headers)
    headers.append((RESENT_FROM, str(rejection.place).encode()))
    events = []
    for value in values:
        if content_bytes(rejection.key, value, headers) > max_record_bytes:
            said = f"still {TOO_LARGE}: a worker takes {max_record_bytes:,} bytes (scoring.max_record_bytes)"
            return Plan(rejection, [], said)
        made = _ready(rejection, value, headers, partitions, latest_ms, vocabulary)
        if isinstance(made, str):
            return Plan(rejection, [], made)
        size = _size(made)
        if max_bytes is not None and size > max_bytes:
            touchpoints = topology.touchpoints.name
            said = f"too long: {size:,} bytes, and {touchpoints} takes {max_bytes:,} (max.message.bytes)"
            return Plan(rejection, [], said)
        events.append(made)
    return Plan(rejection, events)


def _unsendable(rejection: Rejection, topology: Topology) -> str:
    """Why there is nothing that could be sent; "" where there is."""
    if rejection.reason == FORGED:
        return "only workers write control records: erase customers with 'cxstream forget'"
    topic = rejection.place.topic
    if topic != topology.touchpoints.name:
        advice = ": use 'cxstream forget'" if topic == topology.forget.name else ""
        return f"a record of {topic}, not of {topology.touchpoints.name}{advice}"
    if rejection.value is not None or rejection.headers:
        return ""
    if rejection.reference is not None:
        return _GONE.format(place=rejection.place)
    return "its value is kept nowhere any more, or it never had one"


def _ready(
    rejection: Rejection,
    value: bytes | None,
    headers: Headers,
    partitions: int,
    latest_ms: int,
    vocabulary: Vocabulary,
) -> Ready | str:
    try:
        decoded = decode([value], [headers], vocabulary=vocabulary)
    except Exception as error:
        if not may_be_of_record(error):
            raise
        return f"this version still cannot process it ({place_of(error)})"
    if decoded.rejected:
        return f"still {decoded.rejected[0].reason}: {_why(value, headers, decoded.rejected[0], vocabulary)}"
    if said := _CONTROL.get(int(decoded.columns["kind"][0])):
        return said
    time, subject = int(decoded.columns["time"][0]), decoded.events[0].subject
    if time > latest_ms:
        return "still from the future"
    if rejection.reason == TOO_LATE and _unmoved(rejection, time, subject, vocabulary):
        return "too late: a partition's clock only goes forward, so it would be too late again"
    key = subject.encode()
    return Ready(route([key], partitions)[0], key, value or b"", headers)


def _why(value: bytes | None, headers: Headers, rejected: Rejected, vocabulary: Vocabulary) -> str:
    """What is wrong with a record, in the words of `validate`."""
    try:
        raw = structured(headers, value)
    except CloudEventError:
        raw = value or b""
    return "; ".join(each.sentence for each in errors(raw, rejected, vocabulary))


def _size(ready: Ready) -> int:
    """Bytes on the wire, as Kafka counts them: of a batch with nothing else in it."""
    builder = DefaultRecordBatchBuilder(2, 0, 1, -1, -1, -1, 0)
    builder.append(0, 0, ready.key, ready.value, ready.headers)
    return int(builder.size())


def _unmoved(rejection: Rejection, time: int, subject: str, vocabulary: Vocabulary) -> bool:
    """Whether an event has the time and the customer of the record it was made of."""
    before = decode([rejection.value], [rejection.headers], vocabulary=vocabulary)
    return bool(before.events) and (
        int(before.columns["time"][0]) == time and subjects_of(before.events) == [subject]
    )


def _without_origin(headers: Headers) -> Headers:
    return [(name, value) for name, value in headers if name not in {RESENT_FROM, FORWARDED_FROM}]


def _without_mode(headers: Headers) -> Headers:
    """Headers of a record that has become a structured event."""
    try:
        binary = is_binary(headers)
    except CloudEventError:
        binary = True
    return [
        (name, value)
        for name, value in _without_origin(headers)
        if not binary or not (name.startswith("ce_") or name.lower() == "content-type")
    ]
