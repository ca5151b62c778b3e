"""Customer: everything about one of them, now or as it was known at the end of a day."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from math import exp, log
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException

from cxstream.console import erasing, history, risky, whatif, work
from cxstream.console.drawing import Axis
from cxstream.console.language import N_
from cxstream.console.life import Score, Spell, life
from cxstream.console.page import CUSTOMERS, Ask, Page, customer_address
from cxstream.console.tables import Table
from cxstream.console.waterfall import fall, head
from cxstream.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cxstream.console.reader import Row

_PAGE = 50
_MOST = 100_000
_SIGNALS = 30
_RANGES = {"14": 14, "60": 60, "365": 365}
_STEPS = 300
_ID = "SELECT customer_id FROM customers WHERE customer = $customer"
_CARD = "SELECT * FROM cards WHERE customer_id = $customer_id"
# A signal that follows from a late touchpoint was not known before it.
_SIGNALS_SQL = """
SELECT * REPLACE (reasons::VARCHAR AS reasons) FROM signals
WHERE customer_id = $customer_id AND time < $until
    AND ("partition", "offset") NOT IN (
        SELECT ("partition", "offset") FROM touchpoints
        WHERE customer_id = $customer_id AND time + to_milliseconds(behind_ms) >= $until)
ORDER BY time, "partition", "offset", n"""
# The scores after the last touchpoint of each step, at the moment when they were known.
_SCORES = f"""
WITH known AS (
    SELECT time + to_milliseconds(behind_ms) AS known_at, "partition", "offset", effort_after, satisfaction_after, probability_after, level_after
    FROM touchpoints WHERE {history.KNOWN}
)
SELECT arg_max({{'at': known_at, 'effort': effort_after, 'satisfaction': satisfaction_after, 'probability': probability_after,
    'level': level_after}}, {{'at': known_at, 'partition': "partition", 'offset': "offset"}}) AS score
FROM known WHERE known_at >= $since GROUP BY time_bucket(to_milliseconds($step_ms), known_at, $since) ORDER BY struct_extract(score, 'at')"""
_FACTS = f"""
SELECT
    count(*) AS touchpoints, min(time) AS first_time, max(time) AS last_time,
    arg_max(segment, (time, "offset")) FILTER (segment IS NOT NULL) AS segment,
    list(DISTINCT channel ORDER BY channel) AS channels, list(DISTINCT source ORDER BY source) AS sources,
    list(DISTINCT "partition" ORDER BY "partition") AS partitions,
    count(*) FILTER (kind = 'purchase') AS purchases,
    sum(amount_base) FILTER (kind = 'purchase') AS bought,
    count(*) FILTER (kind = 'purchase' AND amount_base IS NULL) AS unconverted,
    max(time) FILTER (kind = 'purchase') AS last_purchase,
    count(*) FILTER (kind = 'return') AS returns,
    sum(amount_base) FILTER (kind = 'return') AS returned,
    count(*) FILTER (kind = 'discount_used') AS discounts,
    count(*) FILTER (kind = 'referral') AS referrals,
    min(time) FILTER (kind = 'loyalty_joined') AS loyalty,
    max(time) FILTER (kind = 'unsubscribed') AS unsubscribed,
    arg_max(kind, (time, "offset")) FILTER (kind IN ('churned', 'won_back')) = 'churned' AS has_left
FROM touchpoints WHERE {history.KNOWN}"""
_FOLLOWED = f"""
SELECT * FROM touchpoints
WHERE {history.KNOWN} AND kind IN ('action_taken', 'complaint_opened', 'complaint_resolved', 'churned', 'won_back', 'unsubscribed')
ORDER BY time, "partition", "offset" """


@dataclass(frozen=True, slots=True)
class _When:
    """Until when things are known: now, or the end of a day.

    Attributes:
        until: exclusive.
        day: the day; None for now.
    """

    until: datetime
    day: date | None


async def _show(ask: Ask) -> Mapping[str, Any]:
    when, customer_id = _when(ask), await _found(ask)
    if customer_id is None:
        erased = await erasing.erased_at(ask)
        if erased is None:
            raise HTTPException(404)
        return {"customer": ask.customer, "erased": erased}
    values = {"customer_id": customer_id, "until": when.until}
    facts, signals, followed = await asyncio.gather(
        ask.reader.sql(_FACTS, values),
        ask.reader.sql(_SIGNALS_SQL, values),
        ask.reader.sql(_FOLLOWED, values),
    )
    card = None if when.day else next(iter(await ask.reader.sql(_CARD, {"customer_id": customer_id})), None)
    days = ask.choice("days", "60", *_RANGES)
    drawn, scores = await _life(ask, customer_id, when, int(days), signals, card)
    after = ask.param("after")
    events = await history.events(ask, customer_id, when.until, _PAGE + 1, after)
    worked = None
    if not when.day:
        worked = (await work.of(ask, [ask.customer]))[ask.customer]
    # Nobody's risk is judged who has left.
    asked = card if card is not None and not facts[0]["has_left"] else None
    told = [each for each in signals if each["reasons"] not in (None, "[]")]
    return {
        "customer": ask.customer,
        "erased": None,
        "erasure": await erasing.offered(ask),
        "when": when,
        "travel": _travel(ask, when, facts[0]),
        "facts": facts[0],
        "worked": worked,
        "offer": await work.choices(ask, ask.customer, worked) if worked else None,
        "card": card,
        "currency": ask.settings.scoring.base_currency,
        "state": card or _state(signals, scores),
        "days": days,
        "ranges": [
            (value, ask.language.ngettext("{n} day", "{n} days", size), _here(ask, days=value, after=None))
            for value, size in _RANGES.items()
        ],
        "life": drawn,
        "points": scores[-_PAGE:][::-1],
        "why": _why(ask, told[-1]) if told else None,
        "asked": asked,
        "what_if": await whatif.shown(ask, customer_id, asked) if asked else None,
        "done": await history.done(ask, customer_id, when.until),
        "signals": [_signal(ask, signals, n, followed) for n in range(len(signals) - 1, -1, -1)][:_SIGNALS],
        "all_signals": len(signals),
        "events": events[:_PAGE],
        "first": _here(ask, after=None) if after else None,
        "next": _here(ask, after=events[_PAGE - 1].place) if len(events) > _PAGE else None,
    }


def _here(ask: Ask, **changes: str | None) -> str:
    """This customer with other parameters."""
    kept = {name: ask.param(name) for name in ("at", "days", "after")}
    return customer_address(ask.customer, **{**kept, **changes})


async def _found(ask: Ask) -> int | None:
    found = await ask.reader.sql(_ID, {"customer": ask.customer})
    return int(found[0]["customer_id"]) if found else None


def _when(ask: Ask) -> _When:
    text = ask.param("at")
    now = history.now(ask)
    if not text:
        return _When(now, None)
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"at={text}: is no day, such as 2026-03-01") from error
    if not 1971 <= day.year < 8999:  # noqa: PLR2004
        raise InputError(f"at={text}: is not between the years 1971 and 8999")
    end = datetime.combine(day, datetime.min.time()) + timedelta(days=1)
    return _When(end, day) if end < now else _When(now, None)


def _travel(ask: Ask, when: _When, facts: Row) -> Row:
    """Links a day back and on, and to now."""
    day = when.day or (ask.last.date() if ask.last else date(1971, 1, 1))
    first = facts["first_time"]
    later = day + timedelta(days=1)
    is_last = ask.last is None or later >= ask.last.date()
    return {
        "day": day,
        "back": _here(ask, at=f"{day - timedelta(days=1)}", after=None)
        if first is None or day > first.date()
        else None,
        "on": _here(ask, at=None if is_last else f"{later}", after=None) if when.day else None,
        "now": _here(ask, at=None, after=None),
        "last": ask.last.date() if ask.last else None,
    }


async def _life(
    ask: Ask, customer_id: int, when: _When, days: int, signals: list[Row], card: Row | None
) -> tuple[Any, list[Row]]:
    """The drawing, and its scores as rows."""
    until = min(when.until, history.now(ask))
    since = until - timedelta(days=days)
    step_ms = max(1, int(timedelta(days=days) / timedelta(milliseconds=1) / _STEPS))
    values = {"customer_id": customer_id, "until": when.until, "since": since, "step_ms": step_ms}
    rows, dots = await asyncio.gather(
        ask.reader.sql(_SCORES, values), history.dots(ask, customer_id, since, until)
    )
    points = [{**row["score"], "effort_halfwidth": None, "satisfaction_halfwidth": None} for row in rows]
    told = [{**each, "at": each["time"]} for each in signals if each["time"] >= since]
    if card is not None and card["time"] >= since:
        told.append({**card, "at": min(card["time"], until), "level": card["announced"]})
    scores = sorted([*points, *told], key=lambda row: row["at"])
    effort, satisfaction = (
        [Score(row["at"], row[name], row[f"{name}_halfwidth"]) for row in scores]
        for name in ("effort", "satisfaction")
    )
    return life(
        ask.language, effort, satisfaction, _spells(signals, since, until), dots, (since, until)
    ), scores


def _spells(signals: list[Row], since: datetime, until: datetime) -> list[Spell]:
    """The levels that the CRM was told, one after the other."""
    starts = [
        (since, signals[0]["previous"] if signals else "none"),
        *((each["time"], each["level"]) for each in signals),
    ]
    ends = [*(time for time, _ in starts[1:]), until]
    return [
        Spell(level, max(since, start), end)
        for (start, level), end in zip(starts, ends, strict=True)
        if end > since
    ]


def _state(signals: list[Row], scores: list[Row]) -> Row | None:
    """The last that was known: of a touchpoint or of a signal."""
    last = signals[-1] if signals else None
    point = scores[-1] if scores else None
    if point is None or (last is not None and last["time"] >= point["at"]):
        return last and {**last, "announced": last["level"]}
    return {**point, "time": point["at"], "announced": last["level"] if last else "none"}


def _why(ask: Ask, signal: Row) -> Row:
    """The contributions of a signal, from a typical customer to this one; they add up in log-odds."""
    reasons = risky.reasons_of(ask, signal["reasons"])
    end = _logit(signal["probability"])
    place = end - sum(each["contribution"] for each in reasons)
    typical = place
    places = [place]
    for each in reasons:
        place += each["contribution"]
        each["before"], each["after"] = places[-1], place
        each["risk"] = _risk(place)
        places.append(place)
    slack = 0.35
    axis = Axis(min(places) - slack, max(places) + slack, 300, 4)
    return {
        "signal": signal,
        "day": risky.told_on(ask, signal["time"]),
        "reasons": [{**each, "drawn": fall(axis, each["before"], each["after"])} for each in reasons],
        "typical": _risk(typical),
        "typical_drawn": fall(axis, typical, typical, "k"),
        "end_drawn": fall(axis, end, end, "k"),
        "axis": head(axis, ask.language),
        "total": sum(each["contribution"] for each in reasons),
    }


def _logit(share: float) -> float:
    inside = min(1 - 1e-12, max(1e-12, share))
    return log(inside / (1 - inside))


def _risk(odds: float) -> float:
    return 1 / (1 + exp(-odds))


def _signal(ask: Ask, signals: list[Row], number: int, followed: list[Row]) -> Row:
    """A signal, and what followed until the next one."""
    signal = signals[number]
    next_one = signals[number + 1] if number + 1 < len(signals) else None
    end = next_one["time"] if next_one else None
    return {
        **signal,
        "reason": ask.label("reason", signal["leading_reason"]) if signal["leading_reason"] else "",
        "action": ask.label("action", signal["suggested_action"]) if signal["suggested_action"] else "",
        "followed": [
            {"time": row["time"], "text": history.said(ask, row)}
            for row in followed
            if signal["time"] <= row["time"] and (end is None or row["time"] < end)
        ],
        "until": next_one,
        "lasted": next_one["time"] - signal["time"] if next_one else None,
    }


async def _table(ask: Ask) -> Table:
    customer_id = await _found(ask)
    if customer_id is None:
        raise HTTPException(404)
    found = await history.events(ask, customer_id, _when(ask).until, _MOST)
    return Table("timeline", [_row(each) for each in found])


def _row(event: history.Event) -> Row:
    names = ("time", "channel", "kind", "touchpoint", "topic", "source", "id", "effort", "mood", "effort_after",
             "satisfaction_after", "probability_after", "level_after")  # fmt: skip
    return {**{name: event.row[name] for name in names}, "what": event.text}


PAGE = Page(
    name="customer",
    path=f"{CUSTOMERS}/{{customer:path}}",
    title=N_("Customer"),
    show=_show,
    tables={"timeline": _table},
    scoped=False,
    listed=False,
    role="agent",
)
