"""Maximum likelihood: several starts, a check that they agree, and standard errors.

All parameters are above 0, so they are sought on the log scale. There the covariance is the inverse of the Hessian of the
negative log-likelihood; the delta method brings the standard errors back: se(value) = value * se(log value).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Likelihood = Callable[[Floats], tuple[float, Floats]]

# Values beyond e ** this are no finding: the likelihood has no maximum.
_FAR = 12.0
_STEP = 1e-4
_POLISHES = 4
# Log-likelihoods that differ less belong to the same maximum.
_SAME = 1e-2
# The largest slope of a customer's log-likelihood on the log scale at a maximum.
_FLAT = 1e-6
# ... where a parameter is at its end, and the others lie on a ridge: values are off by 1% at most.
_NEARLY_FLAT = 1e-3
# Parameters of the probability to leave after a purchase.
_LEAVING = frozenset({"a", "b"})


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted model.

    Attributes:
        names: of the parameters.
        values: float64[k].
        errors: float64[k], standard errors; NaN where the likelihood does not give any.
        log_likelihood: at the values.
        customers: how many it was fitted to.
        starts: starting points.
        agreeing: starting points from which the same maximum was found.
        problems: why it cannot be trusted; empty if it can.
        ran_off: parameters that ran off to 0 or infinity.
    """

    names: tuple[str, ...]
    values: Floats
    errors: Floats
    log_likelihood: float
    customers: int
    starts: int
    agreeing: int
    problems: tuple[str, ...]
    ran_off: tuple[str, ...] = ()

    @property
    def converged(self) -> bool:
        """Whether the values are a maximum of the likelihood."""
        return not self.problems

    @property
    def usable(self) -> bool:
        """Whether it foretells as a maximum does: at most it is unknown how customers differ in leaving, or whether any leave.

        With a and b of (M)BG/NBD at their ends and everything else at its best, all leave after a purchase with about the same
        probability, or nobody does: both are models, and all that is foretold of customers is known.
        """
        return set(self.ran_off) <= _LEAVING and len(self.problems) == len(self.ran_off)

    @property
    def aic(self) -> float:
        """Akaike's information criterion; smaller is better."""
        return 2 * len(self.names) - 2 * self.log_likelihood

    def parameters(self) -> dict[str, float]:
        """Values by name."""
        return dict(zip(self.names, self.values.tolist(), strict=True))


def fit(
    names: tuple[str, ...],
    likelihood: Likelihood,
    customers: int,
    starts: Sequence[Sequence[float]],
    rough: Likelihood | None = None,
) -> Fit:
    """Find the maximum of a likelihood.

    Args:
        names: of the parameters.
        likelihood: gives the log-likelihood of values, and its derivatives.
        customers: how many it is of.
        starts: values to start from.
        rough: a quicker one that is much the same, for the first search.
    """
    # A mean, so that tolerances do not depend on the number of customers.
    found = [
        _search(rough or likelihood, customers, np.log(start), quick=rough is not None) for start in starts
    ]
    best = min(found, key=lambda each: each[0])
    if rough is not None:
        best = _search(likelihood, customers, best[1], quick=False)
        agreeing = sum(bool(np.abs(each[1] - best[1]).max() < 0.1) for each in found)  # noqa: PLR2004
    else:
        agreeing = sum((each[0] - best[0]) * customers < _SAME for each in found)
    theta, slope, hessian = _polished(likelihood, customers, best[1])
    total, _ = likelihood(np.exp(theta))
    errors, problems = _errors(names, theta, slope, hessian, customers)
    return Fit(
        names,
        np.exp(theta),
        errors,
        total,
        customers,
        len(starts),
        max(agreeing, 1),
        tuple(problems),
        tuple(name for name, far in zip(names, _is_far(theta).tolist(), strict=True) if far),
    )


def _search(likelihood: Likelihood, n: int, start: Floats, *, quick: bool) -> tuple[float, Floats]:
    def objective(theta: Floats) -> tuple[float, Floats]:
        values = np.exp(theta)
        total, slopes = likelihood(values)
        return -total / n, -slopes * values / n

    tolerance = 1e-9 if quick else 1e-13
    result = minimize(
        objective,
        np.clip(start, -_FAR, _FAR),
        jac=True,
        method="L-BFGS-B",
        bounds=[(-_FAR, _FAR)] * len(start),
        options={"ftol": tolerance, "gtol": 1e-8, "maxiter": 500},
    )
    return float(result.fun), np.asarray(result.x)


def _slope(likelihood: Likelihood, theta: Floats) -> Floats:
    """Derivatives of the log-likelihood on the log scale."""
    values = np.exp(theta)
    return likelihood(values)[1] * values


def _hessian(likelihood: Likelihood, theta: Floats) -> Floats:
    """Second derivatives of the log-likelihood on the log scale, by central differences of the first."""
    k = len(theta)
    found = np.empty((k, k))
    for i in range(k):
        step = np.zeros(k)
        step[i] = _STEP
        found[i] = (_slope(likelihood, theta + step) - _slope(likelihood, theta - step)) / (2 * _STEP)
    return (found + found.T) / 2


def _polished(likelihood: Likelihood, n: int, theta: Floats) -> tuple[Floats, Floats, Floats]:
    """Newton steps with one Hessian from a point near the maximum; returns the point, and slope and Hessian there."""
    slope, hessian, moves = _slope(likelihood, theta), _hessian(likelihood, theta), 0.0
    for _ in range(_POLISHES):
        if not _is_maximum(hessian) or np.abs(slope).max() < _FLAT * 1e-3 * n:
            break
        step = np.linalg.solve(hessian, -slope)
        moved = theta + np.clip(step, -1, 1)
        if (
            np.abs(moved).max() > _FAR
            or np.abs(new := _slope(likelihood, moved)).max() >= np.abs(slope).max()
        ):
            break
        theta, slope, moves = moved, new, moves + np.abs(step).max()
    # The Hessian of a point that is further away is another one.
    return theta, slope, _hessian(likelihood, theta) if moves > _STEP else hessian


def _is_far(theta: Floats) -> NDArray[np.bool_]:
    return np.abs(theta) > _FAR - 0.1


def _is_maximum(hessian: Floats) -> bool:
    return bool(np.isfinite(hessian).all() and np.linalg.eigvalsh(hessian).max() < 0)


def _errors(
    names: Sequence[str], theta: Floats, slope: Floats, hessian: Floats, n: int
) -> tuple[Floats, list[str]]:
    problems = []
    far = _is_far(theta)
    for name, each, is_far in zip(names, theta.tolist(), far.tolist(), strict=True):
        if is_far:
            problems.append(
                f"{name} runs off to {'infinity' if each > 0 else '0'}: the data do not say what it is"
            )
    if np.abs(slope[~far]).max(initial=0) > (_NEARLY_FLAT if far.any() else _FLAT) * n:
        problems.append("the search stopped before the maximum")
    if not _is_maximum(hessian):
        if not problems:
            problems.append("the likelihood is flat at the values found: no standard errors")
        return np.full(len(theta), np.nan), problems
    variances = np.diag(np.linalg.inv(-hessian))
    return np.exp(theta) * np.sqrt(variances), problems
