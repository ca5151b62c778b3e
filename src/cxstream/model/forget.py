"""The event by which somebody asks to erase a customer: a record of cx.forget."""

from __future__ import annotations

import msgspec

from cxstream.model.kinds import FORGET_TYPE


def erasure_request(number: str, source: str, customer: str, time: str) -> bytes:
    """The value of a request; the key of its record is the customer, too.

    Args:
        number: id of the request.
        source: who asks.
        customer: whom to erase.
        time: when it is asked, UTC by RFC 3339.
    """
    event = {
        "specversion": "1.0",
        "id": number,
        "source": source,
        "type": FORGET_TYPE,
        "subject": customer,
        "time": time,
    }
    return msgspec.json.encode(event)
