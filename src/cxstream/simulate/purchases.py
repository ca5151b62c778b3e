"""Purchases in each one's own rhythm, and what comes with them: deliveries, returns, reviews, rewards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxstream.model.kinds import Kind
from cxstream.model.parameters import DAY_MS, MINUTE_MS
from cxstream.simulate import answers
from cxstream.simulate.people import LEAVING
from cxstream.simulate.rows import CHANNEL, Ints, Rows, join, rows
from cxstream.simulate.visits import Trouble, store_visits
from cxstream.simulate.world import LATE, PRODUCT, TOPIC, WAVE

if TYPE_CHECKING:
    from cxstream.simulate.day import Day


def purchases(day: Day) -> tuple[Rows, Trouble]:
    """Return today's purchases with all that follows, and the late deliveries as troubles to come."""
    people = day.people
    due = np.flatnonzero((people.next_purchase < day.end) & (people.engagement > 0))
    interval = day.rng.gamma(3.0, people.purchase_days[due] / 3.0) * DAY_MS
    people.next_purchase[due] = day.end + interval.astype(np.int64)
    # Who has decided to leave buys no more, mostly.
    cust = due[(people.state[due] != LEAVING) | (day.chance(len(due)) < 0.3)]
    t = day.hours(len(cust))
    in_store = day.chance(len(cust)) < people.store[cust] * 2
    app = day.chance(len(cust)) < people.app[cust]
    order = day.numbers.take(len(cust))
    bought = rows(
        Kind.purchase,
        cust,
        t,
        channel=np.where(in_store, CHANNEL["store"], np.where(app, CHANNEL["app"], CHANNEL["web"])),
        cents=np.maximum(100, people.spend[cust] * 100 * day.rng.lognormal(0, 0.4, len(cust))),
        ref=order,
        place=people.home[cust],
        pain=-0.3,
    )
    online = bought[~in_store]
    delivered, late = _deliveries(day, online)
    made = [
        bought,
        store_visits(day, cust[in_store], t[in_store] - 15 * MINUTE_MS),
        rows(Kind.email_sent, online["cust"], online["t"] + MINUTE_MS, channel="email", ref=online["ref"]),
        delivered,
        answers.after_purchase(day, cust, t, order),
        _returns(day, bought),
        _rewards(day, bought),
    ]
    return join(made), late


def _deliveries(day: Day, online: Rows) -> tuple[Rows, Trouble]:
    count = len(online)
    promised = online["t"] + (day.rng.uniform(1, 3, count) * DAY_MS).astype(np.int64)
    # The wave is judged by when the parcel leaves; what it delays shows days later.
    wave = day.during(WAVE, online["t"])
    is_late = day.chance(count) < np.minimum(np.where(wave, 0.5, 0.06) * day.trouble, 0.9)
    days = np.where(is_late, np.minimum(1 + day.rng.geometric(0.4, count), 14), 0)
    cause = np.where(wave, WAVE, LATE)
    made = rows(
        Kind.delivery,
        online["cust"],
        promised + days * DAY_MS,
        channel="crm",
        ref=online["ref"],
        late_days=days,
        cause=cause,
        pain=np.where(is_late, 0.7 * np.minimum(days, 5), -0.1),
    )
    late = made[is_late]
    # They ask where it is on the day after it was promised.
    asks = (promised + DAY_MS)[is_late]
    trouble = Trouble(
        late["cust"].astype(np.int64),
        asks,
        np.full(len(late), TOPIC["delivery"]),
        cause[is_late],
        np.minimum(0.2 + 0.08 * late["late_days"], 0.7),
    )
    return made, trouble


def _returns(day: Day, bought: Rows) -> Rows:
    made = bought[day.chance(len(bought)) < 0.06].copy()
    made["kind"], made["cause"], made["pain"] = Kind.return_, PRODUCT, 0.9
    made["topic"] = TOPIC["product"]
    made["t"] += (day.rng.uniform(4, 16, len(made)) * DAY_MS).astype(np.int64)
    return made


def _rewards(day: Day, bought: Rows) -> Rows:
    people = day.people
    cust: Ints = bought["cust"].astype(np.int64)
    u = day.chance(len(bought))
    member = people.member[cust]
    joins = ~member & (u < 0.03)
    people.member[cust[joins]] = True
    happy = people.pain[cust] < 0.3 * people.tolerance[cust]
    v = day.chance(len(bought))
    made = []
    for kind, mask, after in (
        (Kind.discount_used, v < 0.15, -2_000),
        (Kind.loyalty_joined, joins, 40_000),
        (Kind.loyalty_redeemed, member & (u < 0.12), -1_000),
        (Kind.referral, happy & (v > 0.985), 3_600_000),
    ):
        part = bought[mask].copy()
        part["kind"], part["t"], part["pain"] = kind, part["t"] + after, -0.2
        made.append(part)
    return join(made)
