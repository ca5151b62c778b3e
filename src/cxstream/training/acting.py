"""What acting on a churn risk brings: how early departures are seen, and whom to contact at which cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cxstream.model.parameters import DAY_MS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cxstream.training.outcomes import Labelled

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

_PER = 1000
# What is shown of the lead times, in days, and of the thresholds, as shares of the customers.
_DAYS = (0, 7, 14, 21, 28, 42, 56, 84, 112, 168)
_SHARES = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class Early:
    """Departures that were seen some days before, without interruption.

    Attributes:
        days: at least so many.
        customers: how many left that were seen so early.
        share: of all who left.
    """

    days: int
    customers: int
    share: float


@dataclass(frozen=True, slots=True)
class Lead:
    """How early departures are seen: days at a level, without interruption, before the customer left.

    Attributes:
        departures: customers who left.
        seen: share who were at least elevated at the last cutoff before.
        days: a quarter, half and three quarters of these were seen that early; NaN where none was.
        early: how many were seen how early; empty where none was.
    """

    departures: int
    seen: float
    days: tuple[float, float, float]
    early: list[Early]


@dataclass(frozen=True, slots=True)
class Choice:
    """What a threshold brings.

    Attributes:
        threshold: everybody from this probability on is contacted.
        contacted: share of the customers.
        caught: share of those who leave among them.
        saving: expected, for each 1,000 customers at a cutoff; a loss where it is below 0.
    """

    threshold: float
    contacted: float
    caught: float
    saving: float


@dataclass(frozen=True, slots=True)
class Costs:
    """Whom to contact, by cost.

    Attributes:
        pays: probability from which a contact is worth its cost: cost / (success * value).
        best: threshold with the largest saving.
        contacted: share of the customers above it.
        caught: share of those who leave among them.
        saving: expected, for each 1,000 customers at a cutoff; 0 if no contact pays.
        choices: thresholds above which round shares of the customers are, the highest first.
    """

    pays: float
    best: float
    contacted: float
    caught: float
    saving: float
    choices: list[Choice]


def lead_of(rest: Labelled, p: Floats, threshold: float, every: int) -> Lead:
    """Departures of customers with a snapshot in the days before, and since when they were at a level.

    Args:
        rest: snapshots.
        p: their probabilities.
        threshold: where the level begins.
        every: days between cutoffs.
    """
    near = rest.y & (rest.wait <= every)
    last = np.flatnonzero(near)
    flagged = p >= threshold
    at = {
        (who, time): bool(flag)
        for who, time, flag in zip(
            rest.snapshots.customer.tolist(), rest.snapshots.time.tolist(), flagged.tolist(), strict=True
        )
    }
    days = []
    for i in last[flagged[last]].tolist():
        who, time, early = int(rest.snapshots.customer[i]), int(rest.snapshots.time[i]), float(rest.wait[i])
        while at.get((who, time := time - every * DAY_MS)):
            early += every
        days.append(early)
    if not days:
        return Lead(len(last), 0.0 if len(last) else math.nan, (math.nan,) * 3, [])
    low, middle, high = np.quantile(days, [0.25, 0.5, 0.75]).tolist()
    counts = [(least, sum(each >= least for each in days)) for least in _DAYS]
    early_ones = [Early(least, count, count / len(last)) for least, count in counts if count]
    return Lead(len(last), len(days) / len(last), (low, middle, high), early_ones)


def costs_of(y: Bools, p: Floats, w: Floats, cost: float, gain: float) -> Costs:
    """The saving of contacting all above each threshold, and the best of them.

    Args:
        y: who left.
        p: probabilities.
        w: weights.
        cost: of a contact.
        gain: expected, of contacting somebody who would leave.
    """
    pays = cost / gain if gain else math.inf
    order = np.argsort(-p, kind="stable")
    all_of, left = np.cumsum(w[order]), np.cumsum((w * y)[order])
    ends = np.flatnonzero(np.r_[np.diff(p[order]) != 0, True]) if len(p) else np.empty(0, np.int64)
    if not len(ends):
        return Costs(pays, math.nan, 0.0, 0.0, 0.0, [])

    def choice(end: int) -> Choice:
        saving = left[end] * gain - all_of[end] * cost
        return Choice(
            float(p[order][end]),
            float(all_of[end] / all_of[-1]),
            float(left[end] / max(left[-1], 1e-12)),
            float(saving / all_of[-1] * _PER),
        )

    places = np.searchsorted(all_of[ends] / all_of[-1], np.array(_SHARES) - 1e-9)
    choices = [choice(end) for end in np.unique(ends[np.minimum(places, len(ends) - 1)]).tolist()]
    best = choice(int(ends[np.argmax(left[ends] * gain - all_of[ends] * cost)]))
    if best.saving <= 0:
        return Costs(pays, math.nan, 0.0, 0.0, 0.0, choices)
    return Costs(pays, best.threshold, best.contacted, best.caught, best.saving, choices)
