"""Customer experience: how customers fare, how sure that is, and why they are at risk."""

from __future__ import annotations

import surveys
from board import GREEN, MARGIN, RED, YELLOW, Board, Panel, Query, Row, Step
from promql import increase, quantile, rate, standing

CHOSEN = '{channel=~"$channel"}'
RAISED = 'cxstream_signals_total{kind="raised"}'
REASONS = "cxstream_raise_reasons_total"
OVER_WINDOW = "over the window chosen above"
SCORES = (
    ("NPS", surveys.nps, "short", -100.0, 100.0, ((-100.0, RED), (0.0, YELLOW), (30.0, GREEN))),
    ("CSAT", surveys.csat, "percent", 0.0, 100.0, ((0.0, RED), (60.0, YELLOW), (80.0, GREEN))),
    ("CES", surveys.ces, "short", 1.0, 7.0, ((1.0, RED), (4.0, YELLOW), (5.0, GREEN))),
)
MEANING = {
    "NPS": "Net promoter score: promoters (9, 10) less detractors (0 to 6), in percent of all answers",
    "CSAT": "Share of the answers that are 4 or 5 of 5",
    "CES": "Mean answer to how easy it was, 1 to 7; 7 is the least effort",
}


def _number(
    title: str, shows: str, *queries: Query, unit: str = "short", steps: tuple[Step, ...], **more: int
) -> Panel:
    return Panel(
        title,
        shows,
        queries,
        unit,
        "number",
        width=4,
        height=5,
        steps=steps,
        decimals=more.get("decimals", 0),
    )


def _survey(name: str) -> Panel:
    _, score, unit, _, _, steps = next(each for each in SCORES if each[0] == name)
    found = score()
    return _number(
        name,
        f"{MEANING[name]}, {OVER_WINDOW}, and the margin to either side (95 %), from {surveys.FEW} answers on.",
        Query(found.value, name),
        Query(found.margin, MARGIN),
        unit=unit,
        steps=steps,
        decimals=1,
    )


GLANCE = Row(
    "At a glance",
    (
        *map(_survey, MEANING),
        _number(
            "Customers at risk",
            "Customers whose churn risk is high or critical now.",
            Query('sum(cxstream_customers{level="high"})', "high"),
            Query('sum(cxstream_customers{level="critical"})', "critical"),
            steps=((0, GREEN),),
        ),
        _number(
            "Median effort",
            "Half of the customers have more effort than this, 0 to 100; 100 is the most.",
            Query(standing(0.5, "cxstream_customer_effort"), "median"),
            steps=((0, GREEN), (30, YELLOW), (60, RED)),
        ),
        _number(
            "Median satisfaction",
            "Half of the customers are less satisfied than this, 0 to 100.",
            Query(standing(0.5, "cxstream_customer_satisfaction"), "median"),
            steps=((0, RED), (40, YELLOW), (60, GREEN)),
        ),
    ),
)


def _band(name: str) -> Panel:
    _, score, unit, low, high, _ = next(each for each in SCORES if each[0] == name)
    found = score()
    return Panel(
        f"{name} with its margin",
        f"{MEANING[name]}, {OVER_WINDOW} and the chosen channels. The band holds the true value in 95 of 100 cases; "
        f"there is none under {surveys.FEW} answers.",
        (Query(found.lower, "lower"), Query(found.upper, "upper"), Query(found.value, name)),
        unit=unit,
        kind="band",
        low=low,
        high=high,
        alerts=("CxstreamNpsFalls",) if name == "NPS" else (),
    )


def _by_channel(name: str) -> Panel:
    _, score, unit, low, high, _ = next(each for each in SCORES if each[0] == name)
    return Panel(
        f"{name}, by channel",
        f"{MEANING[name]}, {OVER_WINDOW}. The table has the margin of each.",
        (Query(score("channel").value, "{{channel}}"),),
        unit=unit,
        low=low,
        high=high,
        alerts=("CxstreamNpsFalls",) if name == "NPS" else (),
    )


def _columns() -> tuple[Query, ...]:
    columns = []
    for name, score, unit, *_ in SCORES:
        found = score("channel")
        columns += [
            Query(found.value, name, unit),
            Query(found.margin, f"{name} ±", unit),
            Query(f"{found.answers} > 0", f"{name} answers", "short"),
        ]
    return tuple(columns)


ANSWERS = Row(
    "Survey answers",
    (
        *map(_band, MEANING),
        Panel(
            "Scores by channel",
            f"Each score {OVER_WINDOW}, its margin (95 %) and its answers. Without a margin there are under "
            f"{surveys.FEW} answers: too few to compare.",
            _columns(),
            kind="table",
            width=24,
            height=8,
            decimals=1,
        ),
        *map(_by_channel, MEANING),
    ),
)


def _spread(name: str, title: str, shows: str, unit: str = "short") -> Panel:
    series = f"cxstream_customer_{name}"
    return Panel(title, shows, (Query(f"sum by (le) ({series}_bucket)", "{{le}}"),), unit, "heat")


def _quantiles(name: str, title: str, shows: str, unit: str, high: float) -> Panel:
    queries = tuple(
        Query(standing(q, f"cxstream_customer_{name}"), f"{100 * q:g} %") for q in (0.1, 0.5, 0.9)
    )
    return Panel(title, shows, queries, unit, low=0, high=high)


CUSTOMERS = Row(
    "Scores of customers",
    (
        Panel(
            "Customers by risk level",
            "As of the last evaluation of each customer. set_aside: suspended, since they have churned.",
            (Query("sum by (level) (cxstream_customers)", "{{level}}"),),
            stacked=True,
            low=0,
            width=12,
        ),
        Panel(
            "Customers with a raised risk",
            "The same without customers at level none.",
            (Query('sum by (level) (cxstream_customers{level=~"elevated|high|critical"})', "{{level}}"),),
            low=0,
            width=12,
            alerts=("CxstreamCriticalSignalsHigh",),
        ),
        _spread(
            "effort",
            "Effort of all customers",
            "Distribution of customers, 0 to 100; 100 is the most effort.",
        ),
        _spread("satisfaction", "Satisfaction of all customers", "Distribution of customers, 0 to 100."),
        _spread(
            "churn_risk_ratio", "Churn risk of all customers", "Distribution of customers.", "percentunit"
        ),
        _quantiles(
            "effort",
            "Effort",
            "10 %, 50 % and 90 % of the customers have at most this value.",
            "short",
            100,
        ),
        _quantiles(
            "satisfaction",
            "Satisfaction",
            "10 %, 50 % and 90 % of the customers have at most this value.",
            "short",
            100,
        ),
        _quantiles(
            "churn_risk_ratio",
            "Churn risk",
            "10 %, 50 % and 90 % of the customers have at most this value.",
            "percentunit",
            1,
        ),
    ),
)

SIGNALS = Row(
    "Signals and their reasons",
    (
        Panel(
            "Signals an hour, by kind",
            "Friction is acute; raised, worsened, eased and cleared are changes of the churn risk. Erased: customers with a level who "
            "requested erasure.",
            (Query(f"3600 * {rate('cxstream_signals_total', 'kind')}", "{{kind}}"),),
            low=0,
        ),
        Panel(
            "Raises an hour, by new level",
            "Customers whose risk rose, by their new level. Suppressed: raises that wait for the end of the "
            "cooldown.",
            (
                Query(f"3600 * {rate(RAISED, 'level')}", "{{level}}"),
                Query(f"3600 * {rate('cxstream_held_back_total')}", "suppressed"),
            ),
            low=0,
            alerts=("CxstreamCriticalSignalsHigh",),
        ),
        Panel(
            "Leading reasons of raises",
            f"Leading reasons of the customers whose risk was raised {OVER_WINDOW}.",
            (Query(f"sort_desc({increase(REASONS, 'reason')})", "{{reason}}"),),
            kind="bars",
            low=0,
            decimals=0,
        ),
        Panel(
            "Leading reasons of raises, over time",
            "Share of each leading reason in the raises.",
            (
                Query(
                    f"{increase(REASONS, 'reason')} / on() group_left() ({increase(REASONS)} > 0)",
                    "{{reason}}",
                ),
            ),
            unit="percentunit",
            stacked=True,
            low=0,
            high=1,
            width=24,
        ),
    ),
)

SERVICE = Row(
    "Touchpoints and contacts",
    (
        Panel(
            "Touchpoints, by kind",
            f"The twelve most frequent kinds {OVER_WINDOW}.",
            (Query(f"topk(12, {increase('cxstream_touchpoints_total', 'kind')})", "{{kind}}"),),
            kind="bars",
            low=0,
            decimals=0,
        ),
        Panel(
            "Contacts an hour, by result",
            "Results of contacts through the chosen channels.",
            (Query(f"3600 * {rate('cxstream_contacts_total' + CHOSEN, 'result')}", "{{result}}"),),
            stacked=True,
            low=0,
        ),
        Panel(
            "Contacts not resolved, by channel",
            f"Share of the contacts with a known result that were abandoned or not resolved, {OVER_WINDOW}.",
            (
                Query(
                    increase(
                        'cxstream_contacts_total{channel=~"$channel", result=~"unresolved|abandoned"}',
                        "channel",
                    )
                    + " / ("
                    + increase('cxstream_contacts_total{channel=~"$channel", result!="unknown"}', "channel")
                    + " > 0)",
                    "{{channel}}",
                ),
            ),
            unit="percentunit",
            low=0,
            high=1,
        ),
        Panel(
            "Waiting, median and 90 %",
            f"Waiting times in contacts and queues, by channel, {OVER_WINDOW}.",
            tuple(
                Query(
                    quantile(q, "cxstream_wait_seconds", CHOSEN, "channel", "$window"),
                    f"{{{{channel}}}} {100 * q:g} %",
                )
                for q in (0.5, 0.9)
            ),
            unit="s",
            low=0,
            width=12,
        ),
        Panel(
            "Waits above 2 minutes, by channel",
            f"Share of the waits that were longer than the target, {OVER_WINDOW}.",
            (
                Query(
                    "1 - "
                    + increase('cxstream_wait_seconds_bucket{channel=~"$channel", le="120.0"}', "channel")
                    + f" / ({increase('cxstream_wait_seconds_count' + CHOSEN, 'channel')} > 0)",
                    "{{channel}}",
                ),
            ),
            unit="percentunit",
            low=0,
            high=1,
            width=12,
            steps=((0, GREEN), (0.2, RED)),
            alerts=("CxstreamWaitsAboveTarget",),
        ),
    ),
)

BOARD = Board(
    uid="cxstream-customer-experience",
    file="customer-experience.json",
    title="cxstream / Customer experience",
    about="For CX leads: how customers are doing, how certain that is, and why they are at risk.",
    rows=(GLANCE, ANSWERS, CUSTOMERS, SIGNALS, SERVICE),
    since="now-7d",
    refresh="5m",
    channels=True,
    windows=("7d", "1h", "6h", "1d", "28d"),
)
