"""Customers at risk: whom to call, why, and since when they wait."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson

from cxstream.console import leaving
from cxstream.console.language import N_
from cxstream.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from cxstream.console.page import Ask
    from cxstream.console.reader import Row

LEVELS = ("critical", "high")
ORDERS = {
    "money": N_("most money at risk first"),
    "probability": N_("highest risk first"),
    "waiting": N_("longest waiting first"),
    "level": N_("highest level first"),
    "spent": N_("highest spending first"),
}
"""What the list can be sorted by, in words; the risk decides between equals, then the customer's name."""

KEYS = {
    # What a customer without a purchase brings is not known: they come last.
    "money": "coalesce(value_at_risk, -9e15)::DOUBLE",
    "probability": "probability",
    # Who was acted on since waits no more; those whose signal is not in the read model wait for no known time. They come last.
    "waiting": "coalesce(-epoch_ms(waits_since), -9e15)::DOUBLE",
    "level": "(announced = 'critical')::DOUBLE",
    "spent": "spent",
}
"""SQL of what each order sorts by, the largest first, from columns of `cards` and those that `ACTED` adds."""

_IS_VALUED = "SELECT EXISTS (FROM score_cards WHERE latest AND value_at_risk IS NOT NULL) AS is_valued"
# They are ours: they say nothing of where the customer comes.
_OURS = "('campaign_sent', 'email_sent', 'action_taken')"
DONE = """sent AS (
    SELECT unnest(
        $sent::STRUCT(customer VARCHAR, item VARCHAR, assignee VARCHAR, until TIMESTAMP, "action" VARCHAR, time TIMESTAMP)[],
        recursive := true
    )
), done AS (
    SELECT customer, item, arg_max({'assignee': assignee, 'until': until}, time) AS now
    FROM (
        SELECT customer, item, assignee, until, time FROM work_items WHERE item IN ('assignment', 'snooze')
        UNION ALL
        SELECT customer, item, assignee, until, time FROM sent
    )
    GROUP BY customer, item
)"""
"""SQL of relations: assignments and snoozes that hold, with those that were sent from here and are not back yet (`$sent`)."""

ACTED = """lately AS (
    SELECT customer_id, max({{'time': time, 'action': "action"}}) AS act
    FROM (
        SELECT customer_id, time, "action" FROM touchpoints
        WHERE kind = 'action_taken' AND arm IS DISTINCT FROM 'holdout' AND customer_id IN (SELECT customer_id FROM {those})
        UNION ALL
        SELECT customer_id, sent.time, sent."action" FROM sent JOIN {those} USING (customer) WHERE item = 'action'
    )
    GROUP BY customer_id
), acted AS (
    SELECT those.*, act.time AS last_action_time, act."action" AS last_action,
        CASE WHEN act.time IS NULL OR act.time < since THEN since END AS waits_since
    FROM {those} AS those LEFT JOIN lately USING (customer_id)
)"""
"""SQL of a relation, behind `DONE`: `{those}` customers with the last action on them, and the time of their last signal while
nothing was done since: they wait from it. An action that only says that they were held out is none."""

IS_DONE = "(since IS NOT NULL AND waits_since IS NULL)"
"""SQL of a condition over `ACTED`: something was done since the signal."""

_RISKY = "announced IN ('high', 'critical')"
_UNTOLD = f"level IN ('high', 'critical') AND NOT {_RISKY}"
_WAITING = f"""
WITH {DONE}, risky AS (SELECT * FROM cards WHERE {{those}} AND {leaving.STAYS}),
told AS (
    SELECT
        customer_id,
        arg_max(
            {{'since': time, 'then': probability, 'leading_reason': leading_reason, 'reasons': reasons, 'suggested_action': suggested_action}},
            {{'time': time, 'partition': "partition", 'offset': "offset", 'n': n}}
        ) AS signal,
        max(time) FILTER (change = 'raised') AS raised
    FROM signals
    WHERE change IN ('raised', 'worsened') AND customer_id IN (SELECT customer_id FROM risky)
    GROUP BY customer_id
)"""
_ASSIGNED = "customer IN (SELECT customer FROM done WHERE item = 'assignment' AND now.assignee = $assignee)"
_FREE = "customer NOT IN (SELECT customer FROM done WHERE item = 'assignment' AND now.assignee IS NOT NULL)"
_SNOOZED = "customer {}IN (SELECT customer FROM done WHERE item = 'snooze' AND now.until > $at)"
AWAKE = _SNOOZED.format("NOT ")
"""SQL of a condition over `DONE`: nobody lets the customer wait at `$at`."""

_STATES = {
    "": AWAKE,
    "mine": f"{_ASSIGNED.replace('$assignee', '$me')} AND {_SNOOZED.format('NOT ')}",
    "free": f"{_FREE} AND {_SNOOZED.format('NOT ')}",
    "snoozed": _SNOOZED.format(""),
    "untold": "true",
    "all": "true",
}
STATES = ("mine", "free", "snoozed", "untold")
_LAST = f"""
, places AS (
    SELECT
        customer_id,
        arg_max(segment, (time, "offset")) FILTER (segment IS NOT NULL) AS segment,
        arg_max(channel, (time, "offset")) FILTER (kind NOT IN {_OURS}) AS channel
    FROM touchpoints
    WHERE customer_id IN (SELECT customer_id FROM {{those}})
    GROUP BY customer_id
)"""
_FOUND = """
, found AS (
    SELECT risky.*, signal.since, signal."then", signal.leading_reason, signal.reasons::VARCHAR AS reasons, signal.suggested_action, raised{more}
    FROM risky LEFT JOIN told USING (customer_id){joined}
)"""
_COLUMNS = f"""customer, customer_id, CASE WHEN {_RISKY} THEN announced ELSE level END AS level, level AS level_now, probability, value_at_risk, clv, p_alive, spent, effort, effort_halfwidth, satisfaction,
    satisfaction_halfwidth, since, waits_since, last_action, last_action_time, "then", leading_reason, reasons, suggested_action, segment, channel, raised"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which customers at risk, in which order.

    Attributes:
        level, reason, segment, channel: of the customers; "" for any.
        state: one of STATES; "" for all but the snoozed, all for them, too; untold for those whom the risk puts at a high
            level, and of whom no signal has said so.
        me: who looks, for the state mine.
        at: now, for snoozes.
        sort: one of ORDERS.
        assignee: who looks after the customers; "" for anybody.
        sent: of `Desk.items`.
    """

    level: str = ""
    reason: str = ""
    segment: str = ""
    channel: str = ""
    sort: str = "probability"
    state: str = ""
    me: str = ""
    at: datetime = datetime.max  # noqa: DTZ901 - the read model has UTC without a zone
    assignee: str = ""
    sent: Sequence[Row] = ()

    def sql(self) -> tuple[str, dict[str, Any]]:
        """`found`: those customers as a table, and the values of its parameters."""
        by_place = bool(self.segment or self.channel)
        pairs = {
            "level" if self.state == "untold" else "announced": self.level,
            "leading_reason": self.reason,
            "segment": self.segment,
            "channel": self.channel,
        }
        chosen: dict[str, Any] = {name: value for name, value in pairs.items() if value}
        conditions = [f"{name} = ${name}" for name in chosen]
        conditions.append(_STATES[self.state])
        if self.state not in {"all", "untold"}:
            chosen["at"] = self.at
        chosen |= {"me": self.me} if self.state == "mine" else {}
        if self.assignee:
            conditions.append(_ASSIGNED)
            chosen["assignee"] = self.assignee
        chosen["sent"] = list(self.sent)
        found = _FOUND.format(
            more=", segment, channel" if by_place else "",
            joined=" LEFT JOIN places USING (customer_id)" if by_place else "",
        )
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        places = _LAST.format(those="risky") if by_place else ""
        those = {"untold": _UNTOLD, "all": f"({_RISKY} OR {_UNTOLD})"}.get(self.state, _RISKY)
        begun = _WAITING.replace("{those}", those)
        sql = f"{begun}{places}{found}, wanted AS (SELECT * FROM found {where})"
        return sql, chosen


async def orders(ask: Ask) -> Sequence[str]:
    """The orders of the list, the default first: by money where a purchase model values customers, else by risk."""
    (found,) = await ask.reader.sql(_IS_VALUED)
    return tuple(name for name in ORDERS if found["is_valued"] or name != "money")


async def counted(ask: Ask, wanted: Wanted) -> tuple[int, int]:
    """How many there are, and how many of them wait: nothing was done about them since their signal."""
    sql, values = wanted.sql()
    (row,) = await ask.reader.sql(
        f"""{sql}, {ACTED.format(those="wanted")}
        SELECT count(*) AS customers, count(*) FILTER (NOT {IS_DONE}) AS waiting FROM acted""",
        values,
    )
    return int(row["customers"]), int(row["waiting"])


async def count(ask: Ask, wanted: Wanted) -> int:
    """How many there are."""
    sql, values = wanted.sql()
    return int(
        (await ask.reader.sql(f"{sql} SELECT count(*) AS customers FROM wanted", values))[0]["customers"]
    )


async def waiting(ask: Ask, wanted: Wanted, limit: int, after: str = "", customer: str = "") -> list[Row]:
    """Customers at risk with their main reason.

    Args:
        ask: of the page.
        wanted: which, and in which order.
        limit: the most rows.
        after: `place` of the last row before these.
        customer: this one alone, whether they are wanted or not.
    """
    sql, values = (Wanted(sort=wanted.sort, state="all", sent=wanted.sent) if customer else wanted).sql()
    condition = "true"
    if customer:
        condition, values = "customer = $only", {**values, "only": customer}
    elif after:
        first, second, name = _place(after)
        condition = "(-key, -probability, customer) > (-$first::DOUBLE, -$second::DOUBLE, $name)"
        values = {**values, "first": first, "second": second, "name": name}
    again = _LAST.format(those="page") if not (values.keys() & {"segment", "channel"}) else ""
    joined = "LEFT JOIN places USING (customer_id)" if again else ""
    rows = await ask.reader.sql(
        f"""{sql}, {ACTED.format(those="wanted")}, keyed AS (SELECT *, {KEYS[wanted.sort]} AS key FROM acted),
        page AS (SELECT * FROM keyed WHERE {condition} ORDER BY key DESC, probability DESC, customer LIMIT {limit:d}){again}
        SELECT key, {_COLUMNS} FROM page {joined} ORDER BY key DESC, probability DESC, customer""",
        values,
    )
    return [_row(ask, row) for row in rows]


async def choices(ask: Ask, wanted: Wanted) -> Mapping[str, list[str]]:
    """What the list can be filtered by: the reasons, segments, channels and assignees that there are, and the levels."""
    sql, values = Wanted(at=wanted.at, sent=wanted.sent).sql()
    rows = await ask.reader.sql(
        f"""{sql}
        SELECT 'reason' AS name, leading_reason AS value FROM wanted WHERE leading_reason IS NOT NULL
        UNION SELECT 'segment', value FROM daily_by WHERE dimension = 'segment' GROUP BY value HAVING sum(touchpoints) > 0
        UNION SELECT 'channel', channel FROM daily GROUP BY channel HAVING sum(touchpoints) > 0
        UNION SELECT 'assignee', now.assignee FROM done WHERE item = 'assignment' AND now.assignee IS NOT NULL
        ORDER BY ALL""",
        values,
    )
    found = {
        name: [row["value"] for row in rows if row["name"] == name]
        for name in ("reason", "segment", "channel", "assignee")
    }
    return {"level": list(LEVELS), **found, "state": list(STATES)}


def _row(ask: Ask, row: Row) -> Row:
    reasons = reasons_of(ask, row["reasons"])
    leading = next((each for each in reasons if each["feature"] == row["leading_reason"]), None)
    return {
        **row,
        "place": f"{row['key']!r}:{row['probability']!r}:{row['customer']}",
        "reasons": reasons,
        "reason": ask.label("reason", row["leading_reason"]) if row["leading_reason"] else "",
        "evidence": leading["evidence"] if leading else "",
        "told_again": _told_again(ask, row),
        **acted(ask, row),
    }


def _told_again(ask: Ask, row: Row) -> date | None:
    """The day from which a signal says that the level is higher than it last said; None where none waits."""
    if row["raised"] is None or ask.last is None or (row["level"], row["level_now"]) != ("high", "critical"):
        return None
    end: datetime = row["raised"] + timedelta(days=ask.settings.scoring.cooldown_days)
    return end.date() if end > ask.last else None


def acted(ask: Ask, row: Row) -> Row:
    """How long a customer of `ACTED` waits, None where something was done since the signal, and what was done last."""
    is_done = row["since"] is not None and row["waits_since"] is None
    done = (
        ask.label("action", row["last_action"]) if row["last_action"] else ask.label("kind", "action_taken")
    )
    return {
        "told_on": told_on(ask, row["since"]),
        "waiting": ask.last - row["waits_since"] if ask.last and row["waits_since"] else None,
        "is_done": is_done,
        "done": done if row["last_action_time"] else "",
    }


def told_on(ask: Ask, signal: datetime | None) -> date | None:
    """The day of a signal, for its evidence; None where that is the last day of the data, and its words still hold."""
    if signal is None or (ask.last is not None and signal.date() == ask.last.date()):
        return None
    return signal.date()


def reasons_of(ask: Ask, text: str | None) -> list[Row]:
    """The reasons of a signal, as it has them: the strongest first, those that lower the risk last."""
    return [
        {
            "feature": each["feature"],
            "name": ask.label("reason", each["feature"]),
            "contribution": float(each["contribution"]),
            "evidence": each.get("evidence") or "",
        }
        for each in orjson.loads(text or "[]")
    ]


def _place(after: str) -> tuple[float, float, str]:
    """Where a list goes on."""
    try:
        first, second, name = after.split(":", 2)
        return float(first), float(second), name
    except ValueError as error:
        raise InputError(f"after={after!r}: is no place in this list; begin at its start") from error
