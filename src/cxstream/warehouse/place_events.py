"""Insights as events: `cx.signal.touchpoint.v1`, with the kinds of touchpoints in the bad visits as reasons."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from cxstream.insights.detector import Change
from cxstream.insights.places import DETRACTOR, MINUTE_MS
from cxstream.model.kinds import Kind
from cxstream.model.place_signals import PlaceChange, PlaceReason, PlaceSignal
from cxstream.model.rfc3339 import rfc3339
from cxstream.warehouse.insights import visits_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

    from cxstream.insights.places import Insight, Place, Rules

_REASONS = 3
_FAILED = "(failed OR rage_click OR coalesce(abandoned, false) OR NOT coalesce(resolved, true))"
# In time, as places are counted: minutes behind the clock.
_IN_TIME = "(epoch_ms(time) + behind_ms) // $minute_ms - epoch_ms(time) // $minute_ms <= $grace"

_encode = msgspec.json.Encoder().encode


class Signal(NamedTuple):
    """A record of cx.insights.

    Attributes:
        key: the place.
        value: the CloudEvent.
        change: raised or cleared.
    """

    key: bytes
    value: bytes
    change: str


def signals(connection: duckdb.DuckDBPyConnection, insights: Sequence[Insight], rules: Rules) -> list[Signal]:
    """Insights as records, in their order.

    Args:
        connection: of the warehouse in which they were found.
        insights: what was found.
        rules: what was watched.
    """
    return [_signal(connection, each, rules) for each in insights]


def subject_of(place: Place) -> str:
    """A place as one text: `touchpoint/web/checkout`, `channel/web`, `topic/invoice`, `team/billing`."""
    return "/".join(part for part in place if part)


def _signal(connection: duckdb.DuckDBPyConnection, insight: Insight, rules: Rules) -> Signal:
    place, alarm = insight.place, insight.alarm
    raised = alarm.change is Change.raised
    subject, visits = subject_of(place), visits_of(alarm)
    parts = (subject, insight.measure, alarm.change.value, alarm.minute)
    event = PlaceSignal(
        id=hashlib.sha256(_encode(parts)).hexdigest()[:32],
        subject=subject,
        time=rfc3339((alarm.minute + 1) * MINUTE_MS),
        data=PlaceChange(
            change=alarm.change.value,
            dimension=place.dimension,  # type: ignore[arg-type]
            channel=place.channel or None,
            name=place.name or None,
            measure=insight.measure,  # type: ignore[arg-type]
            since=rfc3339(alarm.since * MINUTE_MS),
            visits=visits,
            bad=alarm.bad,
            share=alarm.bad / visits,
            usual=alarm.usual,
            customers=insight.customers if raised else None,
            reasons=_reasons(connection, insight, rules) if raised else [],
        ),
    )
    return Signal(subject.encode(), _encode(event), alarm.change.value)


def _reasons(connection: duckdb.DuckDBPyConnection, insight: Insight, rules: Rules) -> list[PlaceReason]:
    place, alarm = insight.place, insight.alarm
    bad, word = {
        "failure": (_FAILED, "that failed"),
        "effort": ("effort > 0", "that cost effort"),
        "wait": ("wait_s > $long_wait_s", f"with a wait of more than {rules.long_wait_s:g} s"),
        "nps": ("kind = $nps AND score <= $detractor", f"with an answer of {DETRACTOR} or less"),
    }[insight.measure]
    here = {
        "touchpoint": "channel = $channel AND touchpoint = $name",
        "channel": "channel = $channel",
        "topic": "topic = $name",
        "team": "agent IS NOT NULL",
    }[place.dimension]
    sql = f"""SELECT kind, customer_id, agent FROM touchpoints
        WHERE day BETWEEN make_timestamp($since * 1000)::DATE AND make_timestamp($end * 1000)::DATE
        AND time >= make_timestamp($since * 1000) AND time < make_timestamp($end * 1000) AND {here} AND {bad} AND {_IN_TIME}"""
    values: dict[str, Any] = {
        "since": alarm.since * MINUTE_MS,
        "end": (alarm.minute + 1) * MINUTE_MS,
        "minute_ms": MINUTE_MS,
        "grace": rules.grace,
        "channel": place.channel,
        "name": place.name,
        "long_wait_s": rules.long_wait_s,
        "nps": Kind.survey_nps.label,
        "detractor": DETRACTOR,
    }
    named = {name: each for name, each in values.items() if f"${name}" in sql}
    rows = connection.execute(sql, named).fetchall()
    if place.dimension == "team":
        patterns = rules.teams[place.name]
        rows = [row for row in rows if any(fnmatchcase(row[2], pattern) for pattern in patterns)]
    touchpoints = Counter(kind for kind, _, _ in rows)
    customers: defaultdict[str, set[int]] = defaultdict(set)
    for kind, customer, _ in rows:
        customers[kind].add(customer)
    ranked = sorted(touchpoints, key=lambda kind: (-touchpoints[kind], kind))[:_REASONS]
    return [_reason(kind, touchpoints[kind], len(customers[kind]), word) for kind in ranked]


def _reason(kind: str, touchpoints: int, customers: int, word: str) -> PlaceReason:
    who = "1 customer" if customers == 1 else f"{customers} customers"
    return PlaceReason(kind, touchpoints, customers, f"{touchpoints} {kind} {word}, of {who}")
