"""What purchase models are fitted to: repeats, recency, age and spend of each customer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


# Cells of a time when groups are first merged, and what share of the mean age is still told apart.
_CELLS, _SCALE = 512, 30


@dataclass(frozen=True, slots=True)
class Customers:
    """Customers with at least one purchase; times in one unit, counted from the first purchase.

    Attributes:
        repeats: float64[n], x: days with a purchase after the first one.
        span: float64[n], t_x: time of the last purchase; 0 without a repeat.
        age: float64[n], T: until when the customer was observed.
        spends: float64[n], how many purchases `mean` is of; 0 where it is not known.
        mean: float64[n], mean amount of a purchase.
    """

    repeats: Floats
    span: Floats
    age: Floats
    spends: Floats
    mean: Floats

    def __len__(self) -> int:
        return len(self.repeats)

    def in_units(self, days: float) -> Customers:
        """The same, from days into units of that many days."""
        return Customers(self.repeats, self.span / days, self.age / days, self.spends, self.mean)


@dataclass(frozen=True, slots=True)
class Groups:
    """Customers who are alike, counted: nothing that a likelihood needs is lost.

    Attributes:
        table: float64[n, 4]: x, t_x, T, customers.
        repeats: float64[k], values of x.
        counts: float64[k], customers with each.
    """

    table: Floats
    repeats: Floats
    counts: Floats

    @property
    def customers(self) -> float:
        """How many customers there are."""
        return float(self.counts.sum())


def group(customers: Customers) -> Groups:
    """Count customers with the same x, t_x and T."""
    columns = np.stack([customers.repeats, customers.span, customers.age])
    order = np.lexsort(columns[::-1])
    columns = columns[:, order]
    begins = np.flatnonzero(np.r_[True, (columns[:, 1:] != columns[:, :-1]).any(axis=0)])
    sizes = np.diff(np.r_[begins, len(order)]).astype(np.float64)
    return _of(np.ascontiguousarray(np.r_[columns[:, begins], sizes[None]].T))


def _of(table: Floats) -> Groups:
    repeats, where = np.unique(table[:, 0], return_inverse=True)
    return Groups(table, repeats, np.bincount(where, weights=table[:, 3]).astype(np.float64))


def coarse(groups: Groups, most: int) -> Groups:
    """About as few groups as asked for, each at the mean of its customers, so that there is no bias to first order.

    Args:
        groups: the groups.
        most: how many there may be; fewer are returned as they are.
    """
    found, cells = groups, _CELLS
    while len(found.table) > most and cells > 1:
        found = _merged(groups, cells)
        cells = cells * 3 // 4
    return found


def _merged(groups: Groups, cells: int) -> Groups:
    x, span, age, n = groups.table.T
    # Likelihoods depend on logarithms of times: cells of early ones are narrower.
    scale = (n @ age) / n.sum() / _SCALE
    width = np.log1p(age.max() / scale) / cells
    key = np.stack([x, *(np.floor(np.log1p(times / scale) / width) for times in (span, age))])
    _, where = np.unique(key, axis=1, return_inverse=True)
    where = where.ravel()
    total = np.bincount(where, weights=n)
    means = [np.bincount(where, weights=n * column) / total for column in (x, span, age)]
    return _of(np.ascontiguousarray(np.stack([*means, total]).T))
