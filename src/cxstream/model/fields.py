"""The fields of a touchpoint's `data`: their types, bounds and meanings, for the decoder and the schemas alike."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

from msgspec import Meta, Struct

from cxstream.model.enumerations import Channel, ContactChannel, Stage  # noqa: TC001  # msgspec evaluates the annotations
from cxstream.model.rfc3339 import DATE, TIME_OF_DAY

# JSON has no bound for numbers; a float64 has, and says so in the schema.
MAX = sys.float_info.max
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


# A day, or a time (RFC 3339).
Day = Annotated[
    str,
    Meta(
        pattern=f"^{DATE}(?:{TIME_OF_DAY})?$",
        max_length=40,
    ),
]


def currency_code(currency: str) -> int:
    """A currency as a number: its three letters as bytes."""
    return int.from_bytes(currency.encode(), "big")


class Data(Struct, kw_only=True, gc=False):
    """`data` of a touchpoint; what a kind needs beyond `channel`, its own subclass demands.

    Attributes:
        channel: Where it happened.
        touchpoint: Free name of the place: checkout, returns desk.
        stage: Stage of the journey.
        session: Session of the site or app.
        campaign: Campaign it belongs to.
        topic: What a contact or complaint is about; repeated contacts are found by it.
        case_id: Case of a complaint: opened and resolved carry the same one.
        agent: Who answered.
        product: Product it is about.
        location: Shop or place.
        wait_s: Waiting until served, in seconds.
        handle_s: Time being served, in seconds.
        transfers: How often the customer was handed on.
        resolved: Whether it was solved; absent where nobody knows.
        abandoned: Whether the customer gave up waiting.
        x: Horizontal position of a click, in pixels.
        y: Vertical position of a click, in pixels.
        target: What was clicked.
        amount: Money, in `currency`.
        currency: ISO 4217 code.
        order_id: Order it belongs to.
        late_days: Days after the promised date; 0 is on time.
        score: Answer to a survey: CES 1..7, CSAT 1..5, NPS 0..10, whole numbers.
        rating: Stars of a review, 1..5.
        text: What the customer wrote or searched for.
        lang: Language of `text`.
        sentiment: Sentiment of `text`, -1..1.
        hashtags: Hashtags of a post.
        likes: Likes of a post.
        shares: Shares of a post.
        comments: Comments on a post.
        reason: Why, in the words of the source.
        action: What the company did.
        arm: Whether the action was taken or held out, for an experiment.
        action_id: The signal that was acted on.
        segment: Segment of the customer.
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


class HistoryData(Data, kw_only=True, gc=False):
    """What a customer bought until the time of the event.

    Attributes:
        purchases: Days with a purchase, 1 or more.
        first: Day of the first purchase, `2019-05-04`; of a time, the day in UTC counts.
        last: Day of the last purchase, not after the day of the event.
    """

    purchases: Annotated[float, Meta(ge=1, le=4_000_000, multiple_of=1)]
    first: Day
    last: Day
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
