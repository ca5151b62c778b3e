"""Whether the half-widths hold the customer's next answer: coverage by how much was known of simulated customers.

    python benchmarks/margins.py --customers 8000 --days 180

At weekly cutoffs, effort and satisfaction of everybody are set against the next answer that they give within a week. An interval of
95% should hold 93 to 97% of them, however many answers and touches there were before.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from cxstream.model.parameters import ScoringParams

sys.path.insert(0, str(Path(__file__).parent))
from churn_features import EVERY, WARMUP, Cut, arguments, live

PARAMS = ScoringParams()
ANSWERS = ((0.0, 1e-9, "none"), (1e-9, 0.5, "below 0.5"), (0.5, np.inf, "0.5 or more"))
TOUCHES = ((0, 35, "below 35"), (35, 65, "35 to 65"), (65, np.inf, "65 or more"))
FEW = 100


def half_width(spread, weight, touches):
    """As in docs/scoring.md."""
    more = spread**2 / (PARAMS.prior_strength + weight + PARAMS.touch_weight * touches)
    return PARAMS.z * np.sqrt(PARAMS.answer_sd**2 + more)


def next_answers(days, name, time):
    """The first day with an answer in the week after a cutoff, and its mean value; NaN without one."""
    weights = days.of[f"{name}_n"][:, time : time + EVERY].astype(float)
    sums = days.of[f"{name}_sum"][:, time : time + EVERY]
    place = np.argmax(weights > 0, axis=1)
    here = np.arange(len(weights))
    weight = weights[here, place]
    return np.where(weight > 0, sums[here, place] / np.maximum(weight, 1e-9), np.nan)


def rows_of(days, cut, name, x, spread):
    """Score, half-width, weight of answers, touches and next answer of those who give one."""
    weight, touches = cut.decayed(f"{name}_n"), cut.decayed("touches")
    answer = next_answers(days, name, cut.time)
    rows = np.column_stack([100 * x, half_width(spread, weight, touches), weight, touches, answer])
    return rows[np.isfinite(answer)]


def main() -> None:
    args = arguments(__doc__)
    days, _ = live(args.customers, args.days, args.seed)
    found = {"effort": [], "satisfaction": []}
    for time in range(WARMUP, args.days - EVERY + 1, EVERY):
        cut = Cut(days, time)
        x = cut.features()
        found["effort"].append(rows_of(days, cut, "ease", x["effort"], PARAMS.effort_spread))
        satisfied = 1 - x["dissatisfaction"]
        found["satisfaction"].append(rows_of(days, cut, "sat", satisfied, PARAMS.satisfaction_spread))
    for name, parts in found.items():
        report(name, np.concatenate(parts))


def report(name, rows) -> None:
    score, width, weight, touches, answer = rows.T
    held = np.abs(answer - score) <= width
    print(f"\n{name}: {len(rows):,} answers, half-width {width.mean():.0f}, {held.mean():.1%} held")
    print(f"  {'answers before':15}{'touches':12}{'answers':>8}{'half-width':>12}{'held':>8}")
    for least, most, answers in ANSWERS:
        for low, high, count in TOUCHES:
            here = (weight >= least) & (weight < most) & (touches >= low) & (touches < high)
            n = int(here.sum())
            said = f"{held[here].mean():8.1%}" if n >= FEW else "     few"
            print(f"  {answers:15}{count:12}{n:8,}{width[here].mean() if n else 0:12.0f}{said}")


if __name__ == "__main__":
    main()
