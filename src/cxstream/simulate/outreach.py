"""What the company does: weekly campaigns, and actions for those who look unhappy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxstream.model.kinds import Kind
from cxstream.model.parameters import HOUR_MS, MINUTE_MS
from cxstream.simulate.rows import RESOLVED, UNRESOLVED, Rows, join, rows
from cxstream.simulate.world import OTHER

if TYPE_CHECKING:
    from cxstream.simulate.day import Day

_WEEK = 7
_TREATED_RELIEF = -4.0


def campaigns(day: Day) -> Rows:
    """Return this week's campaign to those whose weekday it is, and what they do with it."""
    people = day.people
    turn = np.arange(len(people)) % _WEEK == day.number % _WEEK
    cust = np.flatnonzero(turn & ~people.unsubscribed & (people.engagement > 0))
    count = len(cust)
    week = day.number // _WEEK
    sent_at = np.full(count, day.start + 9 * HOUR_MS) + day.rng.integers(0, 30 * MINUTE_MS, count)
    opened_at = sent_at + (day.rng.lognormal(4.5, 1.0, count) * MINUTE_MS).astype(np.int64)
    opens = day.chance(count) < 0.28 * people.engagement[cust]
    clicks = opens & (day.chance(count) < 0.22)
    strain = people.pain[cust] / people.tolerance[cust]
    leaves = day.chance(count) < 0.002 + 0.02 * np.minimum(strain, 2) ** 2
    people.unsubscribed[cust[leaves]] = True
    return join(
        [
            rows(kind, cust, t, channel="email", ref=week, topic=0)[mask]
            for kind, t, mask in (
                (Kind.campaign_sent, sent_at, np.ones(count, np.bool_)),
                (Kind.campaign_opened, opened_at, opens),
                (Kind.campaign_clicked, opened_at + 25_000, clicks),
                (Kind.unsubscribed, opened_at + 60_000, leaves),
            )
        ]
    )


def actions(day: Day) -> Rows:
    """Return what the CRM does for some of those in pain; one in five is held out, so that it can be measured."""
    people = day.people
    strained = (people.pain > 0.7 * people.tolerance) & (people.engagement > 0)
    cust = np.flatnonzero(strained & (day.chance(len(people)) < 0.04))
    treated = day.chance(len(cust)) < 0.8
    return rows(
        Kind.action_taken,
        cust,
        day.hours(len(cust)),
        channel="crm",
        ref=day.numbers.take(len(cust)),
        outcome=np.where(treated, RESOLVED, UNRESOLVED),
        pain=np.where(treated, _TREATED_RELIEF, 0.0),
        cause=OTHER,
    )
