"""How often the statistics of `cxstream evaluate` err, and what they find, in simulated experiments and changes.

    python benchmarks/trials.py [--runs 4000]

It calls what the command calls. A share of N runs is known to within 1.96 sqrt(p (1 - p) / N), which is beside each figure.
"""

from __future__ import annotations

import argparse
import math
import sys
from typing import TYPE_CHECKING

import numpy as np
from scipy import signal

from cxstream.trials import statistics as s

if TYPE_CHECKING:
    from collections.abc import Iterator

# Days that the correlation from day to day takes to settle.
_WARM = 30
_RESAMPLES = 1000
_DAYS = (28, 56, 84)


def aa(runs: int, seed: int = 1, customers: int = 200, share: float = 0.2) -> tuple[float, float]:
    """Share of experiments without an effect that are significant at 5%: by the outcome, and with CUPED."""
    rng, hits = np.random.default_rng(seed), np.zeros(2)
    for _ in range(runs):
        before = rng.normal(size=customers)
        y, treated = before + rng.normal(size=customers), rng.random(customers) >= share
        hits += [_is_found(y, treated), _is_found(s.adjusted(y, before), treated)]
    plain, cuped = (hits / runs).tolist()
    return plain, cuped


def power(runs: int, seed: int = 2, customers: int = 1000, share: float = 0.3) -> tuple[float, float]:
    """Share of experiments in which the least detectable effect is significant: with CUPED, and by the outcome."""
    rng, hits = np.random.default_rng(seed), np.zeros(2)
    treated = np.arange(customers) >= customers * share
    # CUPED leaves a standard deviation of 1 of the 2.
    effect = s.detectable(1.0, customers * (1 - share), customers * share)
    for _ in range(runs):
        before = rng.normal(0, math.sqrt(3), customers)
        y = before + rng.normal(size=customers) + effect * treated
        hits += [_is_found(s.adjusted(y, before), treated), _is_found(y, treated)]
    cuped, plain = (hits / runs).tolist()
    return cuped, plain


def _is_found(y: s.Floats, treated: s.Bools) -> bool:
    found = s.difference(y, treated)
    return found is not None and found.p < s.ALPHA


def coverage(runs: int, sigma: float, seed: int = 3) -> tuple[float, float, float]:
    """Share of intervals that hold the true difference of spend: bootstrap, percentiles of resamples, and Welch's t.

    Args:
        runs: experiments of 280 treated and 120 held out; a third of the customers spend nothing.
        sigma: of the log-normal spend.
        seed: of chance.
    """
    rng, hits, treated = np.random.default_rng(seed), np.zeros(3), np.arange(400) < 280
    for run in range(runs):
        y = np.where(rng.random(400) < 1 / 3, 0, rng.lognormal(3, sigma, 400))
        ends, welch = s.bootstrap(y, treated, run), s.difference(y, treated)
        assert ends is not None
        assert welch is not None
        arms = (y[treated], y[~treated])
        means = [part[rng.integers(0, len(part), (_RESAMPLES, len(part)))].mean(1) for part in arms]
        low, high = np.quantile(means[0] - means[1], [s.ALPHA / 2, 1 - s.ALPHA / 2])
        hits += [ends[0] <= 0 <= ends[1], low <= 0 <= high, welch.low <= 0 <= welch.high]
    bootstrap, percentiles, plain = (hits / runs).tolist()
    return bootstrap, percentiles, plain


def slopes(runs: int, correlation: float = 0.4, seed: int = 6) -> tuple[float, ...]:
    """Share of slopes that are found, of 28, 56 and 84 days before a change; each moves by two deviations of a day."""
    rng, shares = np.random.default_rng(seed), []
    for days in _DAYS:
        line = np.linspace(0, 2 / math.sqrt(1 - correlation**2), days)
        hits, after = 0, np.arange(2 * days) >= days
        noise = rng.normal(size=(runs, 2 * days + _WARM))
        for gap in signal.lfilter([1], [1, -correlation], noise, axis=1)[:, _WARM:]:
            found = s.in_differences(gap + np.append(line, np.zeros(days)), np.zeros(2 * days), after)
            assert found is not None
            hits += found.slope_p < s.ALPHA
        shares.append(hits / runs)
    return tuple(shares)


def changes(runs: int, days: int, correlation: float, seed: int = 4) -> tuple[float, float, float]:
    """Share of changes without an effect that are significant, of slopes without one, and of pretended changes.

    Args:
        runs: changes.
        days: on each side.
        correlation: from one day to the next.
        seed: of chance.
    """
    rng, hits, after = np.random.default_rng(seed), np.zeros(3), np.arange(2 * days) >= days
    noise = rng.normal(size=(runs, 2 * days + _WARM))
    for gap in signal.lfilter([1], [1, -correlation], noise, axis=1)[:, _WARM:]:
        found = s.in_differences(gap, np.zeros(2 * days), after)
        assert found is not None
        assert found.placebo is not None
        hits += [each < s.ALPHA for each in (found.estimate.p, found.slope_p, found.placebo.p)]
    change, slope, placebo = (hits / runs).tolist()
    return change, slope, placebo


def sequence(runs: int, seed: int = 5, customers: int = 2000, every: int = 20) -> tuple[float, float]:
    """Share of experiments without an effect in which somebody who looks all the time is misled: sequence, and t."""
    rng, hits, treated = np.random.default_rng(seed), np.zeros(2), np.arange(customers) % 2 == 0
    for _ in range(runs):
        y, wrong = rng.normal(size=customers), np.zeros(2, bool)
        for look in range(100, customers + 1, every):
            found = s.difference(y[:look], treated[:look])
            assert found is not None
            low, high = s.anytime(found, look)
            wrong |= [not low <= 0 <= high, found.p < s.ALPHA]
        hits += wrong
    always, naive = (hits / runs).tolist()
    return always, naive


def lines(runs: int) -> Iterator[str]:
    """The figures, as lines of a table."""

    def row(what: str, of: int, *shares: float) -> str:
        return f"{what:64} {of:6,} " + "  ".join(
            f"{share:6.1%} +- {1.96 * math.sqrt(share * (1 - share) / of):.1%}" for share in shares
        )

    yield f"{'what':64} {'runs':>6} shares"
    yield row("A/A significant at 5%: plain, CUPED", runs, *aa(runs))
    some = max(runs // 2, 1)
    yield row("least detectable effect found (80% stated): CUPED, plain", 2 * runs, *power(2 * runs))
    few = max(runs // 4, 1)
    for sigma in (1.0, 1.5):
        yield row(
            f"intervals of spend (sigma {sigma:g}): bootstrap, percentiles, t",
            few,
            *coverage(few, sigma),
        )
    yield row(
        "no effect, significant at any of 96 looks: sequence, t", few // 4 or 1, *sequence(few // 4 or 1)
    )
    for correlation in (0.0, 0.4):
        yield row(
            f"a slope of two deviations found (28, 56, 84 days, {correlation:g})",
            few,
            *slopes(few, correlation),
        )
    for correlation in (0.4, 0.6, 0.8):
        for days in _DAYS:
            yield row(
                f"no change ({days} days, {correlation:g}): change, slope, pretended", some, *changes(some, days, correlation)
            )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--runs", type=int, default=4000, help="experiments without an effect; others are fewer"
    )
    for line in lines(parser.parse_args().runs):
        print(line)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
