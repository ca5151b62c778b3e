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
# Cells that are marked in memory, a byte each.
_MOST_MARKS = 64_000_000


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
    if len(groups.table) <= most:
        return groups
    cells, of = _CELLS, _Cells(groups)
    key, used = of.inside(cells)
    while len(used) > most and cells * 3 // 4 > 1:
        cells = cells * 3 // 4
        key, used = of.inside(cells)
    return of.merged(key, used)


class _Cells:
    """Cells of groups whose customers are merged, of any width.

    Args:
        groups: the groups.
    """

    def __init__(self, groups: Groups) -> None:
        _, span, age, n = groups.table.T
        self._table = groups.table
        # Likelihoods depend on logarithms of times: cells of early ones are narrower.
        scale = (n @ age) / n.sum() / _SCALE
        self._logs = np.log1p(span / scale), np.log1p(age / scale)
        self._most = np.log1p(age.max() / scale)
        self._repeats = np.searchsorted(groups.repeats, groups.table[:, 0])
        self._kinds = len(groups.repeats)

    def inside(self, cells: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The cell that each group is in, and the cells that have any; ordered by x, t_x and T.

        Args:
            cells: how many there are of each time.
        """
        width, side = self._most / cells, cells + 1
        key = self._repeats
        for logs in self._logs:
            key = key * side + np.floor(logs / width).astype(np.int64)
        if self._kinds * side * side > _MOST_MARKS:
            return key, np.unique(key)
        # Sorting would take most of the time of a fit.
        marks = np.zeros(self._kinds * side * side, bool)
        marks[key] = True
        return key, np.flatnonzero(marks)

    def merged(self, key: NDArray[np.int64], used: NDArray[np.int64]) -> Groups:
        """Each cell as one group, from what `inside` gives."""
        *columns, n = self._table.T
        where = np.searchsorted(used, key)
        total = np.bincount(where, weights=n)
        means = [np.bincount(where, weights=n * column) / total for column in columns]
        return _of(np.ascontiguousarray(np.stack([*means, total]).T))
