"""Experiments as the page shows them: who left day by day, and the difference as customers came in.

The figures of an outcome come from the view `experiments`; here are those for which it has no columns. `SUMS` and `LEFT` are
asked over the rows of one of its cells.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cxstream.console.figures import Estimate, share_of
from cxstream.warehouse.views.statistics import SEQUENCE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from cxstream.console.reader import Row

# An arm with fewer customers has no figure, as in the view.
LEAST = 30
_MOST_LOOKS = 80
_ALPHA = 0.05

SUMS = """
SELECT
    time::DATE AS day, arm, count(*) AS n, sum(round(x * 1e6)::HUGEINT) / 1e6 AS sx, sum(round(x * 1e6)::HUGEINT ** 2) / 1e12 AS sxx,
    sum(round(x * 1e6)::HUGEINT * y::HUGEINT) / 1e6 AS sxy, sum(y::HUGEINT) AS sy
FROM found WHERE is_past GROUP BY ALL ORDER BY ALL"""
"""Those who entered on each day, by arm; y is 1 for those who left."""

LEFT = """
SELECT
    arm, CASE WHEN y = 1 THEN greatest(1, ceil((epoch_ms(left_at) - epoch_ms(time)) / 86400000)) END::INTEGER AS day,
    count(*) AS customers
FROM found WHERE is_past GROUP BY ALL ORDER BY ALL"""
"""Customers by arm and the day after their entry on which they left; no day for those who stayed."""


@dataclass(frozen=True, slots=True)
class Look:
    """The difference of what was known after the customers who entered until a day.

    Attributes:
        day: of the last entry.
        customers: of both arms.
        found: the difference in per cent points, with the interval that holds at every look.
    """

    day: date
    customers: int
    found: Estimate


@dataclass(slots=True)
class _Sums:
    """Of an arm: x is the risk at the start, y whether they left."""

    n: int = 0
    x: float = 0.0
    xx: float = 0.0
    xy: float = 0.0
    y: float = 0.0

    def add(self, row: Row) -> None:
        self.n += row["n"]
        self.x += row["sx"] or 0.0
        self.xx += row["sxx"] or 0.0
        self.xy += row["sxy"] or 0.0
        self.y += row["sy"]


def looks(rows: Sequence[Row]) -> list[Look]:
    """The difference in leaving as customers came in, adjusted by the risk at their start (CUPED).

    Args:
        rows: of SUMS.
    """
    arms: dict[str, _Sums] = defaultdict(_Sums)
    found = []
    days = sorted({row["day"] for row in rows})
    by_day: dict[date, list[Row]] = defaultdict(list)
    for row in rows:
        by_day[row["day"]].append(row)
    for day in days:
        for row in by_day[day]:
            arms[row["arm"]].add(row)
        a, b = arms["treated"], arms["holdout"]
        if min(a.n, b.n) >= LEAST:
            found.append(Look(day, a.n + b.n, _difference(a, b)))
    step = max(1, math.ceil(len(found) / _MOST_LOOKS))
    # The last one is what holds now.
    return found[::-1][::step][::-1]


def _difference(a: _Sums, b: _Sums) -> Estimate:
    n = a.n + b.n
    x, y = (a.x + b.x) / n, (a.y + b.y) / n
    spread = a.xx + b.xx - n * x * x
    slope = (a.xy + b.xy - n * x * y) / spread if spread > n * 1e-12 else 0.0
    means, squares = [], 0.0
    for arm in (a, b):
        mean = (arm.y - slope * (arm.x - arm.n * x)) / arm.n
        yy = arm.y - arm.y**2 / arm.n
        xy, xx = arm.xy - arm.x * arm.y / arm.n, arm.xx - arm.x**2 / arm.n
        means.append(mean)
        squares += max(0.0, yy - 2 * slope * xy + slope**2 * xx) / (arm.n - 1) / arm.n
    grown = n * SEQUENCE
    margin = math.sqrt(squares) * math.sqrt(2 * (grown + 1) / grown * math.log(math.sqrt(grown + 1) / _ALPHA))
    value = means[0] - means[1]
    return Estimate(100 * value, 100 * (value - margin), 100 * (value + margin))


def clear_since(found: Sequence[Look]) -> int | None:
    """From which look on the interval has never held 0; None where it does now."""
    place = None
    for number, look in enumerate(found):
        low, high = look.found.low or 0.0, look.found.high or 0.0
        is_clear = low > 0 or high < 0
        place = (number if place is None else place) if is_clear else None
    return place


@dataclass(frozen=True, slots=True)
class Leaving:
    """Who left of an arm.

    Attributes:
        arm: treated or holdout.
        customers: of it.
        shares: in per cent, with Wilson's interval, after 0, 1, 2, ... days.
        here: customers still here then.
    """

    arm: str
    customers: int
    shares: list[Estimate]
    here: list[int]


def leaving(rows: Sequence[Row], days: int) -> list[Leaving]:
    """The arms with at least LEAST customers, the holdout first.

    Args:
        rows: of LEFT.
        days: that each customer is followed.
    """
    found = []
    for arm in ("holdout", "treated"):
        counts = {row["day"]: row["customers"] for row in rows if row["arm"] == arm}
        total = sum(counts.values())
        if total < LEAST:
            continue
        gone, shares, here = 0, [], []
        for day in range(days + 1):
            gone += counts.get(day, 0)
            shares.append(share_of(gone, total))
            here.append(total - gone)
        found.append(Leaving(arm, total, shares, here))
    return found
