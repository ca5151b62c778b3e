"""The signal that a place left its own range, or is back in it, as a CloudEvent, and its topic.

It is about a place and names no customer: it says how many were hit. The process that keeps a warehouse writes it.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Struct

from cxstream.model.outputs import SOURCE, Output

TOUCHPOINT_SIGNAL_TYPE = "cx.signal.touchpoint.v1"
# The role of `cxstream.kafka.acls` that writes it.
WRITER = "warehouse"


class PlaceReason(Struct, frozen=True, gc=False):
    """One kind of touchpoint in the bad visits.

    Attributes:
        kind: kind of touchpoint, own kinds by their name.
        touchpoints: how many of them were bad since the change began.
        customers: how many customers had them.
        evidence: the same in words.
    """

    kind: str
    touchpoints: int
    customers: int
    evidence: str


class PlaceChange(Struct, frozen=True, gc=False):
    """`data` of a signal about a place.

    Attributes:
        change: raised: it has left its range; cleared: it is back in it.
        dimension: what the place is.
        channel: of a touchpoint or a channel; else null.
        name: of a touchpoint, a topic or a team; null for a channel.
        measure: what is counted: failed visits, visits that cost much effort, long waits, detractors.
        since: when the change began, as far as the test tells; UTC.
        visits: visits since then.
        bad: bad ones of them.
        share: bad / visits, 0..1.
        usual: the usual share at this hour of the week, 0..1.
        customers: customers with bad visits since then; null when it is cleared.
        reasons: the kinds of touchpoints in the bad visits, the most frequent first, at most 3; empty when it is cleared.
    """

    change: Literal["raised", "cleared"]
    dimension: Literal["touchpoint", "channel", "topic", "team"]
    channel: str | None
    name: str | None
    measure: Literal["failure", "effort", "wait", "nps"]
    since: str
    visits: int
    bad: int
    share: float
    usual: float
    customers: int | None
    reasons: list[PlaceReason]


class PlaceSignal(Struct, frozen=True, kw_only=True, gc=False, tag_field="type", tag=TOUCHPOINT_SIGNAL_TYPE):
    """A signal about a place: it has left its own range, or is back in it."""

    specversion: Literal["1.0"] = "1.0"
    id: str
    source: str = SOURCE
    subject: Annotated[
        str, msgspec.Meta(description="The place, as in `touchpoint/web/checkout`; the Kafka key equals it.")
    ]
    time: Annotated[
        str, msgspec.Meta(description="End of the minute of event time in which it was found, UTC.")
    ]
    datacontenttype: Literal["application/json"] = "application/json"
    data: PlaceChange


INSIGHTS = Output(
    "cx.insights",
    "alerts on places: touchpoints, channels, topics and teams that left their own range",
    "touchpoint_signal",
    "Signal about a place",
    "signals/touchpoint.v1.json",
    (("", PlaceSignal),),
    "",
    key="place",
    key_note="The place, as in `subject`.",
    keep_days=30,
    readers=frozenset({"oncall", WRITER}),
    writers=frozenset({WRITER}),
)
