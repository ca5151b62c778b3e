"""What the models of purchases take to fit, how far they are from the truth, and how far from other software.

    python benchmarks/purchases.py [--customers 1000000] [--cdnow ../shared/data/cdnow]

The customers are simulated by MBG/NBD and Gamma-Gamma with known parameters, and observed for 20 to 104 weeks. Purchases count
by calendar days, as in the stream: two on one day are one, which the model does not know. So its parameters are compared with
the truth by exact moments as well. Figures of the CDNOW customers are compared with those of two other programs at the same
parameters.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cxstream.training.customers import Customers, group
from cxstream.training.foretell import foretell, given
from cxstream.training.models import MBG_NBD, MODELS
from cxstream.training.purchases import Fitted, fit_model, fit_purchases

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cxstream.training.fit import Fit

# Beside the checkout.
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "cdnow"
# Per week, and in the base currency.
BUYS = {"r": 0.55, "alpha": 6.0, "a": 0.8, "b": 2.5}
SPENDS = {"p": 6.25, "q": 3.74, "v": 15.44}
PUBLISHED = "bg_nbd=0.243,4.414,0.793,2.426", "6.25,3.74,15.44"
FILES = "reference_lifetimes_published_params.csv", "reference_R_BTYD_published_params.csv"
_NAMES = {"frequency": "x", "recency": "t_x", "monetary_value": "zbar"}
_COMING = "exp_purch_"
_WEEK = 7.0
_LEAST, _MOST = 20 * 7, 104 * 7
_SMALL = 20_000


def simulated(count: int, seed: int = 1, *, exact: bool = False) -> Customers:
    """Customers of a shop that follows the models; times in weeks.

    Args:
        count: how many.
        seed: of chance.
        exact: each purchase counts at its moment; else by calendar days, as in the stream.
    """
    rng = np.random.default_rng(seed)
    rate = rng.gamma(BUYS["r"], 1 / BUYS["alpha"], count) / _WEEK
    leaves = rng.beta(BUYS["a"], BUYS["b"], count)
    age = rng.integers(_LEAST, _MOST, count)
    # Neither the first purchase nor the end of the log is at midnight.
    first, end = rng.random(count), age + rng.random(count)
    now, days, last = first.copy(), np.ones(count), np.zeros(count)
    here = np.flatnonzero(rng.random(count) >= leaves)
    while len(here):
        now[here] += rng.exponential(1 / rate[here])
        here = here[now[here] < end[here]]
        day = now[here] - first[here] if exact else np.floor(now[here])
        days[here] += day > last[here]
        last[here] = day
        here = here[rng.random(len(here)) >= leaves[here]]
    scale = rng.gamma(SPENDS["q"], 1 / SPENDS["v"], count)
    mean = rng.gamma(SPENDS["p"] * days) / scale / days
    return Customers(days - 1, last / _WEEK, (end - first if exact else age) / _WEEK, days, mean)


def timed(customers: Customers) -> tuple[Fitted, list[tuple[str, float, float]]]:
    """The fitted models, and the processor time and clock time of each step in seconds."""
    steps: list[tuple[str, float, float]] = [("grouping", time.process_time(), time.perf_counter())]
    found = fit_purchases(
        customers, on_fit=lambda title: steps.append((title, time.process_time(), time.perf_counter()))
    )
    steps.append(("", time.process_time(), time.perf_counter()))
    pairs = itertools.pairwise(steps)
    return found, [(name, cpu - before, clock - start) for (name, before, start), (_, cpu, clock) in pairs]


def biases(title: str, fit: Fit, truth: dict[str, float]) -> Iterator[str]:
    """Truth, value, standard error and bias of each parameter, as lines of a table."""
    for (name, value), error in zip(fit.parameters().items(), fit.errors.tolist(), strict=True):
        right = truth[name]
        yield f"{title:20} {name:6} {right:8.3f} {value:8.3f} {error:8.4f} {value / right - 1:+7.2%}"


def agreement(file: Path) -> dict[str, float]:
    """The largest absolute differences from what other software foretells of customers, by figure.

    Args:
        file: CSV with x (or frequency), t_x (or recency), T, zbar (or monetary_value), and the figures that it foretold by
            the published parameters of BG/NBD and Gamma-Gamma.
    """
    with file.open(newline="") as lines:
        rows = [{name.strip(): value for name, value in row.items()} for row in csv.DictReader(lines)]
    known = {_NAMES.get(name, name): [float(row[name]) for row in rows] for name in rows[0]}
    x, t_x, age, mean = (np.array(known[name]) for name in ("x", "t_x", "T", "zbar"))
    ahead = [float(name.removeprefix(_COMING)) for name in known if name.startswith(_COMING)]
    # Here the mean of a customer is that of the repeats.
    ours = foretell(Customers(x, t_x, age, x, mean), given(*PUBLISHED), ahead)
    theirs = {f"purchases_{each:g}": known[f"{_COMING}{each:g}"] for each in ahead}
    theirs |= {"p_alive": known["p_alive"], "spend": known["exp_avg_profit"]}
    return {name: float(np.abs(ours[name] - np.array(theirs[name])).max()) for name in ours}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--cdnow", type=Path, default=SHARED, help="folder with the references")
    args = parser.parse_args()
    fit_purchases(simulated(_SMALL, seed=2))  # compiles the kernels
    customers = simulated(args.customers)
    groups = len(group(customers).table)
    print(
        f"{len(customers):,} customers in {groups:,} groups, {np.mean(customers.repeats > 0):.0%} with a repeat"
    )
    found, steps = timed(customers)
    print(f"{'step':14} {'CPU s':>8} {'clock s':>8}")
    steps.append(("together", sum(cpu for _, cpu, _ in steps), sum(clock for _, _, clock in steps)))
    for name, cpu, clock in steps:
        print(f"{name:14} {cpu:8.2f} {clock:8.2f}")
    print(f"{'model':20} {'':6} {'truth':>8} {'found':>8} {'error':>8} {'bias':>7}")
    moments = fit_model(MBG_NBD, group(simulated(args.customers, exact=True)))
    assert found.spend is not None  # all amounts are known
    for title, fit, truth in (
        ("MBG/NBD by moments", moments, BUYS),
        ("MBG/NBD by days", found.purchases[MBG_NBD.name], BUYS),
        ("Gamma-Gamma", found.spend, SPENDS),
    ):
        print("\n".join(biases(title, fit, truth)))
    for model in MODELS:
        print(f"{model.title}: {found.purchases[model.name].problems or 'converged'}")
    for file in FILES:
        path = args.cdnow / file
        if not path.exists():
            print(f"{file}: not compared, {args.cdnow} does not have it")
            continue
        said = ", ".join(f"{name} {value:.1e}" for name, value in agreement(path).items())
        print(f"{file}, largest differences: {said}")


if __name__ == "__main__":
    main()
