"""Inlets: side topics whose records the owner of a partition takes into the log.

    cx.forget-N ---- translate ----> every partition of cx.touchpoints
         |                                 in one transaction
         +---- offset after the record ----> committed for the group

The owner of partition N reads N of each side topic. What a record asks for becomes a control record in the log, where
it has a place among the touchpoints, so that what it does is a function of the log like everything else. The offset of
the side topic is committed in the transaction that writes it: it is taken exactly once, whatever stops a worker. A
record that asks for nothing goes to cx.rejected in the same way.

A new inlet is one `Inlet`, which `cxstream.worker.ownership.requests` lists in INLETS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from cxstream.scoring.codec.signatures import Authority
    from cxstream.topology import Topic


class Refused(NamedTuple):
    """Why a record of a side topic asks for nothing.

    Attributes:
        reason: malformed, invalid, too_large, from_the_future or failed.
        field: path of the field, "" where there is none.
    """

    reason: str
    field: str


class Request(NamedTuple):
    """What a record asks for, as it goes into cx.touchpoints.

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
        translate: makes a request of one of its records, or says why it is none. Its arguments: aiokafka's record; the
            partition; how far a request's time may lie after the record's timestamp, in ms; the time by this
            computer's clock, ms UTC; what signs control records, None where there is no key.
    """

    topic: Topic
    translate: Callable[[Any, int, int, int, Authority | None], Request | Refused]
