"""Who was in an experiment, in which arm, and what happened to them, from a warehouse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from cxstream.trials.statistics import Trend, in_differences

if TYPE_CHECKING:
    import duckdb
    from numpy.typing import NDArray

    from cxstream.trials.statistics import Bools, Floats

# What is compared; and what was known of the same customer before.
OUTCOMES = ("effort", "satisfaction", "nps", "churn", "spend")
_BEFORE = ("effort_before", "satisfaction_before", "satisfaction_before", "risk", "spend_before")

# The first time that counts: who was signalled, or acted on, again stays in the first arm. What comes later is an outcome.
_ENTRIES = """
CREATE OR REPLACE TEMP TABLE trial_entries AS
WITH told AS (
    SELECT 'experiment' AS what, experiment AS name, customer_id, arm, time, probability AS risk
    FROM signals WHERE arm IS NOT NULL AND change IN ('raised', 'worsened')
    UNION ALL
    SELECT 'action', action, customer_id, arm, time, probability_after
    FROM touchpoints WHERE kind = 'action_taken' AND arm IS NOT NULL AND action IS NOT NULL
)
SELECT
    what, name, customer_id, min(time) AS start,
    arg_min(arm, (time, arm)) AS arm, count(DISTINCT arm) > 1 AS crossed, arg_min(risk, (time, arm, risk)) AS risk
FROM told GROUP BY what, name, customer_id
"""

_FOLLOWED = """
WITH latest AS (SELECT max(time) AS time FROM touchpoints),
followed AS (
    SELECT
        e.*, e.start + to_days($days::INTEGER) AS finish, e.start - to_days($days::INTEGER) AS earlier,
        finish <= latest.time AS past
    FROM trial_entries e, latest
    WHERE ($since IS NULL OR e.start >= $since) AND ($until IS NULL OR e.start < $until)
)
SELECT
    f.what, f.name, f.customer_id, any_value(f.arm) AS arm, any_value(f.crossed) AS crossed, any_value(f.past) AS past,
    any_value(f.start) AS start, any_value(f.risk) AS risk,
    arg_max(t.effort_after, (t.time, t."offset")) FILTER (t.kind <> 'action_taken') AS effort,
    arg_max(t.satisfaction_after, (t.time, t."offset")) FILTER (t.kind <> 'action_taken') AS satisfaction,
    arg_max(
        CASE WHEN t.score >= 9 THEN 100 WHEN t.score <= 6 THEN -100 ELSE 0 END, (t.time, t."offset")
    ) FILTER (t.kind = 'survey_nps' AND t.time > f.start) AS nps,
    coalesce(bool_or(t.kind = 'churned' AND t.time > f.start), false) AS churn,
    coalesce(sum(CASE t.kind WHEN 'purchase' THEN t.amount_base WHEN 'return' THEN -t.amount_base END)
        FILTER (t.time > f.start), 0) AS spend,
    arg_max(t.effort_after, (t.time, t."offset")) FILTER (t.time <= f.start) AS effort_before,
    arg_max(t.satisfaction_after, (t.time, t."offset")) FILTER (t.time <= f.start) AS satisfaction_before,
    coalesce(sum(CASE t.kind WHEN 'purchase' THEN t.amount_base WHEN 'return' THEN -t.amount_base END)
        FILTER (t.time <= f.start AND t.time > f.earlier), 0) AS spend_before,
    coalesce(bool_or(t.kind = 'action_taken' AND t.arm IS DISTINCT FROM 'holdout' AND t.time >= f.start), false) AS acted_on
FROM followed f JOIN touchpoints t ON t.customer_id = f.customer_id AND t.time <= f.finish
GROUP BY f.what, f.name, f.customer_id
ORDER BY f.what, f.name, start, f.customer_id
"""


@dataclass(frozen=True, slots=True)
class Subjects:
    """The customers of one experiment or action, in the order in which they entered.

    Attributes:
        what: experiment: by the arm of signals; action: by the arm that the CRM wrote into `action_taken`.
        name: of the experiment, or the action.
        treated: bool[n].
        risk: float64[n], churn risk at the start, 0..1.
        outcomes: float64[n] of each outcome; nan where there is none.
        before: float64[n] for each outcome, what was known of the customer at the start; nan where nothing was.
        acted_on: bool[n], an action was taken within the time, whatever the arm.
        waiting: customers whose time is not over; they are left out.
        crossed: customers of both arms; they count in the first.
    """

    what: str
    name: str
    treated: Bools
    risk: Floats
    outcomes: dict[str, Floats]
    before: dict[str, Floats]
    acted_on: Bools
    waiting: int
    crossed: int


def subjects(
    connection: duckdb.DuckDBPyConnection, days: int, since: object = None, until: object = None
) -> list[Subjects]:
    """All experiments and actions with arms in a warehouse.

    Args:
        connection: to the warehouse.
        days: how long each customer is followed.
        since: only customers who entered then or later; None for all.
        until: only those who entered before; None for all.
    """
    return _read(connection, _ENTRIES, days, since, until)


def _read(
    connection: duckdb.DuckDBPyConnection, entries: str, days: int, since: object, until: object
) -> list[Subjects]:
    connection.execute(entries)
    cursor = connection.execute(_FOLLOWED, {"days": days, "since": since, "until": until})
    columns = cursor.fetchnumpy()
    if not len(columns["name"]):
        return []
    keys = list(zip(columns["what"].tolist(), columns["name"].tolist(), strict=True))
    places: dict[tuple[str, str], list[int]] = {}
    for i, key in enumerate(keys):
        places.setdefault(key, []).append(i)
    # Experiments first: they are the cleaner comparison.
    ordered = sorted(places, key=lambda key: (key[0] != "experiment", key[1]))
    return [_subjects(*key, columns, np.array(places[key])) for key in ordered]


def _subjects(
    what: str, name: str, columns: dict[str, NDArray[np.generic]], at: NDArray[np.int64]
) -> Subjects:
    past = np.asarray(columns["past"][at], dtype=bool)
    kept = at[past]

    def numbers(column: str) -> Floats:
        return np.ma.filled(np.ma.asarray(columns[column][kept], dtype=np.float64), np.nan)

    outcomes = {each: numbers(each) for each in OUTCOMES}
    return Subjects(
        what,
        name,
        np.asarray(columns["arm"][kept] == "treated", dtype=bool),
        numbers("risk"),
        outcomes,
        {each: numbers(before) for each, before in zip(OUTCOMES, _BEFORE, strict=True)},
        np.asarray(columns["acted_on"][kept], dtype=bool),
        int((~past).sum()),
        int(np.asarray(columns["crossed"][kept], dtype=bool).sum()),
    )


_DAILY = """
WITH sums AS (
    SELECT time::DATE AS day, channel = $channel AS changed, {mean} AS mean
    FROM touchpoints
    WHERE channel IN ($channel, $control) AND {counts}
        AND time >= $at::TIMESTAMP - to_days($days::INTEGER) AND time < $at::TIMESTAMP + to_days($days::INTEGER)
        AND time::DATE <> $at::DATE
    GROUP BY ALL
)
SELECT a.day - $at::DATE, a.mean, b.mean
FROM sums a JOIN sums b USING (day) WHERE a.changed AND NOT b.changed ORDER BY a.day
"""
_MEANS = ("effort", "mood", "effort_after", "satisfaction_after", "wait_s")
# What customers who were there that day spent, less what they brought back.
_SPEND = """coalesce(sum(CASE kind WHEN 'purchase' THEN amount_base WHEN 'return' THEN -amount_base END), 0)
        / count(DISTINCT customer_id)"""
LEFT_WITHIN_DAYS = 7
"""Days after a visit in which a departure counts for `churn`."""
# Days before the change end so early that what counts for them was over by then.
_LEFT = """
WITH there AS (
    SELECT time::DATE AS day, channel = $channel AS changed, customer_id, min(time) AS first
    FROM touchpoints
    WHERE channel IN ($channel, $control) AND kind NOT IN ('churned', 'won_back')
        AND time::DATE >= $at::DATE - ($days + $within)::INTEGER AND time::DATE <= $at::DATE + $days::INTEGER
        AND (time::DATE > $at::DATE OR time::DATE < $at::DATE - $within::INTEGER)
        AND time::DATE < (SELECT max(time)::DATE - $within::INTEGER FROM touchpoints)
    GROUP BY ALL
),
gone AS (SELECT DISTINCT customer_id, time FROM touchpoints WHERE kind = 'churned'),
known AS (
    SELECT day, changed, there.customer_id, count(gone.time) > 0 AS has_left
    FROM there LEFT JOIN gone
        ON gone.customer_id = there.customer_id
        AND gone.time > first AND gone.time <= first + to_days($within::INTEGER)
    GROUP BY ALL
),
sums AS (SELECT day, changed, avg(has_left::INTEGER) AS mean FROM known GROUP BY ALL)
SELECT a.day - $at::DATE, a.mean, b.mean
FROM sums a JOIN sums b USING (day) WHERE a.changed AND NOT b.changed ORDER BY a.day
"""
MEASURES = (*_MEANS, "spend", "churn")


class Daily(Struct, frozen=True):
    """A measure by day, where a change was made and where it was not; days that have both.

    Attributes:
        measure: one of MEASURES.
        channel: where the change was made.
        other: the control.
        days: from the day of the change, which is left out; below 0: before it.
        changed: the means.
        control: likewise.
    """

    measure: str
    channel: str
    other: str
    days: list[int]
    changed: list[float]
    control: list[float]

    def compared(self) -> Trend | None:
        """What the change did."""
        return in_differences(np.array(self.changed), np.array(self.control), np.array(self.days, int) > 0)


def daily(
    connection: duckdb.DuckDBPyConnection, measure: str, at: object, channels: tuple[str, str], days: int
) -> Daily:
    """A measure by day.

    Args:
        connection: to the warehouse.
        measure: one of MEASURES.
        at: time of the change.
        channels: the changed channel and the control.
        days: before the change, and after it.
    """
    if measure not in MEASURES:
        raise ValueError(measure)
    asked = {"channel": channels[0], "control": channels[1], "at": at, "days": days}
    if measure == "churn":
        rows = connection.execute(_LEFT, asked | {"within": LEFT_WITHIN_DAYS}).fetchall()
    else:
        is_mean = measure in _MEANS
        sql = _DAILY.format(
            mean=f"avg({measure})" if is_mean else _SPEND,
            counts=f"{measure} IS NOT NULL" if is_mean else "true",
        )
        rows = connection.execute(sql, asked).fetchall()
    found = [list(column) for column in zip(*rows, strict=True)] or [[], [], []]
    return Daily(measure, *channels, *found)


_AT_RISK = """
CREATE OR REPLACE TEMP TABLE trial_entries AS
SELECT
    'plan' AS what, 'at risk' AS name, customer_id, min(time) AS start, 'treated' AS arm, false AS crossed,
    arg_min(probability, (time, n)) AS risk
FROM signals WHERE change IN ('raised', 'worsened') GROUP BY customer_id
"""


def at_risk(
    connection: duckdb.DuckDBPyConnection, days: int, since: object = None, until: object = None
) -> Subjects | None:
    """All customers who were signalled, as one arm, to plan with; None if there is none.

    Args:
        connection: to the warehouse.
        days: how long each customer is followed.
        since: only customers who entered then or later; None for all.
        until: only those who entered before; None for all.
    """
    found = _read(connection, _AT_RISK, days, since, until)
    return found[0] if found else None
