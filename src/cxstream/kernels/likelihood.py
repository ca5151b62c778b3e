"""Likelihoods of purchase models over groups of customers: sums that depend on the times of the purchases.

Customers with the same repeats x, time t from the first purchase to the last, and age T are one group. What depends on x
alone (the gamma functions) is not here: it needs one term for each x. All sums are in logarithms.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from cxstream.kernels.jit import entry, kernel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Sums over groups of customers, each by its number of customers; w is P(dead).
G_LOG, G_RATE, G_SCALE, G_DEAD, G_DEAD_BY, SUMS = range(6)

_MOST_TERMS = 20_000
_SMALL = 1e-14


@entry
def geometric(
    groups: NDArray[np.float64], r: float, alpha: float, a: float, b: float, shift: float,
    out: NDArray[np.float64],
) -> None:  # fmt: skip
    """Sum up the likelihood of BG/NBD and MBG/NBD that depends on times, and what its gradient needs.

    The likelihood of a group without gamma functions is (alpha + T)^-(r + x) + a / k * (alpha + t)^-(r + x), where
    k = b + x - 1 + shift; the second term is that of customers who have left.

    Args:
        groups: float64[n, 4]: x, t, T, customers.
        r: shape of the rates of purchase.
        alpha: their scale, in the unit of the times.
        a: first parameter of the distribution of the probability to leave.
        b: the second.
        shift: 0 for BG/NBD, where nobody leaves before the first repeat; 1 for MBG/NBD.
        out: float64[SUMS], set: the log-likelihood, its derivatives by r and by alpha, w, and w / k.
    """
    for i in range(SUMS):
        out[i] = 0.0
    log_a = math.log(a)
    for i in range(len(groups)):
        x, n = groups[i, 0], groups[i, 3]
        power, k = r + x, b + x - 1.0 + shift
        log_age = math.log(alpha + groups[i, 2])
        here = -power * log_age
        if x == 0.0 and shift == 0.0:
            out[G_LOG] += n * here
            out[G_RATE] -= n * log_age
            out[G_SCALE] -= n * power / (alpha + groups[i, 2])
            continue
        log_span = math.log(alpha + groups[i, 1])
        gone = log_a - math.log(k) - power * log_span
        if gone > here:
            both = gone + math.log1p(math.exp(here - gone))
        else:
            both = here + math.log1p(math.exp(gone - here))
        w = math.exp(gone - both)
        out[G_LOG] += n * both
        out[G_RATE] -= n * ((1.0 - w) * log_age + w * log_span)
        out[G_SCALE] -= n * power * ((1.0 - w) / (alpha + groups[i, 2]) + w / (alpha + groups[i, 1]))
        out[G_DEAD] += n * w
        out[G_DEAD_BY] += n * w / k


@kernel
def _log_hyper(second: float, third: float, z: float) -> float:
    """The logarithm of 2F1(1, second; third; z), 0 <= z < 1, third > second > 0."""
    term = total = 1.0
    for n in range(_MOST_TERMS):
        term *= (second + n) / (third + n) * z
        total += term
        if term < _SMALL * total:
            break
    return math.log(total)


@kernel
def log_gone(r: float, alpha: float, s: float, beta: float, x: float, span: float, age: float) -> float:
    """The logarithm of the likelihood that the customer left between last purchase and now; Pareto/NBD.

    Fader and Hardie, A note on deriving the Pareto/NBD model, section 4; the hypergeometric function after Euler's
    transformation, which converges.
    """
    top, low = max(alpha, beta), min(alpha, beta)
    second = r + x if alpha >= beta else s + 1.0
    power = s if alpha >= beta else r + x - 1.0
    third = r + s + x + 1.0
    near = far = 0.0
    for i in range(2):
        t = span if i == 0 else age
        z = (top - low) / (top + t)
        # (1 - z)^-power * 2F1(1, second; third; z) / (top + t)^(r + s + x)
        log = _log_hyper(second, third, z) - power * math.log1p(-z) - (r + s + x) * math.log(top + t)
        if i == 0:
            near = log
        else:
            far = log
    if far >= near:
        return -math.inf
    return math.log(s) - math.log(r + s + x) + near + math.log1p(-math.exp(far - near))


@entry
def pareto(
    groups: NDArray[np.float64], r: float, alpha: float, s: float, beta: float, out: NDArray[np.float64]
) -> None:
    """Write the parts of the Pareto/NBD likelihood of each group that depend on times.

    Args:
        groups: float64[n, 4]: x, t, T, customers.
        r: shape of the rates of purchase.
        alpha: their scale, in the unit of the times.
        s: shape of the rates of leaving.
        beta: their scale.
        out: float64[n, 2], set: logarithms of the likelihoods of customers who are alive, and who have left.
    """
    for i in range(len(groups)):
        x, span, age = groups[i, 0], groups[i, 1], groups[i, 2]
        out[i, 0] = -(r + x) * math.log(alpha + age) - s * math.log(beta + age)
        out[i, 1] = log_gone(r, alpha, s, beta, x, span, age)
