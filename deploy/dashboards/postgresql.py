"""The dashboard of the tables that `cxstream sink` writes: customers now, where effort comes from, signals and alerts."""

from __future__ import annotations

from board import Board, Panel, Query, Row

_SHARES = "percentunit"


def _query(text: str) -> Query:
    return Query(" ".join(text.split()))


NOW = Row(
    "Customers now",
    (
        Panel(
            "Customers",
            "Customers with a score card.",
            (_query("SELECT count(*) AS customers FROM $schema.cards"),),
            kind="number",
            width=4,
        ),
        Panel(
            "At risk",
            "Customers whose level is high or critical.",
            (_query("SELECT count(*) AS customers FROM $schema.cards WHERE level IN ('high', 'critical')"),),
            kind="number",
            width=4,
        ),
        Panel(
            "Scores",
            "Averages over the customers with a touchpoint in the time range: effort and satisfaction, 0 to 100.",
            (
                _query(
                    """SELECT avg(effort) AS effort, avg(satisfaction) AS satisfaction FROM $schema.cards
                    WHERE $__timeFilter(last_touch)"""
                ),
            ),
            kind="number",
            decimals=1,
            width=6,
        ),
        Panel(
            "Whom to call",
            "Customers at risk with a touchpoint in the time range, the highest churn risk first, at most 100.",
            (
                _query(
                    """SELECT customer, level, probability, effort, satisfaction, last_touch FROM $schema.cards
                    WHERE level IN ('high', 'critical') AND $__timeFilter(last_touch)
                    ORDER BY probability DESC, customer LIMIT 100"""
                ),
            ),
            kind="table",
            width=10,
        ),
    ),
)

WHERE = Row(
    "Where it comes from",
    (
        Panel(
            "Effort by channel",
            "Effort points that touchpoints added, by day in UTC and channel.",
            (
                _query(
                    """SELECT day::timestamp AS time, channel AS metric, sum(effort) AS value FROM $schema.days
                    WHERE $__timeFilter(day) GROUP BY 1, 2 ORDER BY 1, 2"""
                ),
            ),
            stacked=True,
            width=12,
        ),
        Panel(
            "Touchpoints with most effort",
            "Effort points added in the time range, touchpoints, and those that failed.",
            (
                _query(
                    """SELECT channel, coalesce(touchpoint, kind) AS touchpoint, sum(effort) AS effort,
                    sum(touchpoints)::float8 AS touchpoints, sum(failed)::float8 AS failed FROM $schema.days
                    WHERE $__timeFilter(day) GROUP BY 1, 2 ORDER BY effort DESC, 1, 2 LIMIT 50"""
                ),
            ),
            kind="table",
            width=12,
        ),
        Panel(
            "NPS by channel",
            "Promoters less detractors in percent, by week and channel; weeks with fewer than 30 answers are left out.",
            (
                _query(
                    """SELECT date_trunc('week', day)::timestamp AS time, channel AS metric,
                    100 * (sum(coalesce(promoters, 0)) - sum(coalesce(detractors, 0)))::float8 / sum(answers)::float8 AS value
                    FROM $schema.nps WHERE $__timeFilter(day) GROUP BY 1, 2 HAVING sum(answers) >= 30 ORDER BY 1, 2"""
                ),
            ),
            low=-100,
            high=100,
            width=8,
        ),
        Panel(
            "Waiting",
            "Median and 90th percentile of waiting times by channel in the time range; each at most 1 % wrong.",
            (
                _query(
                    """SELECT channel, min(seconds) FILTER (WHERE up_to >= 0.5 * total) AS median_s,
                    min(seconds) FILTER (WHERE up_to >= 0.9 * total) AS p90_s, max(total)::float8 AS waited
                    FROM (SELECT channel, seconds, sum(records) OVER (PARTITION BY channel ORDER BY seconds) AS up_to,
                        sum(records) OVER (PARTITION BY channel) AS total
                        FROM $schema.times WHERE measure = 'wait' AND $__timeFilter(day)) AS counted
                    GROUP BY channel ORDER BY p90_s DESC, channel"""
                ),
            ),
            kind="table",
            width=8,
        ),
        Panel(
            "Contacts solved",
            "Share of the contacts that say whether they were solved and were, by day and channel.",
            (
                _query(
                    """SELECT day::timestamp AS time, channel AS metric,
                    sum(resolved)::float8 / sum(resolved + unresolved)::float8 AS value FROM $schema.days
                    WHERE $__timeFilter(day) GROUP BY 1, 2 HAVING sum(resolved + unresolved) > 0 ORDER BY 1, 2"""
                ),
            ),
            unit=_SHARES,
            low=0,
            high=1,
            width=8,
        ),
    ),
)

SIGNALS = Row(
    "Signals",
    (
        Panel(
            "Churn-risk signals",
            "Signals by day in UTC and change.",
            (
                _query(
                    """SELECT date_trunc('day', time AT TIME ZONE 'UTC') AS time, change AS metric, count(*)::float8 AS value
                    FROM $schema.signals WHERE $__timeFilter(time) GROUP BY 1, 2 ORDER BY 1, 2"""
                ),
            ),
            stacked=True,
            width=8,
        ),
        Panel(
            "Leading reasons",
            "Raised signals in the time range by their leading reason.",
            (
                _query(
                    """SELECT coalesce(leading_reason, 'none') AS reason, count(*)::float8 AS signals
                    FROM $schema.signals WHERE change = 'raised' AND $__timeFilter(time)
                    GROUP BY 1 ORDER BY 2 DESC, 1"""
                ),
            ),
            kind="table",
            width=8,
        ),
        Panel(
            "Friction by touchpoint",
            "Friction signals in the time range by channel and touchpoint, and their mean acute friction in effort points.",
            (
                _query(
                    """SELECT channel, touchpoint, count(*)::float8 AS signals, avg(effort_points) AS effort_points
                    FROM $schema.friction WHERE $__timeFilter(time) GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT 50"""
                ),
            ),
            kind="table",
            width=8,
        ),
        Panel(
            "Alerts on places",
            "Places that left their own range in the time range, the latest first, at most 100.",
            (
                _query(
                    """SELECT time, place, measure, change, since, visits, bad, share, usual, customers
                    FROM $schema.place_alerts WHERE $__timeFilter(time) ORDER BY time DESC, id LIMIT 100"""
                ),
            ),
            kind="table",
            width=24,
        ),
    ),
)

BOARD = Board(
    uid="cxstream-postgresql",
    file="postgresql.json",
    title="cxstream / Customers and touchpoints",
    about="For CX leads and service teams: customers at risk by name, where effort comes from, signals, alerts on places. It "
    "asks the PostgreSQL that `cxstream sink` writes.",
    rows=(NOW, WHERE, SIGNALS),
    since="now-30d",
    refresh="5m",
    source="postgresql",
)
