"""Erasure requests, on their way from cx.forget into the log.

They come through an inlet (`cxstream.worker.ownership.inlets`).

A client with write access to cx.forget may request the erasure of any customer; one with write access to
cx.touchpoints may not. So the owner signs the requests that it takes over, if there is a key, whatever signature the
record had. The time of a request is at most the moment at which it is taken over: it must not drop later events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from cxstream.model.events import Forget
from cxstream.model.fields import MAX_SUBJECT
from cxstream.model.kinds import FORGET_TYPE
from cxstream.model.rfc3339 import rfc3339
from cxstream.scoring.codec.decode import FROM_THE_FUTURE, INVALID, decode
from cxstream.topology import FORGET
from cxstream.worker.ownership.inlets import Inlet, Refused, Request

if TYPE_CHECKING:
    from typing import Any

    from cxstream.scoring.codec.signatures import Authority


def read(
    record: Any, partition: int, future_ms: int, now_ms: int, authority: Authority | None
) -> Request | Refused:
    """Decode a record of cx.forget: a cx.forget.v1 event, or a customer's key without a value.

    Args:
        record: aiokafka's.
        partition: of cx.forget.
        future_ms: how far a request's time may lie after the record's timestamp, in ms; it then counts as that
            timestamp.
        now_ms: by this computer's clock, ms UTC; a later time counts as now.
        authority: signs the request; None without a key.
    """
    latest = min(int(record.timestamp), now_ms)
    subject = _customer(record.key)
    if subject is None:
        return Refused(INVALID, "key")
    if not record.value:
        name, source = f"{FORGET.contract}-{partition}-{record.offset}", f"/cxstream/{FORGET.contract}"
        return Request(subject, _event(name, source, subject, rfc3339(latest), authority), latest)
    asked = _asked(record, subject, future_ms)
    if isinstance(asked, Refused):
        return asked
    event, time = asked
    if authority is None and time <= latest:
        return Request(subject, record.value, time)
    said = event.time if time <= latest else rfc3339(latest)
    return Request(subject, _event(event.id, event.source, subject, said, authority), min(time, latest))


def _asked(record: Any, subject: str, future_ms: int) -> tuple[Forget, int] | Refused:
    """The event in a record and its time, ms UTC."""
    decoded = decode([record.value])
    if decoded.rejected:
        return Refused(decoded.rejected[0].reason, decoded.rejected[0].field)
    event, time = decoded.events[0], int(decoded.columns["time"][0])
    if not isinstance(event, Forget):
        return Refused(INVALID, "type")
    if time > record.timestamp + future_ms:
        return Refused(FROM_THE_FUTURE, "time")
    return (event, time) if event.subject == subject else Refused(INVALID, "key")


def _customer(key: bytes | None) -> str | None:
    """The customer that a key names; None if it cannot be one."""
    try:
        subject = (key or b"").decode()
    except UnicodeDecodeError:
        return None
    return subject if 0 < len(subject) <= MAX_SUBJECT else None


def _event(name: str, source: str, subject: str, time: str, authority: Authority | None) -> bytes:
    event = {
        "specversion": "1.0",
        "id": name,
        "source": source,
        "type": FORGET_TYPE,
        "subject": subject,
        "time": time,
    }
    return msgspec.json.encode(event if authority is None else authority.sign(event))


ERASURES = Inlet(FORGET, read)
# All inlets of the worker.
INLETS = (ERASURES,)
