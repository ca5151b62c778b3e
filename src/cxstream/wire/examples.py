"""One example of each kind of touchpoint: shown in the schemas and in the event reference, accepted by both."""

from __future__ import annotations

from typing import Any

from cxstream.model.kinds import FORGET_TYPE, TICK_TYPE, Kind

Fields = dict[str, Any]

EXAMPLE_DATA: dict[Kind, Fields] = {
    Kind.page_view: {"channel": "web", "touchpoint": "pricing", "stage": "consideration", "session": "s-81"},
    Kind.search: {"channel": "web", "touchpoint": "help centre", "text": "change delivery address"},
    Kind.click: {"channel": "web", "touchpoint": "checkout", "target": "#pay", "x": 512, "y": 340},
    Kind.app_open: {"channel": "app", "session": "s-82"},
    Kind.store_visit: {"channel": "store", "location": "Kraków, Rynek 5"},
    Kind.email_sent: {"channel": "email", "campaign": "autumn"},
    Kind.campaign_sent: {"channel": "email", "campaign": "autumn", "segment": "families"},
    Kind.campaign_opened: {"channel": "email", "campaign": "autumn"},
    Kind.campaign_clicked: {"channel": "email", "campaign": "autumn", "target": "/sale"},
    Kind.search_no_result: {"channel": "web", "touchpoint": "help centre", "text": "invoice address"},
    Kind.rage_click: {"channel": "web", "touchpoint": "checkout", "target": "#pay"},
    Kind.dead_click: {"channel": "app", "touchpoint": "basket", "target": "image"},
    Kind.error: {"channel": "web", "touchpoint": "checkout", "reason": "payment declined"},
    Kind.app_crash: {"channel": "app", "touchpoint": "basket", "reason": "out of memory"},
    Kind.login_failed: {"channel": "app", "reason": "wrong password"},
    Kind.form_abandoned: {"channel": "web", "touchpoint": "claim form"},
    Kind.cart_abandoned: {"channel": "web", "amount": 59.9, "currency": "EUR"},
    Kind.contact: {
        "channel": "call",
        "topic": "invoice",
        "wait_s": 420,
        "handle_s": 310,
        "transfers": 1,
        "resolved": False,
        "agent": "a-17",
    },
    Kind.queue: {"channel": "store", "touchpoint": "returns desk", "wait_s": 540},
    Kind.purchase: {"channel": "web", "order_id": "o-7", "amount": 129.0, "currency": "PLN"},
    Kind.return_: {
        "channel": "store",
        "order_id": "o-7",
        "amount": 129.0,
        "currency": "PLN",
        "reason": "too small",
    },
    Kind.delivery: {"channel": "email", "order_id": "o-7", "late_days": 2},
    Kind.complaint_opened: {"channel": "email", "case_id": "c-3", "topic": "damaged parcel"},
    Kind.complaint_resolved: {"channel": "email", "case_id": "c-3"},
    Kind.loyalty_joined: {"channel": "app", "stage": "loyalty"},
    Kind.loyalty_redeemed: {"channel": "store", "stage": "loyalty", "amount": 10, "currency": "EUR"},
    Kind.discount_used: {"channel": "web", "campaign": "autumn", "order_id": "o-7"},
    Kind.referral: {"channel": "app", "stage": "loyalty"},
    Kind.unsubscribed: {"channel": "email", "campaign": "autumn"},
    Kind.survey_ces: {"channel": "web", "touchpoint": "claim form", "score": 2},
    Kind.survey_csat: {"channel": "call", "score": 4, "text": "kind, but I had to repeat everything"},
    Kind.survey_nps: {"channel": "email", "score": 6},
    Kind.review: {
        "channel": "web",
        "product": "p-5",
        "rating": 3.5,
        "text": "does what it says",
        "lang": "en",
    },
    Kind.social_post: {
        "channel": "social",
        "sentiment": -0.6,
        "hashtags": ["late"],
        "likes": 12,
        "shares": 3,
    },
    Kind.action_taken: {
        "channel": "crm",
        "action": "call_back_with_owner",
        "arm": "treated",
        "action_id": "cx.touchpoints-0-42-0",
    },
    Kind.churned: {"channel": "crm", "reason": "contract ended"},
    Kind.won_back: {"channel": "crm", "reason": "new contract"},
}


def example(kind: Kind) -> Fields:
    """A whole event of `kind`."""
    return {
        "specversion": "1.0",
        "id": f"{kind.label}-1",
        "source": "/shop",
        "type": kind.type,
        "subject": "customer-1",
        "time": "2025-03-01T12:30:00.250+01:00",
        "data": EXAMPLE_DATA[kind],
    }


def example_tick() -> Fields:
    """A tick."""
    return {
        "specversion": "1.0",
        "id": "0-29013630",
        "source": "/ticker",
        "type": TICK_TYPE,
        "time": "2025-03-01T11:30:00Z",
    }


def example_forget() -> Fields:
    """A request to be erased."""
    return {
        "specversion": "1.0",
        "id": "request-1",
        "source": "/privacy-desk",
        "type": FORGET_TYPE,
        "subject": "customer-1",
        "time": "2025-03-01T11:30:00Z",
    }
