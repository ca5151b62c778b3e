"""Regularised logistic regression whose probabilities are probabilities.

    log-odds = intercept + sum of b * x

Rare outcomes are not weighted up, so the mean probability is the share of those who left. What regularisation takes from the
spread of the log-odds comes back by a second regression, on log-odds of customers that the first one has not seen;
slope and shift are folded into the coefficients. A feature whose coefficient would be below 0 is left out: what a
reason says to people is that something raises the risk.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from cxstream.training.measures import log_loss

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]

_FOLDS = 4
_STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
_FREE = 1e9
# Features lie in 0..1. What differs less than this between customers says nothing, and would take a coefficient beyond all bounds.
_ALIKE = 1e-4
# What the search for the strength of the regularisation is made with; the coefficients come from everything.
_ENOUGH = 200_000


@dataclass(frozen=True, slots=True)
class Linear:
    """A fitted model.

    Attributes:
        intercept: of the log-odds.
        coefficients: float64[k], 0 where a feature is left out.
        strength: inverse strength of the regularisation, C, of features with a standard deviation of 1.
        slope: of the calibration; 1 if there was nothing to correct.
        shift: of the calibration.
        constant: bool[k], features with the same value for everybody, or nearly so.
        against: bool[k], features that would have lowered the risk.
    """

    intercept: float
    coefficients: Floats
    strength: float
    slope: float
    shift: float
    constant: Bools
    against: Bools

    def probability(self, x: Floats) -> Floats:
        """Probability of each row."""
        return np.asarray(1 / (1 + np.exp(-(self.intercept + x @ self.coefficients))))


def fit_linear(x: Floats, y: Bools, w: Floats, customers: Ints, *, signed: bool = False) -> Linear:
    """Fit to snapshots.

    Args:
        x: float64[n, k].
        y: bool[n], both values occur.
        w: float64[n], weights above 0.
        customers: int64[n], whose they are: all of one customer are on one side of each check.
        signed: coefficients below 0 may stay.
    """
    scale = x.std(axis=0)
    constant = is_constant(x)
    some = _some(customers)
    strength, _ = _best(x[some], y[some], w[some], customers[some], ~constant, scale)
    used = ~constant
    while True:
        _, b = _fit(x, y, w, used, scale, strength)
        if signed or not (b < 0).any():
            break
        used = used & (np.arange(len(b)) != np.argmin(b * scale))
    unseen = _unseen(x[some], y[some], w[some], customers[some], used, scale, strength)
    slope, shift = _calibrated(unseen, y[some], w[some])
    intercept, b = _fit(x, y, w, used, scale, strength)
    return Linear(shift + slope * intercept, slope * b, strength, slope, shift, constant, ~used & ~constant)


def is_constant(x: Floats) -> Bools:
    """Features, of the columns, that are the same for everybody, or nearly so."""
    return np.asarray(x.std(axis=0) < _ALIKE)


def fit_without(model: Linear, x: Floats, y: Bools, w: Floats, feature: int) -> Linear:
    """Fit again without a feature, with the same strength and without a search or calibration.

    Args:
        model: with the feature, fitted to the same rows.
        x: float64[n, k].
        y: bool[n].
        w: float64[n].
        feature: its place; -1: none is left out.
    """
    used = (model.coefficients > 0) & (np.arange(x.shape[1]) != feature)
    intercept, b = _fit(x, y, w, used, np.where(model.constant, 1.0, x.std(axis=0)), model.strength)
    return replace(model, intercept=intercept, coefficients=b, slope=1.0, shift=0.0)


def _some(customers: Ints) -> Bools:
    """All snapshots of as many customers as are enough."""
    if len(customers) <= _ENOUGH:
        return np.ones(len(customers), bool)
    keep = np.random.default_rng(0).random(int(customers.max()) + 1) < _ENOUGH / len(customers)
    return keep[customers]


def _fit(x: Floats, y: Bools, w: Floats, used: Bools, scale: Floats, strength: float) -> tuple[float, Floats]:
    b = np.zeros(x.shape[1])
    if not used.any():
        share = float(np.average(y, weights=w))
        return float(np.log(share / (1 - share))), b
    # The weights of all add up to their number, so that the strength means the same for any weights.
    found = LogisticRegression(C=strength, max_iter=1000, tol=1e-8)
    found.fit(x[:, used] / scale[used], y, w * (len(w) / w.sum()))
    b[used] = found.coef_[0] / scale[used]
    return float(found.intercept_[0]), b


def _unseen(
    x: Floats, y: Bools, w: Floats, customers: Ints, used: Bools, scale: Floats, strength: float
) -> Floats:
    """Log-odds of each row by a model that has not seen the customer."""
    found = np.empty(len(y))
    for train, test in GroupKFold(_FOLDS).split(x, y, customers):
        intercept, b = _fit(x[train], y[train], w[train], used, scale, strength)
        found[test] = intercept + x[test] @ b
    return found


def _best(x: Floats, y: Bools, w: Floats, customers: Ints, used: Bools, scale: Floats) -> tuple[float, float]:
    """The strength of regularisation with the least log loss of customers that were not seen."""
    losses = []
    for strength in _STRENGTHS:
        odds = _unseen(x, y, w, customers, used, scale, strength)
        losses.append((log_loss(y, 1 / (1 + np.exp(-odds)), w), strength))
    loss, strength = min(losses)
    return strength, loss


def _calibrated(odds: Floats, y: Bools, w: Floats) -> tuple[float, float]:
    """Slope and shift that make log-odds right; 1 and 0 where the odds say nothing."""
    if np.ptp(odds) == 0:
        return 1.0, 0.0
    found = LogisticRegression(C=_FREE, max_iter=1000, tol=1e-8).fit(odds[:, None], y, w)
    slope = float(found.coef_[0, 0])
    return (slope, float(found.intercept_[0])) if slope > 0 else (1.0, 0.0)
