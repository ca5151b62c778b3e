"""Leaving: pain makes it likely, the decision comes first, the departure days later."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from cxstream.model.kinds import Kind
from cxstream.model.parameters import DAY_MS, HOUR_MS
from cxstream.simulate.people import GONE, LEAVING, NEVER, STAYING
from cxstream.simulate.rows import Floats, Ints, Rows, join, rows
from cxstream.simulate.world import CAUSES, OTHER

if TYPE_CHECKING:
    from cxstream.simulate.day import Day
    from cxstream.simulate.people import People

_HALF_LIFE_DAYS = 25.0
_BASE_HAZARD = 0.00015
_PAIN_HAZARD = 0.09
_WON_BACK_HAZARD = 0.008
_TOLD_SHARE = 0.8
_REASON_SHARE = 0.15
# From the decision to the departure, at least and at most.
NOTICE_DAYS = (4.0, 21.0)


def hazard(people: People) -> Floats:
    """Probability that each customer who stays decides today to leave: float64[n]."""
    excess = np.clip((people.pain - people.tolerance) / (0.12 * people.tolerance), -30, 30)
    found: Floats = _BASE_HAZARD + _PAIN_HAZARD / (1 + np.exp(-excess))
    return found


@dataclass(slots=True)
class Departure:
    """One customer's leaving.

    Attributes:
        decided_at: ms UTC.
        left_at: ms UTC; from then on they do nothing.
        pain: when they decided.
        reasons: causes of the pain with their shares, largest first; `other` alone if it was not the pain.
        won_back_at: ms UTC, None while they are gone.
    """

    decided_at: int
    left_at: int
    pain: float
    reasons: list[tuple[str, float]]
    won_back_at: int | None = None


@dataclass(slots=True)
class Departures:
    """Who left when and why, by customer's index."""

    of: dict[int, list[Departure]] = field(default_factory=dict)

    def step(self, day: Day) -> Rows:
        """Let pain fade, customers decide, leave and come back; return what the CRM hears of it."""
        people = day.people
        people.pain *= 2 ** (-1 / _HALF_LIFE_DAYS)
        people.by_cause *= 2 ** (-1 / _HALF_LIFE_DAYS)
        people.state[(people.state == LEAVING) & (people.left_at <= day.start)] = GONE
        back = self._won_back(day)
        return join([self._decide(day), back])

    def _decide(self, day: Day) -> Rows:
        people = day.people
        u = day.chance(len(people))
        cust = np.flatnonzero((people.state == STAYING) & (u < hazard(people)))
        decided_at = day.hours(len(cust))
        left_at = decided_at + (day.rng.uniform(*NOTICE_DAYS, len(cust)) * DAY_MS).astype(np.int64)
        people.state[cust], people.left_at[cust] = LEAVING, left_at
        unexplained = u[cust] < _BASE_HAZARD
        for index, decided, left, other in zip(
            cust.tolist(), decided_at.tolist(), left_at.tolist(), unexplained, strict=True
        ):
            reasons = [(CAUSES[OTHER], 1.0)] if other else _reasons(people.by_cause[index])
            departure = Departure(decided, left, round(float(people.pain[index]), 3), reasons)
            self.of.setdefault(index, []).append(departure)
        told = rows(Kind.churned, cust, left_at + 6 * HOUR_MS, channel="crm")[
            day.chance(len(cust)) < _TOLD_SHARE
        ]
        quits = (day.chance(len(cust)) < 0.3) & ~people.unsubscribed[cust]
        people.unsubscribed[cust[quits]] = True
        gone = rows(Kind.unsubscribed, cust, decided_at + HOUR_MS, channel="email")[quits]
        return join([told, gone])

    def _won_back(self, day: Day) -> Rows:
        people = day.people
        # Not before they are known to have left.
        gone = (people.state == GONE) & (people.left_at < day.start - 2 * DAY_MS)
        cust: Ints = np.flatnonzero(gone & (day.chance(len(people)) < _WON_BACK_HAZARD))
        t = day.hours(len(cust))
        people.state[cust], people.left_at[cust] = STAYING, NEVER
        people.pain[cust] *= 0.2
        people.by_cause[cust] *= 0.2
        people.next_purchase[cust] = t + 5 * DAY_MS
        for index, when in zip(cust.tolist(), t.tolist(), strict=True):
            self.of[index][-1].won_back_at = when
        return rows(Kind.won_back, cust, t, channel="crm")


def _reasons(by_cause: Floats) -> list[tuple[str, float]]:
    share = by_cause.clip(0) / max(float(by_cause.clip(0).sum()), 1e-9)
    order = np.argsort(-share, kind="stable")
    return [(CAUSES[i], round(float(share[i]), 3)) for i in order if share[i] >= _REASON_SHARE] or [
        (CAUSES[OTHER], 1.0)
    ]
