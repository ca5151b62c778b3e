"""The kinds of touchpoint events: one record describes a kind, and everything else about it is derived.

Derived are the decoder (`events`), the default points (`parameters`), the columns that it fills
(`scoring.codec.columns`), the schemas, and the reference in docs/events.md.

The numbers are part of saved state: add new kinds at the end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Literal, Self

from cxstream.model.fields import (
    ActionData,
    CesData,
    ComplaintData,
    ContactData,
    CsatData,
    Data,
    HistoryData,
    MoneyData,
    NpsData,
    ReviewData,
)

# What a kind tells the kernels beyond its points.
Columns = Literal[
    "case", "click", "contact", "delivery", "history", "money", "queue", "rating", "score", "sentiment"
]


@dataclass(frozen=True, slots=True)
class KindSpec:
    """What there is to know of a kind.

    Attributes:
        description: what happened, and which fields count; one paragraph of Markdown.
        points: default effort points, 0 or more, and mood points, which are above 0 for what pleases.
        data: the type of `data`, which says what fields are required.
        fills: the columns that it fills; None where its points are all that counts.
        company: the company did it: no sign of life of the customer.
        visit: a plain visit, which is most of the traffic: without points it changes no score, and its duplicates are
            known for `visit_dedupe_days` only.
        failed_step: a digital step that failed: a contact through a switch channel after it is a channel switch.
        outcome: it shows whether an action helped.
        refers: it may name a signal in `action_id`.
        example: `data` of a valid event.
    """

    description: str
    points: tuple[float, float] = (0, 0)
    data: type[Data] = Data
    fills: Columns | None = None
    company: bool = False
    visit: bool = False
    failed_step: bool = False
    outcome: bool = False
    refers: bool = False
    example: dict[str, Any] = field(default_factory=dict)


def type_of(label: str) -> str:
    """The CloudEvents type of a kind."""
    return f"cx.touchpoint.{label}.v1"


class Kind(IntEnum):
    """A touchpoint kind; its event type is `cx.touchpoint.<name>.v1`."""

    spec: KindSpec

    # The default is for type checkers, which take `Kind(3)` for a call of this.
    def __new__(cls, number: int, spec: KindSpec = KindSpec("")) -> Self:
        """Make the kind of a number."""
        kind = int.__new__(cls, number)
        kind._value_ = number
        kind.spec = spec
        return kind

    page_view = (
        0,
        KindSpec(
            "The customer viewed a page.",
            visit=True,
            example={"channel": "web", "touchpoint": "pricing", "stage": "consideration", "session": "s-81"},
        ),
    )
    search = (
        1,
        KindSpec(
            "A search with results.",
            visit=True,
            example={"channel": "web", "touchpoint": "help centre", "text": "change delivery address"},
        ),
    )
    click = (
        2,
        KindSpec(
            "One click. Three fast clicks at the same `x` and `y` are recognised as a rage click.",
            fills="click",
            visit=True,
            example={"channel": "web", "touchpoint": "checkout", "target": "#pay", "x": 512, "y": 340},
        ),
    )
    app_open = (
        3,
        KindSpec("The customer opened the app.", visit=True, example={"channel": "app", "session": "s-82"}),
    )
    store_visit = (
        4,
        KindSpec(
            "The customer visited a store.",
            visit=True,
            example={"channel": "store", "location": "Kraków, Rynek 5"},
        ),
    )
    email_sent = (
        5,
        KindSpec(
            "The company sent an email. This is not an activity of the customer.",
            company=True,
            visit=True,
            example={"channel": "email", "campaign": "autumn"},
        ),
    )
    campaign_sent = (
        6,
        KindSpec(
            "The company sent a campaign to the customer. This is not an activity of the customer.",
            company=True,
            visit=True,
            example={"channel": "email", "campaign": "autumn", "segment": "families"},
        ),
    )
    campaign_opened = (
        7,
        KindSpec(
            "The customer opened the campaign.",
            visit=True,
            example={"channel": "email", "campaign": "autumn"},
        ),
    )
    campaign_clicked = (
        8,
        KindSpec(
            "The customer followed a link of the campaign.",
            visit=True,
            example={"channel": "email", "campaign": "autumn", "target": "/sale"},
        ),
    )
    search_no_result = (
        9,
        KindSpec(
            "A search without results.",
            points=(1, -0.5),
            failed_step=True,
            example={"channel": "web", "touchpoint": "help centre", "text": "invoice address"},
        ),
    )
    rage_click = (
        10,
        KindSpec(
            "Rage clicks that the source itself has recognised.",
            points=(2, -1),
            failed_step=True,
            example={"channel": "web", "touchpoint": "checkout", "target": "#pay"},
        ),
    )
    dead_click = (
        11,
        KindSpec(
            "A click on something that does not react.",
            points=(1, -0.25),
            failed_step=True,
            example={"channel": "app", "touchpoint": "basket", "target": "image"},
        ),
    )
    error = (
        12,
        KindSpec(
            "An error page or message.",
            points=(2, -1),
            failed_step=True,
            example={"channel": "web", "touchpoint": "checkout", "reason": "payment declined"},
        ),
    )
    app_crash = (
        13,
        KindSpec(
            "The app crashed.",
            points=(3, -1.5),
            failed_step=True,
            example={"channel": "app", "touchpoint": "basket", "reason": "out of memory"},
        ),
    )
    login_failed = (
        14,
        KindSpec(
            "A failed login.",
            points=(1.5, -0.5),
            failed_step=True,
            example={"channel": "app", "reason": "wrong password"},
        ),
    )
    form_abandoned = (
        15,
        KindSpec(
            "The customer left a form half filled in.",
            points=(2, -0.5),
            failed_step=True,
            example={"channel": "web", "touchpoint": "claim form"},
        ),
    )
    cart_abandoned = (
        16,
        KindSpec(
            "The customer left a basket without buying.",
            points=(1, -0.25),
            example={"channel": "web", "amount": 59.9, "currency": "EUR"},
        ),
    )
    contact = (
        17,
        KindSpec(
            "The customer contacted the company. `wait_s`, `transfers`, `abandoned` and `resolved` affect the scores; leave `resolved` out if it is unknown. `topic` identifies repeated contacts. `channel` is call, chat, email, store or social.",
            points=(2, 0),
            data=ContactData,
            fills="contact",
            example={
                "channel": "call",
                "topic": "invoice",
                "wait_s": 420,
                "handle_s": 310,
                "transfers": 1,
                "resolved": False,
                "agent": "a-17",
            },
        ),
    )
    queue = (
        18,
        KindSpec(
            "The customer waited in a store; `wait_s` affects the scores.",
            fills="queue",
            example={"channel": "store", "touchpoint": "returns desk", "wait_s": 540},
        ),
    )
    purchase = (
        19,
        KindSpec(
            "A purchase, which counts in `purchases` and `spent` of the score card. A churned customer who buys is no longer "
            "suspended. Needs `amount` and `currency`.",
            points=(0, 1),
            data=MoneyData,
            fills="money",
            outcome=True,
            refers=True,
            example={"channel": "web", "order_id": "o-7", "amount": 129.0, "currency": "PLN"},
        ),
    )
    # `return` is a keyword of Python.
    return_ = (
        20,
        KindSpec(
            "The customer returned a product; the amount is taken from `spent` of the score card. Needs `amount` and `currency`.",
            points=(2, -1),
            data=MoneyData,
            fills="money",
            outcome=True,
            refers=True,
            example={
                "channel": "store",
                "order_id": "o-7",
                "amount": 129.0,
                "currency": "PLN",
                "reason": "too small",
            },
        ),
    )
    delivery = (
        21,
        KindSpec(
            "A delivery; `late_days` affects the scores; absent or 0 means on time.",
            fills="delivery",
            example={"channel": "email", "order_id": "o-7", "late_days": 2},
        ),
    )
    complaint_opened = (
        22,
        KindSpec(
            "The customer opened a complaint. Needs `case_id`.",
            points=(4, -3),
            data=ComplaintData,
            fills="case",
            outcome=True,
            example={"channel": "email", "case_id": "c-3", "topic": "damaged parcel"},
        ),
    )
    complaint_resolved = (
        23,
        KindSpec(
            "The complaint was resolved. Needs the `case_id` with which it was opened.",
            points=(0, 2),
            data=ComplaintData,
            fills="case",
            outcome=True,
            refers=True,
            example={"channel": "email", "case_id": "c-3"},
        ),
    )
    loyalty_joined = (
        24,
        KindSpec(
            "The customer joined the loyalty programme.",
            points=(0, 1),
            example={"channel": "app", "stage": "loyalty"},
        ),
    )
    loyalty_redeemed = (
        25,
        KindSpec(
            "The customer redeemed points.",
            points=(0, 1),
            example={"channel": "store", "stage": "loyalty", "amount": 10, "currency": "EUR"},
        ),
    )
    discount_used = (
        26,
        KindSpec(
            "The customer used a discount.",
            points=(0, 0.5),
            example={"channel": "web", "campaign": "autumn", "order_id": "o-7"},
        ),
    )
    referral = (
        27,
        KindSpec(
            "The customer referred somebody.",
            points=(0, 2),
            outcome=True,
            example={"channel": "app", "stage": "loyalty"},
        ),
    )
    unsubscribed = (
        28,
        KindSpec(
            "The customer unsubscribed from mail.",
            points=(0, -2),
            outcome=True,
            refers=True,
            example={"channel": "email", "campaign": "autumn"},
        ),
    )
    survey_ces = (
        29,
        KindSpec(
            'Customer effort score. Needs `score`, a whole number 1..7: 7 is "the company made it easy for me".',
            data=CesData,
            fills="score",
            outcome=True,
            example={"channel": "web", "touchpoint": "claim form", "score": 2},
        ),
    )
    survey_csat = (
        30,
        KindSpec(
            "Satisfaction with one thing. Needs `score`, a whole number 1..5.",
            data=CsatData,
            fills="score",
            outcome=True,
            example={"channel": "call", "score": 4, "text": "kind, but I had to repeat everything"},
        ),
    )
    survey_nps = (
        31,
        KindSpec(
            "Would the customer recommend the company? Needs `score`, a whole number 0..10.",
            data=NpsData,
            fills="score",
            outcome=True,
            example={"channel": "email", "score": 6},
        ),
    )
    review = (
        32,
        KindSpec(
            "A public review. Needs `rating`, 1..5, halves allowed.",
            data=ReviewData,
            fills="rating",
            outcome=True,
            example={
                "channel": "web",
                "product": "p-5",
                "rating": 3.5,
                "text": "does what it says",
                "lang": "en",
            },
        ),
    )
    social_post = (
        33,
        KindSpec(
            "A post about the company; `sentiment` affects the scores if it is given, or if the rules name a text model that finds one in `text`.",
            fills="sentiment",
            example={"channel": "social", "sentiment": -0.6, "hashtags": ["late"], "likes": 12, "shares": 3},
        ),
    )
    action_taken = (
        34,
        KindSpec(
            "The company acted on a signal. Needs `action`, what was done; `action_id` is the id of the signal. This is not an activity of the customer.",
            data=ActionData,
            company=True,
            refers=True,
            example={
                "channel": "crm",
                "action": "call_back_with_owner",
                "arm": "treated",
                "action_id": "cx.touchpoints-0-42-0",
            },
        ),
    )
    churned = (
        35,
        KindSpec(
            "The customer has left: no churn-risk signals until `won_back` or a purchase.",
            company=True,
            outcome=True,
            refers=True,
            example={"channel": "crm", "reason": "contract ended"},
        ),
    )
    won_back = (
        36,
        KindSpec(
            "The customer is back.",
            company=True,
            outcome=True,
            refers=True,
            example={"channel": "crm", "reason": "new contract"},
        ),
    )

    purchase_history = (
        37,
        KindSpec(
            "What the customer bought until the time of the event, as the company's records have it. It replaces what is known of "
            "their purchases up to its day. Needs `purchases`, the number of days with a purchase, `first` and `last`, the "
            "first and last of these days, and the sum as `amount` and `currency`. This is not an activity of the customer.",
            data=HistoryData,
            fills="history",
            company=True,
            example={
                "channel": "crm",
                "purchases": 12,
                "first": "2019-05-04",
                "last": "2024-11-23",
                "amount": 1480.5,
                "currency": "PLN",
            },
        ),
    )

    @property
    def label(self) -> str:
        """The kind as it stands in event types: `return`, not `return_`."""
        return self.name.rstrip("_")

    @property
    def type(self) -> str:
        """The CloudEvents type."""
        return type_of(self.label)


TICK_TYPE = "cx.tick.v1"
FORGET_TYPE = "cx.forget.v1"
RULES_TYPE = "cx.rules.v1"
BY_TYPE = {kind.type: kind for kind in Kind}
