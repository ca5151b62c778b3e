"""Surveys, reviews and posts: few answer, the unhappy and the delighted more than the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxstream.model.kinds import Kind
from cxstream.model.parameters import DAY_MS, MINUTE_MS
from cxstream.simulate.rows import ABANDONED, UNRESOLVED, Bools, Floats, Ints, Rows, join, rows

if TYPE_CHECKING:
    from cxstream.simulate.day import Day

_NPS_EVERY_DAYS = 91


def contentment(day: Day, cust: Ints) -> Floats:
    """Return how content they are, with the noise of the day: float64[n], 0..1."""
    people = day.people
    strain = people.pain[cust] / people.tolerance[cust]
    return np.clip(0.92 - 0.55 * strain + day.rng.normal(0, 0.12, len(cust)), 0, 1)


def _willing(day: Day, cust: Ints, rate: float, mood: Floats) -> Bools:
    """Tell who answers: more of the talkative, and of those at either end of the scale."""
    bias = 0.5 + 4 * np.abs(mood - 0.6) ** 1.5 + 1.2 * (mood < 0.35)
    return day.chance(len(cust)) < np.minimum(rate * bias * day.people.talkative[cust], 0.9)


def _scale(mood: Floats, low: int, high: int) -> Ints:
    return np.clip(np.rint(low + mood * (high - low)), low, high).astype(np.int64)


def after_contact(day: Day, contact: Rows) -> Rows:
    """Return answers to the survey after a contact: how easy it was, or how satisfied."""
    cust = contact["cust"].astype(np.int64)
    spoilt = (contact["outcome"] == UNRESOLVED) | (contact["outcome"] == ABANDONED)
    mood = np.clip(contentment(day, cust) - 0.45 * spoilt - contact["wait"].clip(0) / 2400, 0, 1)
    answered = _willing(day, cust, 0.10, mood)
    effort = day.chance(len(cust)) < 0.5
    t = contact["t"] + (day.rng.uniform(20, 600, len(cust)) * MINUTE_MS).astype(np.int64)
    picked = [
        rows(kind, cust, t, channel="email", topic=contact["topic"], score=_scale(mood, *scale))[
            answered & mask
        ]
        for kind, scale, mask in ((Kind.survey_ces, (1, 7), effort), (Kind.survey_csat, (1, 5), ~effort))
    ]
    return join(picked)


def after_purchase(day: Day, cust: Ints, t: Ints, order: Ints) -> Rows:
    """Return reviews of what was bought at these times, some days later."""
    mood = contentment(day, cust)
    made = rows(
        Kind.review,
        cust,
        t + (day.rng.uniform(3, 15, len(cust)) * DAY_MS).astype(np.int64),
        channel="web",
        ref=order,
        score=_scale(mood, 1, 5),
    )
    return made[_willing(day, cust, 0.05, mood)]


def unasked(day: Day) -> Rows:
    """Return the quarterly NPS answers of those whose turn it is, and posts that nobody asked for."""
    people = day.people
    here = people.engagement > 0
    asked = np.flatnonzero(here & (np.arange(len(people)) % _NPS_EVERY_DAYS == day.number % _NPS_EVERY_DAYS))
    mood = contentment(day, asked)
    nps = rows(Kind.survey_nps, asked, day.hours(len(asked)), channel="email", score=_scale(mood, 0, 10))
    nps = nps[_willing(day, asked, 0.15, mood)]

    cust = np.flatnonzero(here & (day.chance(len(people)) < 0.004))
    mood = contentment(day, cust)
    posts = rows(
        Kind.social_post,
        cust,
        day.hours(len(cust)),
        channel="social",
        score=np.rint(np.clip(2.4 * mood - 1.3, -1, 1) * 100),
        x=day.rng.geometric(0.1, len(cust)),
        y=day.rng.geometric(0.4, len(cust)),
    )
    return join([nps, posts[_willing(day, cust, 0.6, mood)]])
