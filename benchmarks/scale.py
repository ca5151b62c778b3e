"""How the state scales: with customers, active days, partitions, and one customer who has 5% of all events.

    python benchmarks/scale.py [--curves customers,days,partitions,hot] [--largest 1000000] [--plot scale.svg]

Each point is a process of its own, with the state of a worker and without Kafka: events/s into the state by the
kernels, resident bytes a customer, a sweep at midnight, a snapshot of all customers, and the restore from it, in seconds
of processor time. Behind each curve stands by which power of its variable each figure grows.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from cxstream.model.parameters import DAY_MS, ScoringParams
from cxstream.scoring.engine import Engine
from population import apply_events

MEASURES = ("events/s", "bytes a customer", "sweep s", "snapshot s", "restore s")
BATCH = 20_000
WINDOW_DAYS = 90


@dataclass(frozen=True, slots=True)
class Point:
    """A state to measure.

    Attributes:
        customers: in all partitions.
        days: active days of each; below 1, the share of customers who are active on a day of their own.
        partitions: in one process.
        hot: share of all events that one customer has.
    """

    customers: int = 100_000
    days: float = 5.0
    partitions: int = 1
    hot: float = 0.0


def curves(largest: int) -> dict[str, tuple[str, list[Point]]]:
    """Name: what is varied, and the points."""
    sizes = [n for n in (10_000, 100_000, 1_000_000, 5_000_000) if n <= largest]
    return {
        "customers": ("customers", [Point(customers=n) for n in sizes]),
        "days": ("days", [Point(days=n) for n in (0.1, 1.0, 5.0, 20.0, 90.0)]),
        "partitions": ("partitions", [Point(partitions=n) for n in (1, 4, 16, 64)]),
        "hot": ("hot", [Point(hot=share) for share in (0.0, 0.05)]),
    }


def resident() -> int:
    """Resident bytes of this process now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def customers_on(day: int, point: Point) -> np.ndarray:
    """The numbers of the customers with an event on a day, of one partition."""
    mine = max(point.customers // point.partitions, 1)
    if point.days >= 1:
        return np.arange(mine)
    # Everybody has an event in the window once every 1 / days windows; those of this one stay.
    return np.arange(mine)[np.arange(mine) % WINDOW_DAYS == day % WINDOW_DAYS]


def fill(engines: list[Engine], point: Point, first_day: int) -> float:
    """Events a second of processor time."""
    days = round(point.days) if point.days >= 1 else round(WINDOW_DAYS * point.days)
    apart = max(WINDOW_DAYS // (days + 1), 1)
    offset, seconds = 0, 0.0
    small = max(BATCH // point.partitions, 1)
    for n in range(days):
        for number, engine in enumerate(engines):
            who = customers_on(n, point)
            for begin in range(0, len(who), small):
                chosen = who[begin : begin + small].copy()
                if point.hot:
                    chosen[:: round(1 / point.hot)] = 0
                names = [f"customer-{number:02d}-{i:08d}" for i in chosen.tolist()]
                started = time.process_time()
                apply_events(engine.partition, names, (first_day + n * apart) * DAY_MS, offset)
                seconds += time.process_time() - started
                offset += len(names)
    return offset / seconds if seconds else math.nan


def measured(point: Point) -> dict[str, float]:
    """All measures of one state, in this process."""
    warm = Engine(ScoringParams(), {})
    fill([warm], Point(customers=10, days=1), 20_000)
    warm.snapshot()
    before = resident()
    engines = [Engine(ScoringParams(), {}, partition=number) for number in range(point.partitions)]
    today = int(time.time() * 1000) // DAY_MS
    rate = fill(engines, point, today - WINDOW_DAYS)
    held = (resident() - before) / max(sum(engine.customers for engine in engines), 1)

    def seconds(do: object) -> float:
        started = time.process_time()
        do()  # type: ignore[operator]
        return time.process_time() - started

    for engine in engines:
        engine.take_cards()
        engine.advance(today * DAY_MS)  # the first sweep has the signals of all that was put in
    sweep = seconds(lambda: [engine.advance((today + 1) * DAY_MS) for engine in engines])
    saved: list[dict[bytes, bytes]] = []
    snapshot = seconds(
        lambda: saved.extend(
            {key: row for key, row in engine.snapshot() if row is not None} for engine in engines
        )
    )
    restore = seconds(
        lambda: [Engine.restore(ScoringParams(), {}, rows, partition=n) for n, rows in enumerate(saved)]
    )
    return dict(zip(MEASURES, (rate, held, sweep, snapshot, restore), strict=True))


def slope(xs: list[float], ys: list[float]) -> float:
    """The power of x that y grows by, by least squares of the logarithms; nan for fewer than two points."""
    pairs = [(math.log(x), math.log(y)) for x, y in zip(xs, ys, strict=True) if x > 0 and y > 0]
    if len({x for x, _ in pairs}) < 2:
        return math.nan
    return float(np.polyfit(*zip(*pairs, strict=True), 1)[0])


def words(power: float) -> str:
    """A slope in words."""
    if math.isnan(power):
        return "cannot be said"
    kind = "stays the same" if abs(power) < 0.1 else "grows" if power > 0 else "falls"
    return f"{kind} (power {power:+.2f})"


def plot(found: dict[str, tuple[list[float], list[dict[str, float]]]], file: Path) -> None:
    """Every measure over every variable, on logarithmic axes."""
    from matplotlib.figure import Figure

    shown = {name: each for name, each in found.items() if name != "hot"}
    figure = Figure(figsize=(4 * len(shown), 9), layout="constrained")
    grid = figure.subplots(len(MEASURES), len(shown), squeeze=False)
    for column, (name, (xs, rows)) in enumerate(shown.items()):
        for line, measure in enumerate(MEASURES):
            axes = grid[line][column]
            axes.plot(xs, [row[measure] for row in rows], marker="o")
            axes.set(xscale="log", yscale="log", ylabel=measure, xlabel=name)
            axes.grid(visible=True, which="both", alpha=0.3)
    figure.savefig(file)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--curves", default="customers,days,partitions,hot", help="with commas between")
    parser.add_argument("--largest", type=int, default=5_000_000, help="most customers (5 million: 8 GB)")
    parser.add_argument("--plot", type=Path, help="SVG or PNG")
    parser.add_argument("--point", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.point:
        print(json.dumps(measured(Point(**json.loads(args.point)))))
        return
    found: dict[str, tuple[list[float], list[dict[str, float]]]] = {}
    for name in args.curves.split(","):
        variable, points = curves(args.largest)[name]
        print(f"\n| {variable} | {' | '.join(MEASURES)} |\n|{'---|' * (len(MEASURES) + 1)}")
        xs, rows = [], []
        for point in points:
            out = subprocess.run(
                [sys.executable, __file__, "--point", json.dumps(asdict(point))],
                check=True,
                capture_output=True,
                text=True,
            )
            row = json.loads(out.stdout.splitlines()[-1])
            xs.append(float(getattr(point, variable)))
            rows.append(row)
            cells = [
                f"{row[measure]:,.3f}" if " s" in measure else f"{row[measure]:,.0f}" for measure in MEASURES
            ]
            print(f"| {xs[-1]:,g} | {' | '.join(cells)} |", flush=True)
        found[name] = (xs, rows)
        for measure in MEASURES:
            print(f"{measure}: {words(slope(xs, [row[measure] for row in rows]))}")
    if args.plot:
        plot(found, args.plot)
        print(f"plot: {args.plot}")


if __name__ == "__main__":
    main()
