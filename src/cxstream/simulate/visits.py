"""Visits to web, app and store, and what goes wrong in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cxstream.model.kinds import Kind
from cxstream.model.parameters import DAY_MS
from cxstream.simulate.rows import CHANNEL, Bools, Floats, Ints, Rows, join, rows
from cxstream.simulate.world import (
    EVERYDAY,
    FAILURES,
    OUTAGE,
    OUTAGE_FAILURES,
    TOPIC,
    WAITING,
    WEB_PLACES,
    WEEKDAYS,
)

if TYPE_CHECKING:
    from cxstream.simulate.day import Day

_FAIL_RATE = 0.022
_OUTAGE_RATE = 0.6
_STEPS_MAX = 20
_KINDS = np.array([Kind.page_view, Kind.search, Kind.click], np.uint8)
_FAILED = np.array([f.kind for f in FAILURES], np.uint8)
_TOPIC = np.array([TOPIC[f.topic] for f in FAILURES], np.uint8)
_PAIN = np.array([f.pain for f in FAILURES])
_CALLS = np.array([f.calls for f in FAILURES])
_CUM_WEB = np.cumsum([f.web for f in FAILURES])
_CUM_APP = np.cumsum([f.app for f in FAILURES])
_OUTAGE = np.array([i for i, f in enumerate(FAILURES) if f.kind in OUTAGE_FAILURES])


class Trouble(NamedTuple):
    """What may make a customer get in touch; arrays of one length.

    Attributes:
        cust: index of the customer.
        t: when it happened, ms UTC.
        topic: index in `world.TOPICS`.
        cause: index in `world.CAUSES`.
        calls: how likely the customer gets in touch.
    """

    cust: Ints
    t: Ints
    topic: Ints
    cause: Ints
    calls: Floats


def visits(day: Day) -> tuple[Rows, Trouble]:
    """Return everybody's visits of the day, and the troubles that came of them."""
    people = day.people
    rate = people.visits * people.engagement * WEEKDAYS[(day.start // DAY_MS + 3) % 7]
    cust = np.repeat(np.arange(len(people)), day.rng.poisson(rate))
    t = day.hours(len(cust))
    in_store = day.chance(len(cust)) < people.store[cust]
    made, trouble = _sessions(day, cust[~in_store], t[~in_store])
    return join([made, store_visits(day, cust[in_store], t[in_store])]), trouble


def store_visits(day: Day, cust: Ints, t: Ints) -> Rows:
    """Return visits to a store at these times, with the queues in them."""
    home = day.people.home[cust]
    queued = day.chance(len(cust)) < 0.3
    wait = day.rng.gamma(1.5, 110, len(cust)).astype(np.int64)
    visit = rows(Kind.store_visit, cust, t, channel="store", place=home)
    queue = rows(
        Kind.queue, cust, t + 120_000 + wait * 1000, channel="store", place=home, wait=wait, cause=WAITING
    )
    queue["pain"] = np.maximum(0, wait - 240) / 240
    return join([visit, queue[queued]])


def _sessions(day: Day, cust: Ints, start: Ints) -> tuple[Rows, Trouble]:
    """Return digital visits step by step; in some the last step fails."""
    count = len(cust)
    steps = np.minimum(day.rng.geometric(0.2, count), _STEPS_MAX)
    last = np.cumsum(steps) - 1
    first = last - steps + 1
    owner = np.repeat(np.arange(count), steps)
    gap = 2_000 + (day.rng.exponential(20_000, len(owner))).astype(np.int64)
    gap[first] = 0
    since = np.cumsum(gap)
    app = day.chance(count) < day.people.app[cust]
    made = rows(
        _KINDS[np.searchsorted([0.55, 0.70], day.chance(len(owner)), side="right")],
        cust[owner],
        start[owner] + since - since[first][owner],
        channel=np.where(app, CHANNEL["app"], CHANNEL["web"])[owner],
        place=day.rng.integers(0, len(WEB_PLACES), len(owner)),
        ref=day.numbers.take(count)[owner],
        x=day.rng.integers(-1, 1200, len(owner)),
        y=day.rng.integers(0, 2000, len(owner)),
    )
    made["kind"][first[app]] = Kind.app_open
    failed, which, outage = _failures(day, cust, start, app)
    step = made[last[failed]]
    step["kind"] = _FAILED[which]
    step["topic"], step["pain"] = _TOPIC[which], _PAIN[which]
    step["cause"] = np.where(outage, OUTAGE, EVERYDAY)
    made[last[failed]] = step
    trouble = Trouble(
        step["cust"].astype(np.int64),
        step["t"],
        step["topic"].astype(np.int64),
        step["cause"].astype(np.int64),
        _CALLS[which] * np.where(outage, 1.3, 1.0),
    )
    left = made[last[~failed & (day.chance(count) < 0.04)]]
    left["kind"], left["t"], left["place"] = (
        Kind.cart_abandoned,
        left["t"] + 45_000,
        WEB_PLACES.index("basket"),
    )
    left["cents"] = day.rng.lognormal(8.3, 0.6, len(left)).astype(np.int64)
    return join([made, left, _raw_rage(day, step)]), trouble


def _failures(day: Day, cust: Ints, start: Ints, app: Bools) -> tuple[Bools, Ints, Bools]:
    """Tell which sessions fail, how (index in FAILURES, for those), and whether an outage did it (for those)."""
    outage = day.during(OUTAGE, start)
    rate = np.where(outage, _OUTAGE_RATE, _FAIL_RATE * day.people.luck[cust]) * day.trouble
    failed = day.chance(len(cust)) < np.minimum(rate, 0.9)
    app, outage = app[failed], outage[failed]
    u = day.chance(len(app))
    which = np.where(
        app,
        np.searchsorted(_CUM_APP, u * _CUM_APP[-1], side="right"),
        np.searchsorted(_CUM_WEB, u * _CUM_WEB[-1], side="right"),
    )
    return failed, np.where(outage, _OUTAGE[day.rng.integers(0, len(_OUTAGE), len(app))], which), outage


def _raw_rage(day: Day, failed: Rows) -> Rows:
    """Return the clicks behind some of the failed steps as a site without rage-click detection sends them."""
    base = np.repeat(failed[(day.chance(len(failed)) < 0.1) & (failed["kind"] == Kind.error)], 4)
    base["kind"], base["pain"], base["topic"] = Kind.click, 0.2, 0
    step = np.arange(len(base)) % 4
    base["t"] += 1_500 + step * 230
    base["x"], base["y"] = 640 + step * 3, 410 + step * 2
    return base
