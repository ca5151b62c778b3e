"""Models of purchases: BG/NBD, MBG/NBD and Pareto/NBD. All take times in one unit.

    Fader, Hardie and Lee 2005, "Counting Your Customers" the Easy Way            BG/NBD
    Batislam, Denizel and Filiztekin 2007, Empirical validation of models ...     MBG/NBD
    Schmittlein, Morrison and Colombo 1987; Fader and Hardie 2005 (notes)         Pareto/NBD

A customer buys as a Poisson process while alive; rates have a Gamma(r, alpha) distribution. Under BG/NBD a customer may
leave after each repeat purchase, under MBG/NBD after the first purchase, too, with a probability that has a Beta(a, b)
distribution; under Pareto/NBD at any time, at a rate that has a Gamma(s, beta) distribution.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy.special import gammaln, hyp2f1, psi

from cxstream.kernels.likelihood import (
    G_DEAD,
    G_DEAD_BY,
    G_LOG,
    G_RATE,
    G_SCALE,
    SUMS,
    geometric,
    pareto,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cxstream.training.customers import Groups

    Floats = NDArray[np.float64]

# At a = 1 the published formulas divide 0 by 0; this far from it they are right to 1e-7.
_NEAR_ONE = 1e-7
_STEP = 1e-5


class PurchaseLikelihood(Protocol):
    """A model of purchases.

    Attributes:
        name: as `mbg_nbd`.
        title: as the literature calls it.
        parameters: names of its parameters, all above 0.
        most_groups: more groups than this are merged before a fit.
    """

    name: str
    title: str
    parameters: tuple[str, ...]
    most_groups: int

    def log_likelihood(self, groups: Groups, values: Floats) -> tuple[float, Floats]:
        """The log-likelihood and its derivatives by the parameters."""
        ...

    def alive(self, values: Floats, x: Floats, span: Floats, age: Floats) -> Floats:
        """P(alive) of each customer."""
        ...

    def expected(self, values: Floats, x: Floats, span: Floats, age: Floats, ahead: float) -> Floats:
        """Purchases to expect of each customer within that time from now."""
        ...

    def expected_new(self, values: Floats, ahead: Floats) -> Floats:
        """Repeats to expect within each time of a customer who has just bought for the first time."""
        ...


class Geometric:
    """BG/NBD (shift 0) and MBG/NBD (shift 1).

    Args:
        name: of the model.
        title: likewise.
        shift: how many purchases before the first repeat may be the last one.
    """

    parameters: tuple[str, ...] = ("r", "alpha", "a", "b")
    most_groups = 1_000_000

    def __init__(self, name: str, title: str, shift: int) -> None:
        self.name, self.title, self._shift = name, title, shift

    def log_likelihood(self, groups: Groups, values: Floats) -> tuple[float, Floats]:
        """The log-likelihood and its derivatives by the parameters."""
        r, alpha, a, b = values.tolist()
        x, n = groups.repeats, groups.counts
        sums = np.empty(SUMS)
        geometric(groups.table, r, alpha, a, b, float(self._shift), sums)
        k = x + self._shift
        gammas = gammaln(r + x) - gammaln(r) + r * np.log(alpha)
        gammas += gammaln(a + b) + gammaln(b + k) - gammaln(b) - gammaln(a + b + k)
        beta = psi(a + b) - psi(a + b + k)
        by_r = n @ (psi(r + x) - psi(r) + np.log(alpha)) + sums[G_RATE]
        by_alpha = n.sum() * r / alpha + sums[G_SCALE]
        by_a = n @ beta + sums[G_DEAD] / a
        by_b = n @ (beta + psi(b + k) - psi(b)) - sums[G_DEAD_BY]
        return float(n @ gammas + sums[G_LOG]), np.array([by_r, by_alpha, by_a, by_b])

    def _odds_dead(self, values: Floats, x: Floats, span: Floats, age: Floats) -> Floats:
        r, alpha, a, b = values
        k = b + x - 1 + self._shift
        can_leave = x + self._shift > 0
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            odds = a / k * np.exp((r + x) * (np.log(alpha + age) - np.log(alpha + span)))
        return np.where(can_leave, odds, 0.0)

    def alive(self, values: Floats, x: Floats, span: Floats, age: Floats) -> Floats:
        """P(alive) of each customer."""
        return np.asarray(1 / (1 + self._odds_dead(values, x, span, age)))

    def expected(self, values: Floats, x: Floats, span: Floats, age: Floats, ahead: float) -> Floats:
        """Purchases to expect of each customer within that time from now."""
        r, alpha, a, b = values
        return self.alive(values, x, span, age) * self._coming(
            r + x, alpha + age, a, b + x + self._shift, np.asarray(ahead)
        )

    def expected_new(self, values: Floats, ahead: Floats) -> Floats:
        """Repeats to expect within each time of a customer who has just bought for the first time."""
        r, alpha, a, b = values
        stays = (b / (a + b)) if self._shift else 1.0
        return np.asarray(stays * self._coming(r, alpha, a, b + self._shift, ahead))

    @staticmethod
    def _coming(r: Floats | float, alpha: Floats | float, a: float, b: Floats | float, t: Floats) -> Floats:
        """Purchases within t of a customer who is alive and leaves after each with a probability of Beta(a, b)."""
        if abs(a - 1) < _NEAR_ONE:
            a = 1 + _NEAR_ONE
        z = t / (alpha + t)
        none = np.exp(r * (np.log(alpha) - np.log(alpha + t))) * hyp2f1(r, b, a + b - 1, z)
        return np.asarray((a + b - 1) / (a - 1) * (1 - none))


class Pareto:
    """Pareto/NBD."""

    name = "pareto_nbd"
    title = "Pareto/NBD"
    parameters: tuple[str, ...] = ("r", "alpha", "s", "beta")
    # A group takes some 50 times as long as one of the others.
    most_groups = 10_000

    def log_likelihood(self, groups: Groups, values: Floats) -> tuple[float, Floats]:
        """The log-likelihood, and its derivatives by central differences."""
        slopes = np.empty(len(values))
        for i in range(len(values)):
            step = np.zeros(len(values))
            step[i] = _STEP * values[i]
            slopes[i] = (self._at(groups, values + step) - self._at(groups, values - step)) / (2 * step[i])
        return self._at(groups, values), slopes

    @staticmethod
    def _at(groups: Groups, values: Floats) -> float:
        r, alpha, s, beta = values.tolist()
        out = np.empty((len(groups.table), 2))
        pareto(groups.table, r, alpha, s, beta, out)
        gammas = gammaln(r + groups.repeats) - gammaln(r) + r * np.log(alpha) + s * np.log(beta)
        return float(groups.table[:, 3] @ np.logaddexp(out[:, 0], out[:, 1]) + groups.counts @ gammas)

    def alive(self, values: Floats, x: Floats, span: Floats, age: Floats) -> Floats:
        """P(alive) of each customer."""
        table = np.ascontiguousarray(np.stack([x, span, age, np.ones_like(x)]).T)
        out = np.empty((len(x), 2))
        r, alpha, s, beta = values.tolist()
        pareto(table, r, alpha, s, beta, out)
        with np.errstate(over="ignore"):
            return np.asarray(1 / (1 + np.exp(out[:, 1] - out[:, 0])))

    def expected(self, values: Floats, x: Floats, span: Floats, age: Floats, ahead: float) -> Floats:
        """Purchases to expect of each customer within that time from now."""
        r, alpha, s, beta = values
        rate = (r + x) / (alpha + age)
        return np.asarray(
            self.alive(values, x, span, age) * rate * _time_alive(s, beta + age, np.asarray(ahead))
        )

    def expected_new(self, values: Floats, ahead: Floats) -> Floats:
        """Repeats to expect within each time of a customer who has just bought for the first time."""
        r, alpha, s, beta = values
        return np.asarray(r / alpha * _time_alive(s, beta, ahead))


def _time_alive(s: float, beta: Floats | float, t: Floats) -> Floats:
    """Time alive to expect within t, at a rate of leaving with a Gamma(s, beta) distribution."""
    if abs(s - 1) < _NEAR_ONE:
        s = 1 + _NEAR_ONE
    return np.asarray(beta / (s - 1) * -np.expm1((s - 1) * (np.log(beta) - np.log(beta + t))))


BG_NBD = Geometric("bg_nbd", "BG/NBD", 0)
MBG_NBD = Geometric("mbg_nbd", "MBG/NBD", 1)
PARETO_NBD = Pareto()
MODELS: tuple[PurchaseLikelihood, ...] = (MBG_NBD, BG_NBD, PARETO_NBD)
