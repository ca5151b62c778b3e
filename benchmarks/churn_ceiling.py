"""How well departures of simulated customers can be foretold at all: the AUC of who knows everything but the future.

    python benchmarks/churn_ceiling.py --customers 20000

Customers of `cxstream simulate` leave out of a pain that nobody sees, and troubles to come add to it. So even who knows pain,
tolerance, luck, habits and decisions of everybody at a cutoff cannot tell for certain who leaves after it. From each cutoff
on, the same customers live on many times under other chances, and nobody decides to leave; the hazards that they meet give
the probability to leave. No model can rank better than that, and one that sees only events ranks worse.

    everything         pain, tolerance, luck and habits; who has decided to leave, and for which day
    without decisions  the same, but not who has decided: their probability is that of a customer who has not
    pain and decision  pain / tolerance, and whether the customer has decided, by gradient boosting
    pain               pain / tolerance
"""

from __future__ import annotations

import argparse

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import cross_val_predict

from cxstream.model.kinds import Kind
from cxstream.model.parameters import DAY_MS
from cxstream.simulate.departures import NOTICE_DAYS, Departures, hazard
from cxstream.simulate.life import Life
from cxstream.simulate.people import GONE, LEAVING
from cxstream.simulate.rows import rows
from cxstream.training.measures import auc, calibration_error

HORIZONS = (7, 30)
WARMUP, EVERY = 60, 15
# A decision comes at any hour of its day.
MIDDAY = 0.5


class Undecided(Departures):
    """Nobody decides to leave or comes back; the hazards are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.hazards = []

    def _decide(self, day):
        self.hazards.append(hazard(day.people))
        return _none()

    def _won_back(self, _day):
        return _none()

    def probability(self, horizon):
        """To leave within `horizon` days: the decision comes on a day, the departure days later."""
        least, most = NOTICE_DAYS
        staying, found = np.ones_like(self.hazards[0]), np.zeros_like(self.hazards[0])
        for number, today in enumerate(self.hazards[:horizon]):
            found += staying * today * np.clip((horizon - number - MIDDAY - least) / (most - least), 0, 1)
            staying *= 1 - today
        return found


def _none():
    return rows(Kind.churned, np.zeros(0, np.int64), np.zeros(0, np.int64))


def live_on(life, lives):
    """Probabilities by horizon, of customers who have not decided yet; a mean over many lives."""
    total = {horizon: np.zeros(len(life.people)) for horizon in HORIZONS}
    for seed in range(lives):
        undecided = Undecided()
        days = life.again(seed, undecided).days()
        for _ in range(max(HORIZONS)):
            next(days)
        for horizon in HORIZONS:
            total[horizon] += undecided.probability(horizon) / lives
    return total


def cutoffs(customers, days, seed, lives):
    """At each cutoff: what is known, and the departures to come."""
    life = Life(customers, 0, seed)
    found = []
    for day, _ in life.days():
        now, end = day.end, (day.number + 1) % EVERY == 0
        if end and WARMUP <= day.number + 1 <= days - max(HORIZONS):
            people = life.people
            # Departures of the day that begins are not stepped yet: by time, as they will be.
            gone = (people.state == GONE) | (people.left_at <= now)
            found.append(
                {
                    "time": now,
                    "here": ~gone,
                    "strain": people.pain / people.tolerance,
                    "leaving": (people.state == LEAVING) & ~gone,
                    "left_at": people.left_at.copy(),
                    "chance": live_on(life, lives),
                }
            )
            print(f"day {day.number + 1}: {np.count_nonzero(~gone):,} customers", flush=True)
        if day.number + 1 >= days:
            return found, life.departures.of
    return found, {}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--days", type=int, default=150)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--lives", type=int, default=20, help="how many times everybody lives on from each cutoff"
    )
    args = parser.parse_args()
    found, left = cutoffs(args.customers, args.days, args.seed, args.lives)
    for horizon in HORIZONS:
        report(horizon, found, left)


def report(horizon, found, left):
    parts = {name: [] for name in ("y", "who", "everything", "without", "strain", "leaving")}
    for each in found:
        here, end = np.flatnonzero(each["here"]), each["time"] + horizon * DAY_MS
        y = [any(each["time"] < d.left_at <= end for d in left.get(i, ())) for i in here.tolist()]
        chance = each["chance"][horizon][here]
        soon = each["left_at"][here] <= end
        parts["y"].append(np.array(y))
        parts["who"].append(here)
        parts["everything"].append(np.where(each["leaving"][here], soon, chance))
        parts["without"].append(chance)
        parts["strain"].append(each["strain"][here])
        parts["leaving"].append(each["leaving"][here])
    part = {name: np.concatenate(values) for name, values in parts.items()}
    y, w = part["y"], np.ones(len(part["y"]))
    trees = HistGradientBoostingClassifier(max_iter=60, learning_rate=0.1, max_leaf_nodes=15, random_state=0)
    known = np.c_[part["strain"], part["leaving"]]
    both = cross_val_predict(trees, known, y, cv=4, method="predict_proba")[:, 1]
    print(
        f"\n{horizon} days: {len(y):,} customers at {len(found)} cutoffs, {y.mean():.2%} leave, "
        f"{part['leaving'].mean():.2%} have decided already, {y[part['leaving']].sum() / y.sum():.0%} of those who leave"
    )
    for name, p in (
        ("everything", part["everything"].astype(float)),
        ("without decisions", part["without"]),
        ("pain and decision", both),
        ("pain", part["strain"]),
    ):
        ece = f", calibration error {calibration_error(y, p, w):.4f}" if name != "pain" else ""
        print(f"  {name:18} AUC {auc(y, p, w):.4f}{ece}")


if __name__ == "__main__":
    main()
