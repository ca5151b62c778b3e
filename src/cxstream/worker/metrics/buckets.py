"""A Prometheus histogram that takes a whole batch at a time."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
from prometheus_client.utils import floatToGoString

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class Buckets:
    """Counts of values between bounds.

    Args:
        bounds: upper bounds, ascending, without +Inf; a value on a bound is within it.

    Attributes:
        upper: float64[bounds], the bounds.
        counts: int64[bounds + 1], values in each bucket, not cumulated.
        sum: of all values.
    """

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(map(float, bounds))
        self.upper = np.array(self._bounds)
        self._names = [*map(floatToGoString, self._bounds), "+Inf"]
        self.counts = np.zeros(len(self._bounds) + 1, np.int64)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Add one value."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def observe_all(self, values: NDArray[np.float64]) -> None:
        """Add many values."""
        self.counts += np.bincount(np.searchsorted(self.upper, values), minlength=len(self.counts))
        self.sum += float(values.sum())

    def add(self, counts: NDArray[np.int64], total: float) -> None:
        """Add values that were counted by bucket, and their sum."""
        self.counts += counts
        self.sum += total

    def cumulated(self) -> list[tuple[str, float]]:
        """Each bound and how many values are within it, as prometheus_client wants them."""
        return list(zip(self._names, map(float, accumulate(self.counts.tolist())), strict=True))
