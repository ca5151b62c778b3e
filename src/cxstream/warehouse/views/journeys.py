"""Text of SQL that views of journeys share: what a journey and a step of it are, and where the next journey begins.

A journey is a customer's touchpoints, or those of a session or case, in the order of time, partition and offset. Where
the option `within` is above 0, a touchpoint after a longer time begins another one.
"""

from __future__ import annotations

from typing import NamedTuple

_COLUMNS = {"customer": None, "session": "session", "case": "case_id"}
_MS = "epoch_ms({})"
_LEFT = "(customer_id IN (SELECT customer_id FROM touchpoints WHERE kind = 'churned'))"


class Journeys(NamedTuple):
    """What the options of a view say of journeys.

    Attributes:
        per: customer, session or case.
        place: the column that a step is of.
        within: SQL of the days after which another journey begins; None for never.
        who: all, left or stayed.
    """

    per: str
    place: str
    within: str | None
    who: str = "all"

    @property
    def journey(self) -> str:
        """The columns that journeys are told apart by, apart from `part`."""
        column = _COLUMNS[self.per]
        return "customer_id" if column is None else f"customer_id, {column}"

    @property
    def in_journey(self) -> str:
        """The condition of the touchpoints that are steps of a journey."""
        column = _COLUMNS[self.per]
        conditions = [f'"{self.place}" IS NOT NULL', *([] if column is None else [f"{column} IS NOT NULL"])]
        if self.who != "all":
            conditions.append(("" if self.who == "left" else "NOT ") + _LEFT)
        return " AND ".join(conditions)

    @property
    def journey_key(self) -> str:
        """A value that is another one in each journey."""
        if self.within is None and self.per == "customer":
            return "customer_id"
        return f"({self.journey}, part)"

    @property
    def journey_customers(self) -> str:
        """The number of customers of whole journeys, each a row."""
        is_one = self.within is None and self.per == "customer"
        return "count(*)" if is_one else "count(DISTINCT customer_id)"

    def breaks(self, earlier: str, later: str) -> str:
        """The condition that another journey begins between two touchpoints of these times."""
        if self.within is None:
            return "false"
        return f"{_MS.format(later)} - {_MS.format(earlier)} > {self.within} * 86400000"

    @property
    def part(self) -> str:
        """The number of the journey among those of the same columns; it needs `before_time`."""
        if self.within is None:
            return "0"
        return (
            f"count(*) FILTER ({self.breaks('before_time', 'time')}) OVER (PARTITION BY {self.journey} "
            'ORDER BY time, "partition", "offset" ROWS UNBOUNDED PRECEDING)'
        )


def strict(steps: int, journey: str, within: str) -> str:
    """Common table expressions up to `reaching`: where journeys reach each of some steps, one after the other.

    `began` of a touchpoint that is step k is the latest start of a chain of the steps before it. It never falls from a
    touchpoint to a later one, so that the first row has the least.

    Args:
        steps: how many.
        journey: the columns that journeys are told apart by.
        within: SQL of the days from the first step to the last.
    """
    columns = f'{journey}, time, "partition", "offset", number, ms'
    parts = [f"chain_1 AS NOT MATERIALIZED (SELECT {columns}, ms AS began FROM steps WHERE number = 1)"]
    for number in range(2, steps + 1):
        before = number - 1
        parts.append(
            f"""chain_{number} AS (
    SELECT * EXCLUDE (began, latest), latest AS began
    FROM (
        SELECT
            *,
            max(began) OVER (
                PARTITION BY {journey} ORDER BY time, "partition", "offset"
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ) AS latest
        FROM (
            SELECT * FROM chain_{before}
            UNION ALL BY NAME SELECT {columns} FROM steps WHERE number = {number}
        )
    )
    WHERE number = {number} AND ms - latest <= {within} * 86400000
)"""
        )
    united = " UNION ALL ".join(f"SELECT * FROM chain_{number}" for number in range(1, steps + 1))
    return ",\n".join([*parts, f"reaching AS ({united})"])


def in_any_order(steps: int, journey: str, within: str) -> str:
    """Common table expressions up to `reaching`, as in `strict`: where journeys have had all steps up to one."""
    lasts = ", ".join(
        f"max(CASE WHEN number = {number} THEN ms END) OVER until_now AS last_{number}"
        for number in range(1, steps + 1)
    )
    begun = []
    for number in range(1, steps + 1):
        names = [f"last_{one}" for one in range(1, number + 1)]
        there = " AND ".join(f"{name} IS NOT NULL" for name in names)
        begun.append(f"CASE WHEN {there} THEN least({', '.join(names)}) END")
    return f"""lasting AS (
    SELECT *, {lasts} FROM steps
    WINDOW until_now AS (
        PARTITION BY {journey} ORDER BY time, "partition", "offset" ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    )
),
starts AS (SELECT * EXCLUDE (number), unnest([{", ".join(begun)}]) AS began, unnest(range(1, {steps + 1})) AS number FROM lasting),
reaching AS (SELECT * FROM starts WHERE ms - began <= {within} * 86400000)"""
