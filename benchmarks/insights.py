"""How often places are alarmed about in calm times, and how soon an outage is found.

    python benchmarks/insights.py --series 2000 --days 67

Calm: visits of each series are Poisson, with a daily and a weekly rhythm of both volume and share of bad visits; volumes
are 2 to 200 an hour, shares 0.3% to 30%. Outage: 50 visits an hour, of which a share is bad from one minute on.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter

import numpy as np

from cxstream.insights.detector import HOUR, Change, Detector
from cxstream.insights.places import MEASURES

MONTH_DAYS = 30


def rhythm(hour: int) -> float:
    """Volume at an hour, relative to the mean."""
    weekday = 0.3 if (hour // 24) % 7 < 5 else -0.3
    return max(1 + 0.8 * np.sin((hour % 24 - 9) / 24 * 2 * np.pi) + weekday, 0.05)


def calm(series: int, days: int, seed: int) -> None:
    """Print the alarms of series of which nothing is wrong with any."""
    rng = np.random.default_rng(seed)
    rate = np.exp(rng.uniform(np.log(2), np.log(200), series))
    base = np.exp(rng.uniform(np.log(0.003), np.log(0.3), series))
    swing = rng.uniform(0, 0.6, series)
    detector, raised, total, started = Detector(series=series), Counter(), 0, time.perf_counter()
    for hour in range(days * 24):
        share = np.minimum(base * (1 + swing * np.sin((hour % 24) / 24 * 2 * np.pi)), 0.95)
        visits = rng.poisson(rate * rhythm(hour) / HOUR, (HOUR, series))
        bad = rng.binomial(visits, share)
        total += int(visits.sum())
        for minute in range(HOUR):
            some = np.flatnonzero(visits[minute])
            if len(some):
                alarms = detector.add(hour * HOUR + minute, some, visits[minute, some], bad[minute, some])
                raised.update(each.odds for each in alarms if each.change is Change.raised)
    watch = detector.watch
    months = (days - watch.least_days) / MONTH_DAYS
    found = raised.total() / series / months
    print(
        f"calm: {total:,} visits of {series:,} series in {days} days: {raised.total()} alarms, {found:.4f} a series and "
        f"month, {found * len(MEASURES) * 100:.2f} for 100 places; allowed {watch.false_alarms * len(MEASURES) * 100:.2f}; "
        f"{time.perf_counter() - started:.0f} s"
    )


def outages(repeats: int, seed: int) -> None:
    """Print how soon outages of several kinds are found at 50 visits an hour."""
    rng = np.random.default_rng(seed)
    shares, bases = (0.9, 0.5, 0.2), (0.005, 0.02, 0.05, 0.1)
    during = np.repeat(shares, repeats * len(bases))
    base = np.tile(bases, repeats * len(shares))
    detector, begin = Detector(series=len(base)), 28 * 24 * HOUR + 37
    found: dict[int, int] = {}
    for minute in range(begin + 600):
        share = base if minute < begin else np.maximum(base, during)
        visits = rng.poisson(50 / HOUR, len(base))
        bad, some = rng.binomial(visits, share), np.flatnonzero(visits)
        for each in detector.add(minute, some, visits[some], bad[some]) if len(some) else ():
            if each.change is Change.raised and minute >= begin:
                found.setdefault(each.series, minute + 1 - begin)
    for share in shares:
        for usual in bases:
            which = np.flatnonzero((during == share) & (base == usual))
            delays = [found[i] for i in which.tolist() if i in found]
            middle, late = np.quantile(delays, [0.5, 0.9]) if delays else (np.nan, np.nan)
            print(
                f"outage: {usual:.1%} -> {share:.0%} bad: {len(delays)} of {len(which)} found within 10 h, after "
                f"{middle:.1f} min (median), {late:.1f} (90%)"
            )


def main() -> None:
    """Run both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--series", type=int, default=400)
    parser.add_argument("--days", type=int, default=37)
    parser.add_argument("--repeats", type=int, default=50, help="outages of each kind")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    calm(args.series, args.days, args.seed)
    outages(args.repeats, args.seed)


if __name__ == "__main__":
    main()
