"""What happened to a customer: their touchpoints in words, over time and by channel.

What was known on a day is what the engine had taken in by its end: a late touchpoint is known from the moment at which the
clock of its partition had come as far (`time` and `behind_ms`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cxstream.console.language import N_
from cxstream.console.life import Dot, lanes_only
from cxstream.model.errors import InputError

if TYPE_CHECKING:
    from markupsafe import Markup

    from cxstream.console.page import Ask
    from cxstream.console.reader import Row

SAID = ("survey_ces", "survey_csat", "survey_nps", "review", "social_post")
OURS = ("action_taken", "campaign_sent", "email_sent")
_LANES = 5
_STEPS = 240
_MOST_DOTS = 2000
KNOWN = "customer_id = $customer_id AND time < $until AND time + to_milliseconds(behind_ms) < $until"
"""Touchpoints of a customer that were known at a moment."""

_EVENTS = f"""
SELECT * FROM touchpoints
WHERE {KNOWN}
    AND ($after_us IS NULL OR (time, "partition", "offset")
        < (make_timestamp($after_us::BIGINT), $after_partition::INTEGER, $after_offset::BIGINT))
ORDER BY time DESC, "partition" DESC, "offset" DESC LIMIT $limit"""
# One dot for each lane and step of the axis, so that a page stays small whatever a customer does.
_DOTS = f"""
SELECT
    lane, time_bucket(to_milliseconds($step_ms), time, $since) AS step, count(*) AS touchpoints, min(time) AS time,
    bool_or(kind = 'complaint_opened') AS is_complaint, bool_or(effort > 0 OR failed) AS is_hard, bool_or(answer < 0) AS is_bad,
    bool_or(answer > 0) AS is_good
FROM (
    SELECT *,
        CASE kind
            WHEN 'survey_nps' THEN CASE WHEN score <= 6 THEN -1 WHEN score >= 9 THEN 1 ELSE 0 END
            WHEN 'survey_csat' THEN sign(score - 3)
            WHEN 'survey_ces' THEN sign(score - 4)
            WHEN 'review' THEN sign(rating - 3)
            ELSE sign(sentiment)
        END AS answer,
        CASE WHEN list_contains($said, kind) THEN 'said' WHEN list_contains($ours, kind) THEN 'ours'
        ELSE 'channel:' || channel END AS lane
    FROM touchpoints WHERE {KNOWN} AND time >= $since
)
GROUP BY ALL ORDER BY step, lane LIMIT {_MOST_DOTS}"""


AFTER_DAYS = 14
"""Days after an action whose end is compared with its moment."""

# The last scores that were known within the days after it; none where nothing came since.
_DONE = f"""
WITH known AS (SELECT * FROM touchpoints WHERE {KNOWN}),
acts AS (SELECT * FROM known WHERE kind = 'action_taken' ORDER BY time DESC, "offset" DESC LIMIT $limit)
SELECT a.*, max(k.time) AS until, arg_max(k.probability_after, (k.time, k."partition", k."offset")) AS probability_then,
    arg_max(k.effort_after, (k.time, k."partition", k."offset")) AS effort_then,
    count(k.time) FILTER (k.kind = 'contact') AS contacts, count(k.time) FILTER (k.kind = 'complaint_opened') AS complaints,
    count(k.time) FILTER (k.kind = 'purchase') AS purchases,
    arg_max(k.kind, (k.time, k."offset")) FILTER (k.kind IN ('churned', 'won_back')) AS outcome
FROM acts a LEFT JOIN known k ON k.time > a.time AND k.time <= a.time + to_days({AFTER_DAYS})
GROUP BY ALL ORDER BY a.time DESC, a."offset" DESC"""
_DONE_MOST = 10


@dataclass(frozen=True, slots=True)
class Event:
    """A touchpoint in words.

    Attributes:
        row: of the read model.
        text: what happened.
        more: what is remarkable about it, such as a repeated contact.
        place: of it in the timeline.
    """

    row: Row
    text: str
    more: str
    place: str


async def events(ask: Ask, customer_id: int, until: datetime, limit: int, after: str = "") -> list[Event]:
    """The touchpoints of a customer that were known, newest first.

    Args:
        ask: of the page.
        customer_id: of the read model.
        until: known before it.
        limit: the most.
        after: `place` of the last one before these.
    """
    micros, partition, offset = _place(after)
    values = {
        "customer_id": customer_id, "until": until, "limit": limit,
        "after_us": micros, "after_partition": partition, "after_offset": offset,
    }  # fmt: skip
    return [_event(ask, row) for row in await ask.reader.sql(_EVENTS, values)]


async def last(ask: Ask, customer_id: int, count: int) -> list[Event]:
    """The last touchpoints of a customer."""
    return await events(ask, customer_id, now(ask), count)


async def lanes(ask: Ask, customer_id: int, days: int) -> Markup | None:
    """The last days of a customer as a drawing: a line for each channel, what they said and what we did."""
    if ask.last is None:
        return None
    until = now(ask)
    found = await dots(ask, customer_id, until - timedelta(days=days), until)
    return lanes_only(ask.language, found, (until - timedelta(days=days), until)) if found else None


async def dots(ask: Ask, customer_id: int, since: datetime, until: datetime) -> list[Dot]:
    """The touchpoints of a time, gathered into as many steps as can be told apart in a drawing."""
    step_ms = max(1, int((until - since) / timedelta(milliseconds=1) / _STEPS))
    values = {
        "customer_id": customer_id, "since": since, "until": until, "step_ms": step_ms, "said": list(SAID), "ours": list(OURS),
    }  # fmt: skip
    rows = await ask.reader.sql(_DOTS, values)
    names = _names(ask, rows)
    return [
        Dot(names[row["lane"]], row["time"], row["touchpoints"], _sort(row))
        for lane in names
        for row in rows
        if row["lane"] == lane
    ]


async def done(ask: Ask, customer_id: int, until: datetime) -> list[Row]:
    """What was done about a customer, newest first, and how they were up to 14 days later."""
    values = {"customer_id": customer_id, "until": until, "limit": _DONE_MOST}
    return [
        {
            **row,
            "what": ask.label("action", row["action"]),
            "then": _then(ask, row),
            "is_past": row["time"] + timedelta(days=AFTER_DAYS) <= min(until, now(ask)),
        }
        for row in await ask.reader.sql(_DONE, values)
    ]


def _then(ask: Ask, row: Row) -> str:
    """What came in the days after it."""
    words = ask.language
    parts = [ask.label("kind", row["outcome"])] if row["outcome"] else []
    if row["complaints"]:
        parts.append(words.ngettext("{n} complaint", "{n} complaints", row["complaints"]))
    if row["contacts"]:
        parts.append(words.ngettext("{n} contact", "{n} contacts", row["contacts"]))
    if row["purchases"]:
        parts.append(words.ngettext("{n} purchase", "{n} purchases", row["purchases"]))
    return ", ".join(parts)


def _names(ask: Ask, rows: list[Row]) -> dict[str, str]:
    """Lanes in their order with their names; channels that are seldom used share one."""
    count: dict[str, int] = {}
    for row in rows:
        count[row["lane"]] = count.get(row["lane"], 0) + row["touchpoints"]
    channels = sorted(
        (lane for lane in count if lane.startswith("channel:")), key=lambda lane: (-count[lane], lane)
    )
    own = channels if len(channels) <= _LANES else channels[: _LANES - 1]
    names = {lane: ask.label("channel", lane.removeprefix("channel:")) for lane in own}
    names |= dict.fromkeys(channels[len(own) :], ask.language.gettext("Other"))
    if "said" in count:
        names["said"] = ask.language.gettext("Said")
    if "ours" in count:
        names["ours"] = ask.language.gettext("We did")
    return names


def _sort(row: Row) -> str:
    if row["lane"] == "ours":
        return "ours"
    if row["lane"] == "said":
        return "bad" if row["is_bad"] else "good" if row["is_good"] else "neutral"
    if row["is_complaint"]:
        return "complaint"
    return "hard" if row["is_hard"] else "other"


def _event(ask: Ask, row: Row) -> Event:
    micros = (row["time"] - datetime(1970, 1, 1)) // timedelta(microseconds=1)  # noqa: DTZ001 - UTC without a zone
    return Event(row, said(ask, row), _flags(ask, row), f"{micros}:{row['partition']}:{row['offset']}")


def said(ask: Ask, row: Row) -> str:
    """A touchpoint in words: Contact about “invoice”, waited 3 min, not resolved."""
    words = ask.language
    head = ask.label("kind", row["kind"])
    if row["score"] is not None:
        head += f" {_number(ask, row['score'])}"
    elif row["rating"] is not None:
        head += f" {words.number(row['rating'], 1)}"
    if row["action"]:
        head += f": {ask.label('action', row['action'])}"
    return ", ".join([head, *_named(ask, row), *_course(ask, row)])


def _named(ask: Ask, row: Row) -> list[str]:
    """What it was about."""
    named = {
        "topic": N_("about “%(x)s”"),
        "reason": N_("reason “%(x)s”"),
        "case_id": N_("case %(x)s"),
        "campaign": N_("campaign “%(x)s”"),
        "product": N_("product %(x)s"),
        "arm": N_("group “%(x)s”"),
    }
    parts = [str(row["touchpoint"]).replace("_", " ")] if row["touchpoint"] else []
    parts += [
        ask.language.gettext(text) % {"x": ask.label("arm", row[name]) if name == "arm" else row[name]}
        for name, text in named.items()
        if row[name]
    ]
    if row["amount"] is not None:
        parts.append(f"{ask.language.number(row['amount'], 2)} {row['currency'] or ''}".strip())
    return parts


def _course(ask: Ask, row: Row) -> list[str]:
    """How it went."""
    words, parts = ask.language, []
    if row["wait_s"]:
        parts.append(words.gettext("waited %(x)s") % {"x": words.duration(row["wait_s"])})
    if row["transfers"]:
        parts.append(words.ngettext("{n} transfer", "{n} transfers", int(row["transfers"])))
    if row["late_days"] is not None and row["late_days"] > 0:
        parts.append(words.ngettext("{n} day late", "{n} days late", round(row["late_days"])))
    if row["abandoned"]:
        parts.append(words.gettext("given up"))
    if row["resolved"] is not None:
        parts.append(words.gettext("resolved") if row["resolved"] else words.gettext("not resolved"))
    return parts


def _flags(ask: Ask, row: Row) -> str:
    flags = {"repeat_contact": N_("contact again"), "channel_switch": N_("other channel than before"), "rage_click": N_("rage click"),
             "late": N_("came late")}  # fmt: skip
    return ", ".join(ask.language.gettext(text) for name, text in flags.items() if row[name])


def _number(ask: Ask, value: float) -> str:
    return ask.language.number(value, 0 if value == int(value) else 1)


def now(ask: Ask) -> datetime:
    """Right after everything that the read model has."""
    return (ask.last or datetime(1971, 1, 1)) + timedelta(milliseconds=1)  # noqa: DTZ001


def _place(after: str) -> tuple[int | None, int | None, int | None]:
    """Where a timeline goes on."""
    if not after:
        return None, None, None
    try:
        micros, partition, offset = (int(part) for part in after.split(":"))
    except ValueError as error:
        raise InputError(f"after={after!r}: is no place in this timeline; begin at its start") from error
    if max(abs(micros), abs(offset)) >= 2**62 or abs(partition) >= 2**31:
        raise InputError(f"after={after!r}: is no place in this timeline; begin at its start")
    return micros, partition, offset
