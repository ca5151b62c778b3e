"""Comparisons of the treated with the holdout: pure, on arrays.

Sources: CUPED: Deng, Xu, Kohavi and Walker 2013. Ratio of samples: Fabijan et al. 2019. Anytime-valid sequences:
Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2024 (asymptotic, two-sided). Qini: Radcliffe 2007.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct
from scipy import stats

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

ALPHA = 0.05
POWER = 0.8
RESAMPLES = 2000
# Customers at which the sequence is narrowest, chosen before any data: another number needs another sequence.
SEQUENCE_AT = 2000
DECILES = 10
# A block of days that are compared as one: a week, so that weekdays do not matter; two where there are eight weeks or more, which
# hides more of what days have in common.
_BLOCK_DAYS, _LONG_DAYS, _LEAST_BLOCKS = 7, 56, 3
# A line through three blocks would have one degree of freedom.
_LEAST_TREND = 4
# Random numbers that a batch of the bootstrap holds.
_BATCH = 4_000_000
_LEAST = 2


class Estimate(Struct, frozen=True):
    """A difference, treated less holdout.

    Attributes:
        difference: of the means.
        low: end of its interval of 95%.
        high: the other end.
        p: two-sided p-value that there is none.
        error: standard error.
    """

    difference: float
    low: float
    high: float
    p: float
    error: float


def difference(y: Floats, treated: Bools) -> Estimate | None:
    """The difference of the means, by Welch's t; None where an arm has fewer than two customers.

    Args:
        y: float64[n], the outcome.
        treated: bool[n].
    """
    a, b = y[treated], y[~treated]
    if min(len(a), len(b)) < _LEAST:
        return None
    parts = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    error, found = math.sqrt(sum(parts)), float(a.mean() - b.mean())
    if error == 0:
        return Estimate(found, found, found, 1.0 if found == 0 else 0.0, 0.0)
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / (len(a) - 1) + parts[1] ** 2 / (len(b) - 1))
    margin = float(stats.t.ppf(1 - ALPHA / 2, freedom)) * error
    p = 2 * float(stats.t.sf(abs(found) / error, freedom))
    return Estimate(found, found - margin, found + margin, p, error)


def adjusted(y: Floats, before: Floats) -> Floats:
    """The outcome without what the time before the experiment explains (CUPED).

    The expectation of a difference of arms does not change, since the arms do not depend on what was before. Where nothing
    was known before, the mean stands in.

    Args:
        y: float64[n].
        before: float64[n], of the same customers, before their arm mattered; nan where it is not known.
    """
    known = ~np.isnan(before)
    if known.sum() < _LEAST:
        return y
    x = np.where(known, before, before[known].mean())
    spread = x.var()
    if spread == 0:
        return y
    slope = ((x - x.mean()) * (y - y.mean())).mean() / spread
    result: Floats = y - slope * (x - x.mean())
    return result


def bootstrap(y: Floats, treated: Bools, seed: int = 0) -> tuple[float, float] | None:
    """An interval of 95% of the difference of the means that does not assume a normal distribution.

    Symmetric and studentized: the quantile of t is that of the resamples, which have standard errors of their own. Of
    differences of skewed means it covers more nearly 95% than the percentiles of resamples. None where an arm has fewer than
    two customers.

    Args:
        y: float64[n], the outcome.
        treated: bool[n].
        seed: of the resampling: the same data give the same interval.
    """
    found = difference(y, treated)
    if found is None:
        return None
    if found.error == 0:
        return found.difference, found.difference
    rng = np.random.default_rng(seed)
    means, squares = zip(*(_resampled(part, rng) for part in (y[treated], y[~treated])), strict=True)
    errors = np.sqrt(squares[0] + squares[1])
    away = np.abs(means[0] - means[1] - found.difference)
    # A resample of equal values is as far from the mean as it can be.
    t = np.divide(away, errors, out=np.full(len(away), np.inf), where=errors > 0)
    margin = float(np.quantile(t, 1 - ALPHA, method="lower")) * found.error
    if not math.isfinite(margin):
        return found.low, found.high
    return found.difference - margin, found.difference + margin


def _resampled(y: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Means of resamples, and the squares of their standard errors."""
    rows = max(1, _BATCH // len(y))
    means, squares = [], []
    for start in range(0, RESAMPLES, rows):
        drawn = y[rng.integers(0, len(y), (min(rows, RESAMPLES - start), len(y)))]
        means.append(drawn.mean(axis=1))
        squares.append(drawn.var(axis=1, ddof=1) / len(y))
    return np.concatenate(means), np.concatenate(squares)


def ratio_p(treated: int, holdout: int, share: float) -> float:
    """How surely the sizes of the arms contradict the share held out: chi-square, one degree of freedom.

    Args:
        treated: customers.
        holdout: customers.
        share: that should be held out, 0..1.

    Returns:
        A p-value; small: the assignment or the data are broken.
    """
    total = treated + holdout
    if total == 0:
        return 1.0
    return float(stats.chisquare([treated, holdout], [total * (1 - share), total * share]).pvalue)


def anytime(estimate: Estimate, customers: int) -> tuple[float, float]:
    """An interval of 95% that holds at every look, however often somebody looks.

    Args:
        estimate: the difference.
        customers: of both arms.
    """
    log = -2 * math.log(ALPHA)
    rho2 = (log + math.log(log) + 1) / SEQUENCE_AT
    grown = customers * rho2
    margin = estimate.error * math.sqrt(2 * (grown + 1) / grown * math.log(math.sqrt(grown + 1) / ALPHA))
    return estimate.difference - margin, estimate.difference + margin


def detectable(deviation: float, treated: float, holdout: float, power: float = POWER) -> float:
    """The least difference that a test at 5% finds with this power.

    Args:
        deviation: standard deviation of the outcome, after CUPED.
        treated: customers.
        holdout: customers.
        power: chance to find it, above 0.05 and below 1.
    """
    if min(treated, holdout) <= 0:
        return math.inf
    quantiles = float(stats.norm.ppf(1 - ALPHA / 2) + stats.norm.ppf(power))
    return quantiles * deviation * math.sqrt(1 / treated + 1 / holdout)


def needed(deviation: float, effect: float, share: float, power: float = POWER) -> float:
    """Customers of both arms that it takes to find an effect with this power.

    Args:
        deviation: standard deviation of the outcome, after CUPED.
        effect: the difference to find; not 0.
        share: that is held out, 0..1.
        power: chance to find it.
    """
    return (detectable(deviation, 1 - share, share, power) / abs(effect)) ** 2


class Decile(Struct, frozen=True):
    """A tenth of the customers, by what the model said before the arm mattered.

    Attributes:
        decile: 1 is the tenth with the highest risk.
        treated: customers.
        holdout: customers.
        estimate: the difference of the outcome; None where an arm has fewer than two.
    """

    decile: int
    treated: int
    holdout: int
    estimate: Estimate | None


def _ranked(score: Floats) -> NDArray[np.intp]:
    """Customers, the highest score first; ties in their order."""
    return np.argsort(-score, kind="stable")


def deciles(y: Floats, treated: Bools, score: Floats) -> list[Decile]:
    """The difference by tenths of a score, the highest first.

    Args:
        y: float64[n], the outcome.
        treated: bool[n].
        score: float64[n], known before.
    """
    return [
        Decile(i, int(treated[part].sum()), int((~treated[part]).sum()), difference(y[part], treated[part]))
        for i, part in enumerate(np.array_split(_ranked(score), DECILES), 1)
    ]


class Qini(Struct, frozen=True):
    """How much of the effect those with the highest scores have.

    Attributes:
        share: part of the customers that is treated, from the highest score on, 0..1.
        gain: of the outcome, per customer of all, if only these were treated.
        area: between the curve and the line of treating by chance; above 0: the score finds those who can be kept.
    """

    share: list[float]
    gain: list[float]
    area: float


def qini(y: Floats, treated: Bools, score: Floats, points: int = 50) -> Qini:
    """The Qini curve.

    Args:
        y: float64[n], an outcome of which more is better.
        treated: bool[n].
        score: float64[n], known before.
        points: of the curve, beside its start.
    """
    order, n = _ranked(score), len(y)
    y, t = y[order], treated[order]
    counts = np.cumsum(t), np.cumsum(~t)
    sums = np.cumsum(np.where(t, y, 0)), np.cumsum(np.where(t, 0, y))
    with np.errstate(divide="ignore", invalid="ignore"):
        lift = sums[0] / counts[0] - sums[1] / counts[1]
    gain = np.where((counts[0] > 0) & (counts[1] > 0), lift, 0) * np.arange(1, n + 1) / n
    at = np.unique(np.linspace(0, n, points + 1).round().astype(int)[1:])
    share = np.concatenate([[0.0], at / n])
    curve = np.concatenate([[0.0], gain[at - 1]])
    area = float(np.trapezoid(curve - share * curve[-1], share))
    return Qini(share.tolist(), curve.tolist(), area)


class Trend(Struct, frozen=True):
    """A difference in differences, and whether both ran in parallel before.

    Attributes:
        estimate: what the change did, in the unit of the measure.
        slope: of the difference between both before the change, a day.
        slope_low: end of its interval of 95%.
        slope_high: the other end.
        slope_p: p-value that it is 0; small: they did not run in parallel, and the estimate means nothing.
        days_before: days with both.
        days_after: days with both.
        placebo: what a change halfway through the days before would have done, by the same test: there was none, so a
            small p-value means that something else moves them apart; None where there are fewer than six days.
    """

    estimate: Estimate
    slope: float
    slope_low: float
    slope_high: float
    slope_p: float
    days_before: int
    days_after: int
    placebo: Estimate | None = None


def in_differences(changed: Floats, control: Floats, after: Bools) -> Trend | None:
    """What a change did, by the daily difference between where it was made and where it was not.

    Days follow each other, and are no independent observations (Bertrand, Duflo and Mullainathan 2004). So the unit is a
    block of days, and the means of the blocks before and after are compared by Welch's t (Ibragimov and Mueller 2010). The
    trend before the change is that of the same blocks.

    Args:
        changed: float64[days], the measure where the change was made.
        control: float64[days], where it was not.
        after: bool[days].

    Returns:
        None where there are fewer than three days before or after.
    """
    gap = changed - control
    before, later = gap[~after], gap[after]
    if min(len(before), len(later)) < _LEAST_BLOCKS:
        return None
    estimate, size = _compared(before, later)
    slope, margin, slope_p = _slope(before, size)
    half = len(before) // 2
    placebo = _compared(before[:half], before[half:])[0] if half >= _LEAST_BLOCKS else None
    return Trend(estimate, slope, slope - margin, slope + margin, slope_p, len(before), len(later), placebo)


def _compared(before: Floats, later: Floats) -> tuple[Estimate, int]:
    """The difference of the means of blocks, and how many days a block has; at least three days of each."""
    size = _BLOCK_DAYS * (2 if min(len(before), len(later)) >= _LONG_DAYS else 1)
    blocks = [_blocks(days, size) for days in (before, later)]
    y = np.concatenate(blocks)
    estimate = difference(y, np.arange(len(y)) >= len(blocks[0]))
    assert estimate is not None  # noqa: S101 - both have three blocks or more
    return estimate, size


def _slope(days: Floats, size: int) -> tuple[float, float, float]:
    """The slope over the means of blocks by least squares, half its interval of 95%, and its p-value."""
    blocks = [part.mean() for part in _split(days, size, _LEAST_TREND)]
    middles = [part.mean() for part in _split(np.arange(len(days), dtype=float), size, _LEAST_TREND)]
    if np.ptp(blocks) == 0:
        return 0.0, 0.0, 1.0
    found = stats.linregress(middles, blocks)
    margin = float(stats.t.ppf(1 - ALPHA / 2, len(blocks) - 2)) * float(found.stderr)
    return float(found.slope), margin, float(found.pvalue)


def _split(days: Floats, size: int, least: int) -> list[Floats]:
    """Blocks of about this size, at least so many where there are as many days."""
    return np.array_split(days, max(min(least, len(days)), len(days) // size))


def _blocks(days: Floats, size: int) -> Floats:
    """Means of at least three blocks of days, of about this size."""
    return np.array([block.mean() for block in _split(days, size, _LEAST_BLOCKS)])
