"""Getting in touch: contact, repeat contact, complaint, and whether anybody helps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cxstream.model.enumerations import CONTACT_CHANNELS
from cxstream.model.kinds import Kind
from cxstream.model.parameters import DAY_MS, HOUR_MS, MINUTE_MS
from cxstream.simulate import answers
from cxstream.simulate.rows import (
    ABANDONED,
    CHANNEL,
    RESOLVED,
    UNKNOWN,
    UNRESOLVED,
    Bools,
    Floats,
    Ints,
    Rows,
    join,
    rows,
)
from cxstream.simulate.visits import Trouble
from cxstream.simulate.world import BILLING, EVERYDAY, OUTAGE, SEGMENTS, TOPIC, WAVE

if TYPE_CHECKING:
    from cxstream.simulate.day import Day

_ROUNDS = 4
_HABITS = np.cumsum([s.contacts for s in SEGMENTS], axis=1)
_CHANNELS = np.array([CHANNEL[name] for name in CONTACT_CHANNELS], np.uint8)
# Mean seconds until somebody answers, by CONTACT_CHANNELS; mail and social posts wait for nobody in a queue.
_WAITS = np.array([210.0, 90.0, 0.0, 150.0, 0.0])
_OUTCOME_PAIN = np.zeros(4)
_OUTCOME_PAIN[[RESOLVED, UNRESOLVED, ABANDONED]] = -0.8, 2.5, 2.2
_OPENS = 7 * HOUR_MS


@dataclass(slots=True)
class _Case:
    """Customers who still need help; arrays of one length, as in Trouble."""

    cust: Ints
    t: Ints
    topic: Ints
    cause: Ints

    def where(self, mask: Bools) -> _Case:
        return _Case(self.cust[mask], self.t[mask], self.topic[mask], self.cause[mask])


def contacts(day: Day, trouble: Trouble) -> Rows:
    """Return all that follows from the troubles: contacts over the next days, answers to surveys, complaints."""
    calls = day.chance(len(trouble.cust)) < trouble.calls
    case = _Case(trouble.cust, trouble.t, trouble.topic, trouble.cause).where(calls)
    made: list[Rows] = []
    for turn in range(_ROUNDS):
        if not len(case.cust):
            break
        contact = _contact(day, case, turn)
        made += [contact, answers.after_contact(day, contact)]
        failed = (contact["outcome"] == UNRESOLVED) | (contact["outcome"] == ABANDONED)
        case.t = contact["t"] + contact["wait"].clip(0) * 1000
        if turn:
            complains = failed & (day.chance(len(failed)) < 0.3 + 0.1 * turn)
            made.append(_complaints(day, case.where(complains)))
        case = case.where(failed & (day.chance(len(failed)) < 0.72))
    return join(made)


def everyday_questions(day: Day) -> Trouble:
    """Return questions that nothing went wrong for: an address to change, a product to ask about."""
    people = day.people
    asks = np.flatnonzero(day.chance(len(people)) < 0.006 * people.engagement)
    topic = np.array([TOPIC["product"], TOPIC["order"], TOPIC["invoice"]])[day.rng.integers(0, 3, len(asks))]
    return Trouble(asks, day.hours(len(asks)), topic, np.full(len(asks), EVERYDAY), np.ones(len(asks)))


def billing_errors(day: Day) -> Trouble:
    """Return those whom a billing error of today hits: they see it on the invoice and most of them call."""
    hit: list[Ints] = [np.zeros(0, np.int64)]
    for incident in day.incidents:
        if incident.cause == BILLING and day.start <= incident.start < day.end:
            share = np.minimum(0.05 * day.trouble, 0.5) * (day.people.engagement > 0)
            hit.append(np.flatnonzero(day.chance(len(day.people)) < share))
    cust = np.concatenate(hit)
    count = len(cust)
    return Trouble(
        cust,
        day.hours(count),
        np.full(count, TOPIC["invoice"]),
        np.full(count, BILLING),
        np.full(count, 0.75),
    )


def _contact(day: Day, case: _Case, turn: int) -> Rows:
    """Return one contact for each case; `turn` 0 is the first about it."""
    count = len(case.cust)
    habit = _HABITS[day.people.segment[case.cust]]
    way = (day.chance(count)[:, None] >= habit[:, :-1]).sum(axis=1)
    delay = (
        day.rng.lognormal(3.4, 1.0, count) * MINUTE_MS
        if turn == 0
        else day.rng.uniform(0.3, 4, count) * DAY_MS
    )
    t = case.t + delay.astype(np.int64)
    t += np.maximum(0, _OPENS - t % DAY_MS)  # nobody is there at night
    crowd = np.isin(case.cause, (OUTAGE, WAVE, BILLING))
    wait = (day.rng.gamma(1.3, 1 / 1.3, count) * _WAITS[way] * np.where(crowd, 2.5, 1.0)).astype(np.int64)
    live = _WAITS[way] > 0
    transfers = np.where(live, np.minimum(day.rng.poisson(0.35 + 0.2 * turn, count), 5), 0)
    outcome = _outcome(day, way, wait, turn)
    made = rows(
        Kind.contact,
        case.cust,
        t,
        channel=_CHANNELS[way],
        topic=case.topic,
        cause=case.cause,
        wait=np.where(live, wait, -1),
        handle=np.where(outcome == ABANDONED, 0, day.rng.gamma(2.0, 160, count)),
        transfers=np.where(outcome == ABANDONED, 0, transfers),
        outcome=outcome,
        ref=day.rng.integers(1, 180, count),  # the agent who answered
    )
    made["pain"] = (
        _OUTCOME_PAIN[outcome] + made["transfers"] * 0.8 + np.minimum(wait, 1200) / 300 + 1.2 * (turn > 0)
    )
    return made


def _outcome(day: Day, way: Ints, wait: Ints, turn: int) -> Ints:
    count = len(way)
    u = day.chance(count)
    outcome = np.where(u < 0.62 - 0.06 * turn, RESOLVED, np.where(u < 0.93, UNRESOLVED, UNKNOWN))
    by_voice = way < 2  # only who waits on the line or in a chat can hang up
    gives_up: Floats = np.clip((wait - 150) / 1200, 0, 0.6)
    return np.where(by_voice & (day.chance(count) < gives_up), ABANDONED, outcome)


def _complaints(day: Day, case: _Case) -> Rows:
    """Return complaints opened now, and for most of them their end some days later."""
    count = len(case.cust)
    opened = rows(
        Kind.complaint_opened,
        case.cust,
        case.t + (day.rng.uniform(3, 240, count) * MINUTE_MS).astype(np.int64),
        channel=np.array([CHANNEL["web"], CHANNEL["email"], CHANNEL["call"]])[day.rng.integers(0, 3, count)],
        topic=case.topic,
        cause=case.cause,
        pain=3.5,
        ref=day.numbers.take(count),
    )
    closed = opened[day.chance(count) < 0.68].copy()
    closed["kind"], closed["pain"] = Kind.complaint_resolved, -2.5
    closed["channel"] = CHANNEL["crm"]
    closed["t"] += (day.rng.lognormal(1.6, 0.7, len(closed)) * DAY_MS).astype(np.int64)
    return join([opened, closed])
