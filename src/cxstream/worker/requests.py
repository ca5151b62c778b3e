"""Requests to be erased, on their way from cx.forget into the log that they are followed in.

The owner of partition N reads cx.forget-N and writes each request into cx.touchpoints, in the transaction that
commits how far he has read. There it has a place among the touchpoints, so that what it does is a function of the
log like everything else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from cxstream.model.events import MAX_SUBJECT, Forget
from cxstream.model.kinds import FORGET_TYPE
from cxstream.scoring.decode import FROM_THE_FUTURE, INVALID, decode
from cxstream.scoring.signals import rfc3339
from cxstream.topology import FORGET

if TYPE_CHECKING:
    from typing import Any


class Refused(NamedTuple):
    """Why a record of cx.forget is no request.

    Attributes:
        reason: malformed, invalid or from_the_future.
        field: path of the field, "" where there is none.
    """

    reason: str
    field: str


class Request(NamedTuple):
    """A request as it goes into cx.touchpoints.

    Attributes:
        subject: the customer.
        value: a cx.forget.v1 event.
    """

    subject: str
    value: bytes


def read(record: Any, partition: int, future_ms: int) -> Request | Refused:
    """Make sense of a record of cx.forget: a cx.forget.v1 event, or a customer's key without a value.

    Args:
        record: aiokafka's.
        partition: of cx.forget.
        future_ms: how far a request's time may lie after the record's timestamp, in ms.
    """
    subject = _customer(record.key)
    if subject is None:
        return Refused(INVALID, "key")
    if not record.value:
        return Request(subject, _event(subject, record, partition))
    decoded = decode([record.value])
    if decoded.rejected:
        return Refused(decoded.rejected[0].reason, decoded.rejected[0].field)
    event, time = decoded.events[0], decoded.columns["time"][0]
    if not isinstance(event, Forget):
        return Refused(INVALID, "type")
    if time > record.timestamp + future_ms:
        return Refused(FROM_THE_FUTURE, "time")
    return Request(subject, record.value) if event.subject == subject else Refused(INVALID, "key")


def _customer(key: bytes | None) -> str | None:
    """The customer that a key names; None if it cannot be one."""
    try:
        subject = (key or b"").decode()
    except UnicodeDecodeError:
        return None
    return subject if 0 < len(subject) <= MAX_SUBJECT else None


def _event(subject: str, record: Any, partition: int) -> bytes:
    return msgspec.json.encode(
        {
            "specversion": "1.0",
            "id": f"{FORGET.contract}-{partition}-{record.offset}",
            "source": f"/cxstream/{FORGET.contract}",
            "type": FORGET_TYPE,
            "subject": subject,
            "time": rfc3339(record.timestamp),
        }
    )
