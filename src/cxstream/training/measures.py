"""How good probabilities are: ranking, calibration, lift and drift. All take weights, and are 0 or NaN where nothing is known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cxstream.insights.drift import psi, spread

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]

_BINS = 10
_Z = 1.96
_LEAST = 1e-12
_RESAMPLES = 100


def _ranked(y: Bools, p: Floats, w: Floats) -> tuple[Floats, Floats]:
    """Weights of those who left and of those who stayed above each value of p, the largest first."""
    order = np.argsort(-p, kind="stable")
    left, stayed = np.cumsum((w * y)[order]), np.cumsum((w * ~y)[order])
    last = np.flatnonzero(np.r_[np.diff(p[order]) != 0, True]) if len(p) else np.empty(0, np.int64)
    return np.r_[0.0, left[last]], np.r_[0.0, stayed[last]]


def auc(y: Bools, p: Floats, w: Floats) -> float:
    """Area under the ROC curve: how often one who left has the larger probability of two; equal ones count half."""
    left, stayed = _ranked(y, p, w)
    if left[-1] <= 0 or stayed[-1] <= 0:
        return math.nan
    return float(np.trapezoid(left, stayed) / (left[-1] * stayed[-1]))


def average_precision(y: Bools, p: Floats, w: Floats) -> float:
    """Area under the curve of precision by recall, as a sum of steps."""
    left, stayed = _ranked(y, p, w)
    if left[-1] <= 0:
        return math.nan
    precision = left[1:] / np.maximum(left[1:] + stayed[1:], _LEAST)
    return float(np.sum(np.diff(left) * precision) / left[-1])


def brier(y: Bools, p: Floats, w: Floats) -> float:
    """Mean squared difference of probability and outcome."""
    return float(np.average((p - y) ** 2, weights=w)) if len(p) else math.nan


def log_loss(y: Bools, p: Floats, w: Floats) -> float:
    """Mean negative logarithm of the probability of what happened."""
    if not len(p):
        return math.nan
    sure = np.clip(p, _LEAST, 1 - _LEAST)
    return float(np.average(-np.where(y, np.log(sure), np.log1p(-sure)), weights=w))


@dataclass(frozen=True, slots=True)
class Bin:
    """Snapshots with similar probabilities.

    Attributes:
        low: smallest probability.
        high: largest one.
        snapshots: how many.
        customers: of how many.
        expected: mean probability.
        observed: share who left.
        least: lower end of its 95% interval (Wilson), as of independent customers.
        most: upper end of it.
    """

    low: float
    high: float
    snapshots: int
    customers: int
    expected: float
    observed: float
    least: float
    most: float


def wilson(share: float, n: float) -> tuple[float, float]:
    """The 95% interval of a share of n."""
    if n <= 0:
        return 0.0, 1.0
    middle, spread = share + _Z**2 / (2 * n), _Z * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    return max((middle - spread) / (1 + _Z**2 / n), 0.0), min((middle + spread) / (1 + _Z**2 / n), 1.0)


def _parts(p: Floats, w: Floats) -> list[Ints]:
    """Places in order of p, cut into parts of equal weight."""
    order = np.argsort(p, kind="stable")
    share = np.cumsum(w[order]) / max(float(w.sum()), _LEAST)
    ends = np.searchsorted(share, np.arange(1, _BINS) / _BINS - 1e-9, "left") + 1
    return [part for part in np.split(order, np.minimum(ends, len(order))) if len(part)]


def calibration(y: Bools, p: Floats, w: Floats, customers: Ints) -> list[Bin]:
    """Probability against outcome, in tenths of equal weight."""
    found = []
    for part in _parts(p, w):
        people = len(np.unique(customers[part]))
        observed = float(np.average(y[part], weights=w[part]))
        low, high = float(p[part[0]]), float(p[part[-1]])
        expected = float(np.average(p[part], weights=w[part]))
        found.append(Bin(low, high, len(part), people, expected, observed, *wilson(observed, people)))
    return found


def calibration_error(y: Bools, p: Floats, w: Floats) -> float:
    """Expected calibration error: mean distance of mean probability and share, over tenths of equal weight."""
    if not len(p):
        return math.nan
    away = sum(abs(float((w[part] * (p[part] - y[part])).sum())) for part in _parts(p, w))
    return away / float(w.sum())


@dataclass(frozen=True, slots=True)
class Decile:
    """A tenth of the snapshots, those with the largest probabilities first.

    Attributes:
        number: 1 to 10.
        least: its smallest probability.
        observed: share who left.
        lift: that share for the share of all.
        captured: share of all who left that is in this tenth and those before.
    """

    number: int
    least: float
    observed: float
    lift: float
    captured: float


def deciles(y: Bools, p: Floats, w: Floats) -> list[Decile]:
    """Lift and captured share; empty where nobody left."""
    left = float((w * y).sum())
    if not left:
        return []
    found, captured = [], 0.0
    for i, part in enumerate(reversed(_parts(p, w))):
        here = float((w * y)[part].sum())
        captured += here / left
        observed = here / float(w[part].sum())
        found.append(
            Decile(i + 1, float(p[part].min()), observed, observed * float(w.sum()) / left, captured)
        )
    return found


def drift(before: Floats, now: Floats) -> float:
    """Population stability index of two samples, over tenths of the first: below 0.1 little, above 0.25 much."""
    return psi(spread(before), now) if len(before) else math.nan


def interval(
    measure: Callable[[Bools, Floats, Floats], float], y: Bools, p: Floats, w: Floats, customers: Ints
) -> tuple[float, float]:
    """The 95% interval of a measure, by drawing customers again with all their snapshots."""
    who, number = np.unique(customers, return_inverse=True)
    random = np.random.default_rng(0)
    found = []
    for _ in range(_RESAMPLES):
        times = np.bincount(random.integers(0, len(who), len(who)), minlength=len(who))[number]
        some = times > 0
        found.append(measure(y[some], p[some], (w * times)[some]))
    kept = [each for each in found if math.isfinite(each)]
    if not kept:
        return math.nan, math.nan
    low, high = np.quantile(kept, [0.025, 0.975]).tolist()
    return low, high
