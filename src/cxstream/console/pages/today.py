"""Today: how customers are, now and against the period before; who needs a call; which places hurt; can the data be trusted."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson
from starlette.exceptions import HTTPException

from cxstream.console import alerts, arms, charts, drawing, figures, leaving, refused, risky, work
from cxstream.console.change import direction
from cxstream.console.labels import place
from cxstream.console.language import N_
from cxstream.console.page import Ask, Page
from cxstream.console.places import drawn, hardest
from cxstream.console.queries import own
from cxstream.console.tables import Table
from cxstream.warehouse.views.statistics import Z

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cxstream.console.reader import Row

_CALLS = 8
_ALERTS = 3
_PLACES = 7
_MOST_CALLS = 100_000
_DAYS = 7
_NPS = figures.Measure("nps", N_("NPS"), decimals=0)
_RISKY = "('high', 'critical')"
_AT_RISK = f"""
WITH spells AS (
    SELECT customer_id, level, time, lead(time) OVER (PARTITION BY customer_id ORDER BY time, "partition", "offset", n) AS ended
    FROM signals
)
, moments AS (SELECT unnest($moments::TIMESTAMP[]) AS moment)
, risky AS (
    SELECT moment, customer_id FROM moments
    JOIN spells ON time < moment AND (ended IS NULL OR ended >= moment) AND level IN {_RISKY}
)
, away AS (
    SELECT moment, customer_id FROM moments
    JOIN {leaving.AWAY} ON is_away AND since < moment AND (until IS NULL OR until >= moment)
)
SELECT moment, count(customer_id) AS customers
FROM moments LEFT JOIN (SELECT * FROM risky ANTI JOIN away USING (moment, customer_id)) USING (moment)
GROUP BY moment ORDER BY moment"""
_THOSE = f"""
WITH those AS (
    SELECT customer_id, customer, announced AS level FROM cards WHERE announced IN {_RISKY} AND {leaving.STAYS}
), {arms.HELD}"""
_CALL = f"""
{_THOSE}, {risky.DONE}, told AS (
    SELECT
        customer_id,
        arg_max(leading_reason, time) FILTER (change IN ('raised', 'worsened')) AS leading_reason,
        arg_max(reasons, time) FILTER (change IN ('raised', 'worsened')) AS reasons,
        max(time) FILTER (change IN ('raised', 'worsened')) AS since
    FROM signals GROUP BY customer_id
)
, called AS (
    SELECT cards.customer_id, cards.customer, cards.announced, cards.announced AS level, cards.probability, cards.value_at_risk,
        cards.clv, cards.p_alive, cards.spent, leading_reason, reasons::VARCHAR AS reasons, since
    FROM cards LEFT JOIN told USING (customer_id)
    WHERE cards.customer_id IN (SELECT customer_id FROM those) AND cards.customer_id NOT IN (SELECT customer_id FROM held)
        AND cards.{risky.AWAKE}
), {risky.ACTED.format(those="called")}
SELECT * EXCLUDE (customer_id, announced) FROM acted
ORDER BY {risky.IS_DONE}, {{order}} DESC, probability DESC, customer LIMIT $limit"""
_HELD = f"{_THOSE} SELECT count(*) AS customers FROM held"
_KNOWN = "SELECT count(*) AS customers FROM cards"


async def _show(ask: Ask) -> Mapping[str, Any]:
    how, whom = await asyncio.gather(
        asyncio.gather(
            ask.view(own("people")),
            ask.view(own("people"), scope=_two_periods(ask), grain="day"),
            hardest(ask),
            ask.view("quality", by=("source",)),
            alerts.found(ask),
        ),
        asyncio.gather(
            _first(ask, _CALLS),
            ask.reader.sql(_KNOWN),
            _held(ask),
            _at_risk(ask),
            _nps(ask),
            risky.count(ask, risky.Wanted(state="snoozed", at=work.now(), sent=ask.sent)),
        ),
    )
    people, days, places, quality, told = how
    (order, calls), known, held, risk, nps, snoozed = whom
    now = people[0] if people else None
    delivered, outside = _quality(ask, quality), await refused.outside(ask)
    return {
        "now": now,
        "effort_line": _line(ask, days, "effort", "e"),
        "satisfaction_line": _line(ask, days, "satisfaction", "s"),
        "risk": {**risk, "known": known[0]["customers"]},
        "nps": nps,
        "calls": [_call(ask, row) for row in calls] if ask.sees_customers else None,
        "snoozed": snoozed,
        "order": ask.language.gettext(N_("nothing done since the signal first, then %(order)s"))
        % {"order": ask.language.gettext(risky.ORDERS[order])},
        "held_out": held[0]["customers"],
        "is_valued": order == "money",
        "is_past": ask.last is not None and ask.scope.until <= ask.last,
        "table": await drawn(ask, places[:_PLACES]),
        "all_places": len(places),
        "changed_names": _changed(ask, places),
        **_alerts(ask, told),
        "quality": delivered,
        "sources": quality,
        "end": _end(ask),
        "outside": refused.said(ask, outside),
        "is_unknown": refused.are_unknown(outside, delivered["rejected"]),
        "mood": direction(now["effort_change"], now["effort_change_margin"]) if now else 0,
    }


def _end(ask: Ask) -> datetime:
    """The end of the period, or of the data where they end before."""
    return min(ask.scope.until, ask.last) if ask.last else ask.scope.until


def _alerts(ask: Ask, told: Sequence[Row]) -> dict[str, Any]:
    """The places that are out of their range, those with most customers first."""
    still = sorted(alerts.are_open(told), key=lambda row: (-(row["customers"] or 0), row["id"]))
    shown = still[:_ALERTS]
    axis = charts.axis_of([alerts.estimate_of(row) for row in shown], (0,), 300)
    return {
        "alerts": [
            {
                "name": alerts.place_of(ask, row),
                "measure": alerts.measure_of(ask, row),
                "link": ask.link("/alerts", alert=row["id"]) + "#alert",
                "share": row["share"],
                "usual": row["usual"],
                "customers": row["customers"] or 0,
                "customers_link": alerts.customers_of(ask, row),
                "lasted": alerts.lasted(ask, row),
                "drawn": alerts.drawn(axis, row),
            }
            for row in shown
        ],
        "open_alerts": len(still),
        "over_alerts": len(told) - len(still),
    }


def _changed(ask: Ask, places: Sequence[Row]) -> list[str]:
    """The places whose effort changed the effort of all most, in either direction."""
    sure = [row for row in places if direction(row["effort_change"], row["effort_change_margin"])]
    most = sorted(sure, key=lambda row: -abs(row["effort_change"]) * row["touchpoints"])
    return [place(ask.language, row["channel"], row["touchpoint"]) for row in most[:2]]


def _two_periods(ask: Ask) -> Any:
    """Whole days of this period and the one before."""
    trend, before = ask.scope.trend, ask.scope.before
    since = datetime.combine(before.since.date(), datetime.min.time())
    return replace(ask.scope, period="", since=since, until=trend.until)


def _line(ask: Ask, days: Sequence[Row], measure: str, tone: str) -> Any:
    """A measure day by day, with the period before dashed."""
    found = {
        row["period"].date(): (row[measure], row[f"{measure}_margin"]) for row in days if row["customers"] > 1
    }
    dates = _dates(ask)
    length = timedelta(days=len(dates))
    now = [found.get(day, (None, None)) for day in dates]
    before = [
        found.get(day - length, (None, None)) if ask.scope.has_before else (None, None) for day in dates
    ]
    return _small(ask, now, before, dates, tone)


def _dates(ask: Ask) -> list[Any]:
    until = ask.scope.trend.until
    count = max(2, round(ask.scope.days))
    return [(until - timedelta(days=count - n)).date() for n in range(count)]


def _small(ask: Ask, now: Any, before: Any, dates: Sequence[Any], tone: str) -> Any:
    words = ask.language
    texts = [words.weekday(day) if len(dates) <= _DAYS else words.axis_day(day) for day in dates]
    return drawing.compared(now, before, texts, (words.gettext("now"), words.gettext("before")), tone)


async def _at_risk(ask: Ask) -> Row:
    """Customers at a high or critical level at the end of each day, by the signals."""
    scope = ask.scope
    dates = _dates(ask)
    ends = [min(scope.until, datetime.combine(day, datetime.min.time()) + timedelta(days=1)) for day in dates]
    length = scope.until - scope.since
    moments = [*ends, *(end - length for end in ends), scope.until, scope.since]
    rows = await ask.reader.sql(_AT_RISK, {"moments": sorted(set(moments))})
    found = {row["moment"]: row["customers"] for row in rows}
    now = [(found[end], None) for end in ends]
    before = [(found[end - length] if scope.has_before else None, None) for end in ends]
    return {
        "now": found[scope.until],
        "change": found[scope.until] - found[scope.since] if scope.has_before else None,
        "line": _small(ask, now, before, dates, "k"),
    }


async def _nps(ask: Ask) -> Row | None:
    """NPS of the period with its margin, and the change with its own."""
    rows, earlier = await asyncio.gather(ask.view("voice"), ask.view("voice", scope=ask.scope.before))
    now = rows[0] if rows and rows[0]["nps"] is not None else None
    if now is None:
        return None
    before = earlier[0] if ask.scope.has_before and earlier and earlier[0]["nps"] is not None else None
    change = margin = None
    if before is not None:
        change = now["nps"] - before["nps"]
        margin = Z * (now["nps_se"] ** 2 + before["nps_se"] ** 2) ** 0.5
    return {
        "value": now["nps"],
        "margin": figures.margin_of(ask.language, _NPS, _NPS.of(now)),
        "answers": now["nps_answers"],
        "change": change,
        "change_margin": margin,
    }


async def _first(ask: Ask, limit: int) -> tuple[str, list[Row]]:
    """Whom to call first: those nobody has acted on since their signal, then the others; and the order of each, that of the queue."""
    order, *_ = await risky.orders(ask)
    values = {"limit": limit, "sent": ask.sent, "at": work.now(), **await arms.values(ask)}
    return order, await ask.reader.sql(_CALL.replace("{order}", risky.KEYS[order]), values)


async def _held(ask: Ask) -> list[Row]:
    return await ask.reader.sql(_HELD, await arms.values(ask))


def _call(ask: Ask, row: Row) -> Row:
    reasons = orjson.loads(row["reasons"] or "[]")
    leading = next((each for each in reasons if each.get("feature") == row["leading_reason"]), None)
    return {
        **row,
        "reason": ask.label("reason", row["leading_reason"]) if row["leading_reason"] else "",
        "evidence": (leading or {}).get("evidence") or "",
        **risky.acted(ask, row),
    }


def _quality(ask: Ask, sources: Sequence[Row]) -> Row:
    """All sources in one line, and those that fell silent."""
    accepted = sum(row["touchpoints"] for row in sources)
    rejected = sum(row["rejected"] for row in sources)
    late = sum(row["late"] for row in sources)
    until = _end(ask)
    named = [row for row in sources if row["source"] is not None and row["touchpoints"]]
    silent = [
        row
        for row in named
        if row["last_time"]
        and row["longest_gap_s"]
        and (until - row["last_time"]).total_seconds() > max(2 * row["longest_gap_s"], 3600)
    ]
    return {
        "accepted": accepted,
        "late": late / accepted if accepted else None,
        "rejected": rejected,
        "rejected_share": rejected / (accepted + rejected) if accepted + rejected else None,
        "sources": len(named),
        "silent": silent,
    }


async def _calls_table(ask: Ask) -> Table:
    if not ask.sees_customers:
        raise HTTPException(403, "agent")
    _, rows = await _first(ask, _MOST_CALLS)
    columns = (
        "customer",
        "level",
        "probability",
        "value_at_risk",
        "clv",
        "p_alive",
        "spent",
        "reason",
        "evidence",
        "since",
        "last_action",
        "last_action_time",
    )
    return Table("call-first", [_call(ask, row) for row in rows], columns)


async def _places_table(ask: Ask) -> Table:
    return Table("places", await ask.view(own("places"), by=("channel", "touchpoint")))


PAGE = Page(
    name="today",
    path="/today",
    title=N_("Today"),
    show=_show,
    tables={"places": _places_table, "calls": _calls_table},
)
