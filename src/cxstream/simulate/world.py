"""The world as tables: segments, causes of trouble, topics, channel habits, hours of the day."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cxstream.model.kinds import Kind


@dataclass(frozen=True, slots=True)
class Segment:
    """A sort of customer.

    Attributes:
        name: as it stands in the ground truth.
        share: of the population.
        visits: visits a day.
        app: share of the digital visits that come through the app.
        store: share of the visits that go to a store.
        purchase_days: mean time between purchases, in days.
        spend: median amount of a purchase.
        tolerance: pain at which leaving becomes likely.
        contacts: habit: share of contacts by call, chat, email, store and social.
    """

    name: str
    share: float
    visits: float
    app: float
    store: float
    purchase_days: float
    spend: float
    tolerance: float
    contacts: tuple[float, float, float, float, float]


SEGMENTS = (
    Segment("newcomer", 0.20, 0.45, 0.35, 0.06, 35.0, 45.0, 9.0, (0.40, 0.35, 0.15, 0.04, 0.06)),
    Segment("regular", 0.40, 0.50, 0.30, 0.10, 24.0, 60.0, 13.0, (0.50, 0.22, 0.18, 0.07, 0.03)),
    Segment("loyal", 0.18, 0.85, 0.55, 0.12, 11.0, 70.0, 20.0, (0.45, 0.30, 0.15, 0.07, 0.03)),
    Segment("bargain", 0.15, 0.55, 0.40, 0.03, 30.0, 30.0, 10.0, (0.25, 0.45, 0.15, 0.03, 0.12)),
    Segment("business", 0.07, 0.70, 0.05, 0.02, 8.0, 420.0, 15.0, (0.65, 0.08, 0.25, 0.01, 0.01)),
)

# What pain comes from. `other` is a departure that no pain explains: moved away, found it cheaper.
CAUSES = (
    "other",
    "everyday_trouble",
    "web_outage",
    "late_delivery",
    "late_wave",
    "billing_error",
    "product",
    "waiting",
)
OTHER, EVERYDAY, OUTAGE, LATE, WAVE, BILLING, PRODUCT, WAITING = range(len(CAUSES))

TOPICS = ("", "login", "payment", "order", "delivery", "invoice", "product", "app", "search")
TOPIC = {name: index for index, name in enumerate(TOPICS)}


@dataclass(frozen=True, slots=True)
class Failure:
    """A digital step that goes wrong.

    Attributes:
        kind: what is reported.
        web: how often it is that one on the web, relative to the others.
        app: ... and in the app.
        topic: what the customer then calls about.
        pain: its effect on the customer.
        calls: how likely the customer gets in touch about it.
    """

    kind: Kind
    web: float
    app: float
    topic: str
    pain: float
    calls: float


FAILURES = (
    Failure(Kind.search_no_result, 0.22, 0.14, "search", 0.4, 0.08),
    Failure(Kind.rage_click, 0.10, 0.04, "order", 0.9, 0.20),
    Failure(Kind.dead_click, 0.14, 0.08, "order", 0.5, 0.08),
    Failure(Kind.error, 0.20, 0.18, "payment", 1.2, 0.35),
    Failure(Kind.app_crash, 0.0, 0.24, "app", 1.4, 0.28),
    Failure(Kind.login_failed, 0.18, 0.20, "login", 1.0, 0.35),
    Failure(Kind.form_abandoned, 0.16, 0.12, "payment", 0.9, 0.25),
)
# An outage shows itself as one of these.
OUTAGE_FAILURES = (Kind.error, Kind.login_failed, Kind.form_abandoned)

# Visits by hour of the day, UTC; they need not add up to anything.
HOURS = np.array(
    [1, 1, 1, 1, 1, 2, 4, 7, 9, 10, 10, 11, 12, 11, 10, 10, 11, 13, 15, 16, 15, 12, 7, 3], np.float64
)
WEEKDAYS = np.array([1.0, 0.95, 0.95, 1.0, 1.1, 1.2, 0.9])

LOCATIONS = ("London", "Leeds", "Lyon", "Lisbon", "Gdansk", "Bremen", "Turin", "Ghent")
WEB_PLACES = ("home", "category", "product page", "search", "basket", "checkout", "account", "help")
