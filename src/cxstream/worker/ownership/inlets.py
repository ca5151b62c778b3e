"""Inlets: side topics whose records the owner of a partition takes into the log.

    cx.forget-N ---- translate ----> every partition of cx.touchpoints
         |                                 in one transaction
         +---- offset after the record ----> committed for the group

The owner of partition N reads N of each side topic. The request of a record becomes a control record in the log, in
order with the touchpoints, so that its effect depends on the log alone, like everything else. The offset of
the side topic is committed in the transaction that writes it: it is taken exactly once, even if a worker crashes. A
record without a valid request goes to cx.rejected in the same way.

A new inlet is one `Inlet`, which `cxstream.worker.ownership.requests` lists in INLETS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from cxstream.scoring.codec.signatures import Authority
    from cxstream.topology import Topic


class Refused(NamedTuple):
    """Why a record of a side topic has no valid request.

    Attributes:
        reason: malformed, invalid, too_large, from_the_future or failed.
        field: path of the field, "" if there is none.
    """

    reason: str
    field: str


class Request(NamedTuple):
    """The request of a record, as it is written to cx.touchpoints.

    Attributes:
        subject: the customer.
        value: a control record.
        time: its time, ms UTC.
    """

    subject: str
    value: bytes
    time: int


class Inlet(NamedTuple):
    """A side topic.

    Attributes:
        topic: the topic.
        translate: makes a request of one of its records, or returns why it is not valid. Its arguments: aiokafka's record; the
            partition; how far a request's time may lie after the record's timestamp, in ms; the time by this
            computer's clock, ms UTC; what signs control records, None without a key.
    """

    topic: Topic
    translate: Callable[[Any, int, int, int, Authority | None], Request | Refused]
