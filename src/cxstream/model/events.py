"""Touchpoint events as msgspec types: one envelope a kind, told apart by the CloudEvents `type`.

These types are the wire contract: the decoder runs on them and the JSON Schemas are generated from them.
Unknown fields are ignored, an explicit null of an optional field is the same as its absence.
`time` is checked by `cxstream.kernels.text`, which reads RFC 3339 with an offset.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, Union

from msgspec import Meta, Struct, defstruct

from cxstream.model.kinds import FORGET_TYPE, TICK_TYPE, Kind

# JSON has no bound for numbers; a float64 has, and says so in the schema.
MAX = sys.float_info.max
# `KIND` of control records, from here on: they are signed where there is a key, and never from the future.
CONTROL = 248
# Bounds of strings are in characters (Unicode code points), as JSON Schema counts them. Each string that is used has
# one: signals, receipts and saved state repeat what came in, and must fit into a record whatever that was.
MAX_SUBJECT = 128  # of a customer id
MAX_STRING = 256  # of a string that has no bound of its own
MAX_TEXT = 20_000
MAX_LANG = 35  # a language tag with all of its parts (RFC 5646, 4.4.1)
MAX_HASHTAG = 128
MAX_HASHTAGS = 50
# HMAC-SHA-256 in lower-case hexadecimal. Some engines let `$` match before a newline at the end.
Signature = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", max_length=64)]
Amount = Annotated[float, Meta(ge=0, le=MAX)]
Coordinate = Annotated[float, Meta(ge=-MAX, le=MAX)]
Text = Annotated[str, Meta(max_length=MAX_STRING)]
NonEmpty = Annotated[str, Meta(min_length=1, max_length=MAX_STRING)]
LongText = Annotated[str, Meta(max_length=MAX_TEXT)]
Language = Annotated[str, Meta(max_length=MAX_LANG)]
Hashtag = Annotated[str, Meta(max_length=MAX_HASHTAG)]
Hashtags = Annotated[list[Hashtag], Meta(max_length=MAX_HASHTAGS)]
Currency = Annotated[str, Meta(pattern="^[A-Z]{3}$", max_length=3)]
Channel = Literal["web", "app", "call", "chat", "email", "store", "social", "crm"]
ContactChannel = Literal["call", "chat", "email", "store", "social"]
Stage = Literal["awareness", "consideration", "purchase", "service", "loyalty"]


class Data(Struct, kw_only=True, gc=False):
    """`data` of a touchpoint; what a kind needs beyond `channel`, its own subclass demands.

    `wait_s` and `handle_s` are seconds, `late_days` days, `x` and `y` pixels, `amount` is in `currency`
    (ISO 4217), `sentiment` runs from -1 to 1.
    """

    channel: Channel
    touchpoint: Text | None = None
    stage: Stage | None = None
    session: Text | None = None
    campaign: Text | None = None
    topic: Text | None = None
    case_id: Text | None = None
    agent: Text | None = None
    product: Text | None = None
    location: Text | None = None
    wait_s: Amount | None = None
    handle_s: Amount | None = None
    transfers: Amount | None = None
    resolved: bool | None = None
    abandoned: bool | None = None
    x: Coordinate | None = None
    y: Coordinate | None = None
    target: Text | None = None
    amount: Amount | None = None
    currency: Currency | None = None
    order_id: Text | None = None
    late_days: Amount | None = None
    score: Amount | None = None
    rating: Amount | None = None
    text: LongText | None = None
    lang: Language | None = None
    sentiment: Annotated[float, Meta(ge=-1, le=1)] | None = None
    hashtags: Hashtags | None = None
    likes: Amount | None = None
    shares: Amount | None = None
    comments: Amount | None = None
    reason: Text | None = None
    action: Text | None = None
    arm: Literal["treated", "holdout"] | None = None
    action_id: Text | None = None
    segment: Text | None = None


class ContactData(Data, kw_only=True, gc=False):
    """A contact comes through a channel on which somebody answers."""

    channel: ContactChannel


class ComplaintData(Data, kw_only=True, gc=False):
    """A complaint is followed by its case."""

    case_id: NonEmpty


class ActionData(Data, kw_only=True, gc=False):
    """Something that the company did about a signal."""

    action: NonEmpty


class MoneyData(Data, kw_only=True, gc=False):
    """Money that changed hands."""

    amount: Amount
    currency: Currency


class CesData(Data, kw_only=True, gc=False):
    """An answer to "the company made it easy for me", 1..7."""

    score: Annotated[float, Meta(ge=1, le=7, multiple_of=1)]


class CsatData(Data, kw_only=True, gc=False):
    """An answer to "how satisfied are you", 1..5."""

    score: Annotated[float, Meta(ge=1, le=5, multiple_of=1)]


class NpsData(Data, kw_only=True, gc=False):
    """An answer to "how likely are you to recommend us", 0..10."""

    score: Annotated[float, Meta(ge=0, le=10, multiple_of=1)]


class ReviewData(Data, kw_only=True, gc=False):
    """A review with stars, 1..5."""

    rating: Annotated[float, Meta(ge=1, le=5)]


DATA: dict[Kind, type[Data]] = {
    Kind.contact: ContactData,
    Kind.complaint_opened: ComplaintData,
    Kind.complaint_resolved: ComplaintData,
    Kind.purchase: MoneyData,
    Kind.return_: MoneyData,
    Kind.survey_ces: CesData,
    Kind.survey_csat: CsatData,
    Kind.survey_nps: NpsData,
    Kind.review: ReviewData,
    Kind.action_taken: ActionData,
}


class Touchpoint(Struct, kw_only=True, gc=False, tag_field="type", tag="cx.touchpoint"):
    """The CloudEvents envelope of a touchpoint.

    Attributes:
        id: identifies the event together with `source`; 1..256 characters.
        source: the system that says so; 1..256 characters.
        subject: the customer, 1..128 characters; the Kafka key equals it.
        time: RFC 3339 with offset.
        data: what happened.
    """

    KIND: ClassVar[int] = -1

    specversion: Literal["1.0"]
    id: NonEmpty
    source: NonEmpty
    subject: Annotated[str, Meta(min_length=1, max_length=MAX_SUBJECT)]
    time: Text
    data: Data


class Tick(Struct, kw_only=True, gc=False, tag_field="type", tag=TICK_TYPE):
    """Time passes; nothing else happens.

    Attributes:
        signature: of who may write ticks; needed where the workers have a `control.key`.
    """

    KIND: ClassVar[int] = 255

    specversion: Literal["1.0"]
    id: NonEmpty
    source: NonEmpty
    time: Text
    signature: Signature | None = None


class Forget(Struct, kw_only=True, gc=False, tag_field="type", tag=FORGET_TYPE):
    """The customer wants to be erased: everything known of him goes, and what comes late about him is dropped.

    Attributes:
        signature: of the worker that took the request from cx.forget; needed in cx.touchpoints where the workers have
            a `control.key`, and not looked at in cx.forget.
    """

    KIND: ClassVar[int] = 254

    specversion: Literal["1.0"]
    id: NonEmpty
    source: NonEmpty
    subject: Annotated[str, Meta(min_length=1, max_length=MAX_SUBJECT)]
    time: Text
    signature: Signature | None = None


def _envelope(kind: Kind) -> Any:
    return defstruct(
        f"Touchpoint_{kind.label}",
        [("data", DATA.get(kind, Data))],
        bases=(Touchpoint,),
        namespace={
            "KIND": int(kind),
            "__annotations__": {},
            "__doc__": f"A touchpoint of kind {kind.label}.",
        },
        tag_field="type",
        tag=kind.type,
        kw_only=True,
        gc=False,
        module=__name__,
    )


ENVELOPES: dict[Kind, type[Touchpoint]] = {kind: _envelope(kind) for kind in Kind}
Event: TypeAlias = Touchpoint | Tick | Forget
EVENT_TYPE: Any = Union[(*ENVELOPES.values(), Tick, Forget)]
