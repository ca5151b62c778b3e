"""The Gamma-Gamma model of what a purchase brings (Fader and Hardie 2013, The Gamma-Gamma model of monetary value).

Amounts of a customer have a Gamma(p, nu) distribution, and the scales nu of customers a Gamma(q, v) distribution. The
mean amount says nothing of how often a customer buys: where the two are correlated, the model does not hold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import gammaln, psi

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

PARAMETERS = ("p", "q", "v")


class Spend:
    """Customers whose mean amount is known.

    Args:
        spends: float64[n], purchases of each, above 0.
        mean: float64[n], their mean amount, above 0.
    """

    def __init__(self, spends: Floats, mean: Floats) -> None:
        self._counts = spends
        self._sums = spends * mean
        self._log_sums = np.log(self._sums)
        self._log_means = float(np.log(mean).sum())
        self._kinds, self._which = np.unique(spends, return_inverse=True)
        self._sizes = np.bincount(self._which).astype(np.float64)
        self._logs = np.bincount(self._which, weights=self._log_sums)
        self.typical = float(np.median(mean))

    def __len__(self) -> int:
        return len(self._counts)

    def log_likelihood(self, values: Floats) -> tuple[float, Floats]:
        """The log-likelihood and its derivatives by p, q and v."""
        p, q, v = values.tolist()
        x, n, logs = self._kinds, self._sizes, self._logs
        log_all = np.log(v + self._sums)
        of_kind = np.bincount(self._which, weights=log_all)
        total = n @ (gammaln(p * x + q) - gammaln(p * x) - gammaln(q) + q * np.log(v))
        total += x @ logs * p - (p * x + q) @ of_kind - self._log_means
        by_p = n @ (x * (psi(p * x + q) - psi(p * x))) + x @ (logs - of_kind)
        by_q = n @ (psi(p * x + q) - psi(q) + np.log(v)) - of_kind.sum()
        by_v = n.sum() * q / v - np.sum((p * self._counts + q) / (v + self._sums))
        return float(total), np.array([by_p, by_q, by_v])


def expected_spend(values: Floats, spends: Floats, mean: Floats) -> Floats:
    """What a purchase of each customer is expected to bring.

    Args:
        values: p, q and v.
        spends: float64[n], purchases of each; 0 where none is known.
        mean: float64[n], their mean amount.
    """
    p, q, v = values
    return np.asarray(p * (v + spends * mean) / (p * spends + q - 1))
