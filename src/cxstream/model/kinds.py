"""The kinds of touchpoint events, and what each one adds to a customer's effort and mood.

The order is part of the snapshot layout: add new kinds at the end.
"""

from __future__ import annotations

from enum import IntEnum


class Kind(IntEnum):
    """A touchpoint kind; its event type is `cx.touchpoint.<name>.v1`."""

    page_view = 0
    search = 1
    click = 2
    app_open = 3
    store_visit = 4
    email_sent = 5
    campaign_sent = 6
    campaign_opened = 7
    campaign_clicked = 8
    search_no_result = 9
    rage_click = 10
    dead_click = 11
    error = 12
    app_crash = 13
    login_failed = 14
    form_abandoned = 15
    cart_abandoned = 16
    contact = 17
    queue = 18
    purchase = 19
    # `return` is a keyword of Python
    return_ = 20
    delivery = 21
    complaint_opened = 22
    complaint_resolved = 23
    loyalty_joined = 24
    loyalty_redeemed = 25
    discount_used = 26
    referral = 27
    unsubscribed = 28
    survey_ces = 29
    survey_csat = 30
    survey_nps = 31
    review = 32
    social_post = 33
    action_taken = 34
    churned = 35
    won_back = 36

    @property
    def label(self) -> str:
        """The kind as it stands in event types: `return`, not `return_`."""
        return self.name.rstrip("_")

    @property
    def type(self) -> str:
        """The CloudEvents type."""
        return f"cx.touchpoint.{self.label}.v1"


TICK_TYPE = "cx.tick.v1"
FORGET_TYPE = "cx.forget.v1"
BY_TYPE = {kind.type: kind for kind in Kind}

# What the company does is no sign of life of the customer.
COMPANY_KINDS = frozenset(
    {Kind.email_sent, Kind.campaign_sent, Kind.action_taken, Kind.churned, Kind.won_back}
)
# Most of the traffic; where the parameters give them no points they change no score.
VISIT_KINDS = frozenset(
    {
        Kind.page_view,
        Kind.search,
        Kind.click,
        Kind.app_open,
        Kind.store_visit,
        Kind.email_sent,
        Kind.campaign_sent,
        Kind.campaign_opened,
        Kind.campaign_clicked,
    }
)
# A contact by voice, in a shop or in public after one of these is a channel switch.
FAILED_STEPS = frozenset(
    {
        Kind.search_no_result,
        Kind.rage_click,
        Kind.dead_click,
        Kind.error,
        Kind.app_crash,
        Kind.login_failed,
        Kind.form_abandoned,
    }
)

CHANNELS = ("web", "app", "call", "chat", "email", "store", "social", "crm")
CONTACT_CHANNELS = ("call", "chat", "email", "store", "social")
SWITCH_CHANNELS = ("call", "store", "social")
STAGES = ("awareness", "consideration", "purchase", "service", "loyalty")
LEVELS = ("none", "elevated", "high", "critical")
FEATURES = (
    "effort",
    "surge",
    "dissatisfaction",
    "detractor",
    "complaint",
    "silence",
    "lapse",
    "unsubscribed",
)
