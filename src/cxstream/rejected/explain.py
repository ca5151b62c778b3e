"""Why a record is rejected: what the decoder says of it, where exactly, and what the schema wants there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cxstream.model.cloudevents import remark, structured
from cxstream.model.errors import CloudEventError
from cxstream.model.kinds import BY_TYPE, TICK_TYPE
from cxstream.model.params import MAX_RECORD_BYTES
from cxstream.rejected.locate import Span, at_byte, at_path, byte_of
from cxstream.scoring.decode import FORGED, FROM_THE_FUTURE, MALFORMED, MISROUTED, TOO_LARGE, TOO_LATE, decode
from cxstream.scoring.engine import check_keys
from cxstream.scoring.failing import may_be_of_record, place_of
from cxstream.scoring.passed import FAILED, SKIPPED
from cxstream.scoring.said import about
from cxstream.topology import FORGET
from cxstream.wire.schema import tick, touchpoint

if TYPE_CHECKING:
    from cxstream.model.cloudevents import Headers
    from cxstream.rejected.record import Rejection

_OF_VALID = {
    TOO_LATE: "valid, but its time was older than the window at the partition's clock: sent again as it is, "
    "it will be too late again",
    FROM_THE_FUTURE: "valid, but its time was later than scoring.future_minutes after the record's Kafka "
    "timestamp (a tick or a request to be erased: later than the timestamp itself): the source's clock, or its offset, "
    "was wrong",
    FORGED: "valid, but not signed with the workers' control.key: somebody wrote it into cx.touchpoints past them, or "
    "with another key: docs/security.md, 'Control records'",
    FAILED: "valid, but a worker could not process it: a defect of that version; after an update, send it again",
    SKIPPED: "valid: an operator had the worker skip it, with --skip",
    MISROUTED: "valid, but forwarded three times without arriving in its customer's partition: workers disagreed on how "
    "many partitions there are; sent again, it goes to the right one",
    TOO_LARGE: "valid and not larger than scoring.max_record_bytes, but in another partition than its customer's, and too "
    "large for cx.touchpoints (max.message.bytes) with the header that says so, or without the compression it came with",
}

# It needs no value, so that the decoder, which finds none, has nothing to say of it.
_NO_REQUEST = (
    "a request to be erased that could not be followed, by its field or its key; its value is not kept here, or it "
    "has none: docs/privacy.md says what a request is"
)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a record.

    Attributes:
        reason: malformed, invalid or too_large.
        field: path of the field, "" where there is none.
        message: what is wrong, for people.
    """

    reason: str
    field: str
    message: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything there is to say about a rejected record.

    Attributes:
        problem: what the decoder says today; None where it finds nothing.
        message: the same, or why it was rejected all the same, in a sentence.
        where: the place in the record's text; None where it has none.
        wanted: the part of the JSON Schema for the field; None where no schema speaks of it.
    """

    problem: Problem | None
    message: str
    where: Span | None
    wanted: dict[str, Any] | None


_GONE = (
    "cx.rejected has a reference to it, not a copy, and its place no longer has the record, or has one that is too large "
    "to be read here: size and digest are all that is known of it"
)


def check(
    value: bytes | None, headers: Headers, key: bytes | None, max_bytes: int = MAX_RECORD_BYTES
) -> Problem | None:
    """What is wrong with a record, its key included; None where nothing is, the time aside."""
    try:
        decoded = decode([value], [headers], keys=[key], limit=max_bytes)
    except Exception as error:
        if not may_be_of_record(error):
            raise
        return Problem(FAILED, "", f"this version cannot process it: {place_of(error)}; report it")
    check_keys(decoded, [key])
    if not decoded.rejected:
        return None
    rejected = decoded.rejected[0]
    return Problem(rejected.reason, rejected.field, rejected.message)


def explain(rejection: Rejection, max_bytes: int = MAX_RECORD_BYTES) -> Explanation:
    """Explain a rejection whose value has been read.

    Args:
        rejection: the rejection.
        max_bytes: the most bytes that a record may have (scoring.max_record_bytes).
    """
    if rejection.value is None and rejection.place.topic.endswith(FORGET.contract):
        return Explanation(None, _NO_REQUEST, None, _wanted(rejection, rejection.field))
    if rejection.reference is not None and rejection.value is None and not rejection.headers:
        return Explanation(None, _GONE, None, None)
    problem = check(rejection.value, rejection.headers, rejection.key, max_bytes)
    raw = _text(rejection)
    field = problem.field if problem else rejection.field
    if problem is None:
        message = _OF_VALID.get(
            rejection.reason, "valid today: the rules, or the schema, have changed since it was rejected"
        )
    else:
        message = "; ".join(filter(None, (problem.message, _remark(rejection))))
    return Explanation(problem, message, _where(raw, problem, field), _wanted(rejection, field))


def _remark(rejection: Rejection) -> str:
    """What its headers explain, beside what the decoder says."""
    try:
        return remark(rejection.headers)
    except CloudEventError:
        return ""


def _text(rejection: Rejection) -> bytes | None:
    """The structured event that the decoder reads; the bare value where headers and value make up none."""
    try:
        return structured(rejection.headers, rejection.value)
    except CloudEventError:
        return rejection.value


def _where(raw: bytes | None, problem: Problem | None, field: str) -> Span | None:
    if raw is None:
        return None
    if problem is not None and problem.reason == MALFORMED:
        position = byte_of(problem.message)
        return at_byte(raw, position) if position is not None else None
    if field == "key":
        return at_path(raw, "subject")
    return at_path(raw, field) if field else None


def _wanted(rejection: Rejection, field: str) -> dict[str, Any] | None:
    """What the schema of the record's kind says at a path; of an unknown kind, what all kinds share."""
    if not field:
        return None
    said = about(rejection.value, rejection.headers).type
    kind = said if isinstance(said, str) else ""
    if kind == TICK_TYPE:
        schema = tick()
    else:
        schema = touchpoint(BY_TYPE.get(kind, BY_TYPE["cx.touchpoint.page_view.v1"]))
        if kind not in BY_TYPE:
            schema["properties"]["type"] = {"enum": [*BY_TYPE, TICK_TYPE]}
    for step in ("subject" if field == "key" else field).split("."):
        name, is_item, _ = step.partition("[")
        schema = schema.get("properties", {}).get(name, {})
        schema = schema.get("items", {}) if is_item else schema
    schema.pop("properties", None)
    return schema or None
