"""What a customer is worth: the purchases to expect of them, discounted, times what one of them is worth.

A customer who is alive at their age T buys again as a Poisson process whose rate has the distribution
Gamma(R, A), R = r + x, A = alpha + T, and leaves after each purchase with a probability that has the distribution
Beta(a, B), B = b + x + 1 (MBG/NBD: Batislam, Denizel and Filiztekin 2007). So the purchases to expect within t are

    E(t) = sum over j >= 0 of P(N > j) * E[(1 - p)^j],   N ~ NegativeBinomial(R, z),  z = t / (A + t)

where N counts the purchases of a customer who never leaves. All terms are positive, and there is no singularity at
a = 1, unlike in the hypergeometric form. Where the sum would be long, the same expectation is an integral over p:

    E(t) = E[(1 - (1 + p t / A)^-R) / p],   p ~ Beta(a, B)

taken by the trapezoidal rule in the logit of p, whose steps grow with sinh towards both ends.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from cxstream.kernels.jit import entry, kernel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Columns of the facts about a customer's purchases, as signals and score cards have them; times in days.
F_ALIVE, F_BOUGHT, F_SPAN, F_AGE, F_SPENT, FACTS = range(6)
# Numbers of a model; times in days.
W_R, W_ALPHA, W_A, W_B, W_P, W_Q, W_V, W_MARGIN, WORTH = range(9)
# Scratch: a row each for z, P(N = j) and P(N > j) of each part of the horizon.
SCRATCH = 3

_MOST_TERMS = 1024.0
# e ** -this is still a normal number.
_MOST_LOG = 700.0
_NO_MORE = 1e-12
_NODES, _REACH = 96, 3.6


@kernel
def alive(r: float, alpha: float, a: float, b: float, x: float, span: float, age: float) -> float:
    """P(alive) under the MBG/NBD.

    Args:
        r: shape of the rates of purchase.
        alpha: their scale, in the unit of the times.
        a: first parameter of the distribution of the probability to leave.
        b: the second.
        x: repeat purchases.
        span: time from the first purchase to the last.
        age: time from the first purchase until now.
    """
    odds = math.exp((r + x) * (math.log(alpha + age) - math.log(alpha + span)))
    return 1.0 / (1.0 + a / (b + x) * odds)


@kernel
def _summed(
    r: float, scale: float, a: float, b: float,
    ends: NDArray[np.float64], weights: NDArray[np.float64], scratch: NDArray[np.float64],
) -> float:  # fmt: skip
    """The sum of weights * E(ends), term by term; the last end is the largest."""
    last = len(ends) - 1
    for i in range(last + 1):
        u = ends[i] / scale
        never = r * math.log1p(u)
        scratch[0, i] = u / (1.0 + u)
        scratch[1, i] = math.exp(-never)
        scratch[2, i] = -math.expm1(-never)
    total, stays, j, first = 0.0, 1.0, 0.0, 0
    while j < _MOST_TERMS:
        # P(N > j) grows with the end.
        while first <= last and scratch[2, first] < _NO_MORE:
            first += 1
        if first > last:
            break
        more, ratio = 0.0, (r + j) / (j + 1.0)
        for i in range(first, last + 1):
            more += weights[i] * scratch[2, i]
            scratch[1, i] *= ratio * scratch[0, i]
            scratch[2, i] -= scratch[1, i]
        total += stays * more
        stays *= (b + j) / (a + b + j)
        j += 1.0
    return total


@kernel
def _integrated(
    r: float, scale: float, a: float, b: float, ends: NDArray[np.float64], weights: NDArray[np.float64]
) -> float:
    """The sum of weights * E(ends), as an integral over p."""
    centre = math.log(a) - math.log(b)
    width = math.sqrt(1.0 / a + 1.0 / (a * a) + 1.0 / b + 1.0 / (b * b))
    top = -a * math.log1p(math.exp(-centre)) - b * math.log1p(math.exp(centre))
    total = mass = 0.0
    for node in range(_NODES + 1):
        v = _REACH * (2.0 * node / _NODES - 1.0)
        logit = centre + width * math.sinh(v)
        p = 1.0 / (1.0 + math.exp(-logit))
        w = math.exp(-a * math.log1p(math.exp(-logit)) - b * math.log1p(math.exp(logit)) - top) * math.cosh(v)
        if w > 0.0:
            expected = 0.0
            for i in range(len(ends)):
                u = ends[i] / scale
                # Below this the quotient is r * u to the last bit, and p may be 0.
                few = r * u if p < 1e-280 else -math.expm1(-r * math.log1p(p * u)) / p
                expected += weights[i] * few
            total += w * expected
            mass += w
    return total / mass if mass > 0.0 else 0.0


@kernel
def _expected(
    r: float, scale: float, a: float, b: float,
    ends: NDArray[np.float64], weights: NDArray[np.float64], scratch: NDArray[np.float64],
) -> float:  # fmt: skip
    """The sum of weights * E(ends) of a customer who is alive."""
    u = ends[len(ends) - 1] / scale
    mean = r * u
    terms = mean + 8.0 * math.sqrt(mean * (1.0 + u)) + 30.0 / math.log1p(1.0 / u)
    if terms < _MOST_TERMS and r * math.log1p(u) < _MOST_LOG:
        return _summed(r, scale, a, b, ends, weights, scratch)
    return _integrated(r, scale, a, b, ends, weights)


@entry
def expect(
    model: NDArray[np.float64], facts: NDArray[np.float64], ends: NDArray[np.float64],
    weights: NDArray[np.float64], scratch: NDArray[np.float64], out: NDArray[np.float64],
) -> None:  # fmt: skip
    """Write the weighted sum of the purchases to expect of each customer.

    Args:
        model: float64[WORTH].
        facts: float64[n, FACTS]; n customers with at least one day with a purchase.
        ends: float64[k], ascending, above 0: times from now, in days.
        weights: float64[k], of the purchases to expect until each of them.
        scratch: float64[SCRATCH, k].
        out: float64[n].
    """
    for n in range(len(facts)):
        x = facts[n, F_BOUGHT] - 1.0
        out[n] = facts[n, F_ALIVE] * _expected(
            model[W_R] + x,
            model[W_ALPHA] + facts[n, F_AGE],
            model[W_A],
            model[W_B] + x + 1.0,
            ends,
            weights,
            scratch,
        )


@entry
def spend(model: NDArray[np.float64], facts: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Write what a purchase of each customer is expected to bring: the Gamma-Gamma model, times the margin.

    Args:
        model: float64[WORTH].
        facts: float64[n, FACTS]; n customers with at least one day with a purchase.
        out: float64[n], in the base currency.
    """
    p, q, v = model[W_P], model[W_Q], model[W_V]
    for n in range(len(facts)):
        mean = p * (v + facts[n, F_SPENT]) / (p * facts[n, F_BOUGHT] + q - 1.0)
        out[n] = model[W_MARGIN] * mean
