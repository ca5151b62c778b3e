"""How well a model foretells purchases that it was not fitted to.

    first purchase |------- calibration: fitted -------| cut |---- holdout: foretold, and counted ----| end

Only customers who have bought before the cut take part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cxstream.training.customers import Customers
    from cxstream.training.fit import Fit
    from cxstream.training.log import Bought
    from cxstream.training.models import PurchaseLikelihood

    Floats = NDArray[np.float64]

# The parts that the holdout is shown in.
_PARTS = 26
# Customers with this many repeats or more are one row.
_MANY = 7


@dataclass(frozen=True, slots=True)
class Point:
    """Repeat purchases of all customers until a day of the holdout.

    Attributes:
        day: days since the cut.
        actual: purchases since the cut.
        expected: those that the model foretells.
    """

    day: int
    actual: int
    expected: float


@dataclass(frozen=True, slots=True)
class Row:
    """Customers with the same number of repeats before the cut.

    Attributes:
        repeats: that number; of the last row, it or more.
        customers: how many.
        actual: their mean purchases in the holdout.
        expected: the mean that the model foretells.
    """

    repeats: int
    customers: int
    actual: float
    expected: float


@dataclass(frozen=True, slots=True)
class Holdout:
    """A model of purchases before a day against what came after it.

    Attributes:
        cut: the last day that the model was fitted to, in days since 1970.
        end: the last day of the holdout.
        fit: the model of the time before.
        track: purchases day by day.
        rows: purchases by repeats.
        correlation: of what is foretold and what came, over customers.
        error: root of the mean squared difference, in purchases of a customer.
    """

    cut: int
    end: int
    fit: Fit
    track: list[Point]
    rows: list[Row]
    correlation: float
    error: float

    @property
    def ratio(self) -> float:
        """Purchases that were foretold for each one that came."""
        last = self.track[-1]
        return last.expected / last.actual if last.actual else float("nan")


def cut_of(bought: Bought, days: int | None) -> int:
    """The last day that is fitted: a quarter of the time before the end, unless told otherwise."""
    first = int(bought.first.min())
    return bought.end - (days if days is not None else (bought.end - first) // 4)


def hold_out(model: PurchaseLikelihood, fit: Fit, unit_days: float, before: Bought, after: Bought) -> Holdout:
    """Compare a model with what came after the time that it was fitted to.

    Args:
        model: which.
        fit: of the purchases before the cut.
        unit_days: unit of time of the fit, in days.
        before: purchases at the cut.
        after: purchases at the end, each of them.
    """
    customers = before.customers().in_units(unit_days)
    place = {name: i for i, name in enumerate(before.names)}
    days = after.end - before.end
    counts, by_day = np.zeros(len(customers)), np.zeros(days + 1, np.int64)
    for name, day in after.bought:
        if before.end < day <= after.end and (i := place.get(name)) is not None:
            counts[i] += 1
            by_day[day - before.end] += 1
    actual, foretold = np.cumsum(by_day), _expected(model, fit, customers, days / unit_days)
    ends = sorted({round(days * part / _PARTS) for part in range(_PARTS + 1)})
    totals = {day: float(_expected(model, fit, customers, day / unit_days).sum()) for day in ends if day}
    return Holdout(
        before.end,
        after.end,
        fit,
        [Point(day, int(actual[day]), totals.get(day, 0.0)) for day in ends],
        _rows(customers, counts, foretold),
        _correlation(foretold, counts),
        float(np.sqrt(np.mean((foretold - counts) ** 2))),
    )


def _correlation(one: Floats, other: Floats) -> float:
    return float(np.corrcoef(one, other)[0, 1]) if np.ptp(one) > 0 and np.ptp(other) > 0 else float("nan")


def _expected(model: PurchaseLikelihood, fit: Fit, customers: Customers, ahead: float) -> Floats:
    return model.expected(fit.values, customers.repeats, customers.span, customers.age, ahead)


def _rows(customers: Customers, counts: Floats, foretold: Floats) -> list[Row]:
    found = []
    for repeats in range(_MANY + 1):
        some = customers.repeats >= repeats if repeats == _MANY else customers.repeats == repeats
        if some.any():
            found.append(
                Row(repeats, int(some.sum()), float(counts[some].mean()), float(foretold[some].mean()))
            )
    return found
