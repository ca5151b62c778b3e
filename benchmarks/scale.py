"""How the state scales: with customers, active days, partitions, and one customer who has 5% of all events.

    python benchmarks/scale.py [--curves customers,days,partitions,hot] [--largest 1000000] [--plot scale.svg]
    python benchmarks/scale.py --results scale.json --seconds 200    # again and again, until all is measured

Each point is a process of its own, with the state of a worker and without Kafka: events/s into the state by the
kernels, resident bytes a customer, a sweep at midnight, a snapshot of all customers, and the restore from it, in seconds
of processor time. The window has 104 days, so that a customer can have a hundred active ones. Behind each curve stands by which power of its variable each figure grows.
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
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cxstream.model.parameters import DAY_MS, ScoringParams
from cxstream.scoring.codec.packed import Packed
from cxstream.scoring.engine import Engine, compile_kernels
from cxstream.scoring.state.saved_rows import SavedRows
from kept import Kept
from population import apply_events, names

if TYPE_CHECKING:
    from cxstream.scoring.state.sealed_rows import SealedRows

MEASURES = ("events/s", "bytes a customer", "sweep s", "snapshot s", "restore s")
BATCH = 20_000
RECORD_BYTES = 900_000
WINDOW_DAYS = 104
PARAMS = ScoringParams(window_days=WINDOW_DAYS)
VARIABLES = {
    "customers": "customers",
    "days": "active days of a customer",
    "partitions": "partitions of 100,000 customers in all",
    "hot": "share of the hot customer",
}
Found = dict[str, tuple[list[float], list[dict[str, float]]]]


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


def curves(largest: int) -> dict[str, list[Point]]:
    """The points of each curve, by the attribute that varies."""
    sizes = [n for n in (10_000, 100_000, 1_000_000, 5_000_000) if n <= largest]
    return {
        "customers": [Point(customers=n) for n in sizes],
        "days": [Point(days=n) for n in (0.1, 1.0, 5.0, 20.0, 100.0)],
        "partitions": [Point(partitions=n) for n in (1, 4, 16, 64)],
        "hot": [Point(hot=share) for share in (0.0, 0.05)],
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
                some = names(chosen, f"customer-{number:02d}")
                started = time.process_time()
                apply_events(engine.partition, some, (first_day + n * apart) * DAY_MS, offset)
                seconds += time.process_time() - started
                offset += len(some)
    return offset / seconds if seconds else math.nan


def measured(point: Point) -> dict[str, float]:
    """All measures of one state, in this process."""
    compile_kernels()
    before = resident()
    engines = [Engine(PARAMS, {}, partition=number) for number in range(point.partitions)]
    today = int(time.time() * 1000) // DAY_MS
    rate = fill(engines, point, today - WINDOW_DAYS + 1)
    held = (resident() - before) / max(sum(engine.customers for engine in engines), 1)

    def seconds(do: object) -> float:
        started = time.process_time()
        do()  # type: ignore[operator]
        return time.process_time() - started

    for engine in engines:
        # As if all cards had been taken: to write those of millions takes longer than all that is measured.
        engine.partition.state.card_dirty[:] = 0
        engine.advance(today * DAY_MS)  # the first sweep has the signals of all that was put in
    sweep = seconds(lambda: [engine.advance((today + 1) * DAY_MS) for engine in engines])
    taken: list[SealedRows] = []
    snapshot = seconds(lambda: taken.extend(snapshot_of(engine) for engine in engines))
    del engine
    engines.clear()  # of five million customers there is no room for a state, its rows and what was read of them
    restore, parts = 0.0, len(taken)
    for number in range(parts):
        rows, reading = read(taken.pop(0))
        restore += reading + seconds(partial(Engine.restore, PARAMS, {}, rows, partition=number))
        del rows
    return dict(zip(MEASURES, (rate, held, sweep, snapshot, restore), strict=True))


def snapshot_of(engine: Engine) -> SealedRows:
    """The rows of a snapshot, after records have been made of all of them."""
    sealed, at = engine.begin_snapshot().sealed(), 0
    while at < len(sealed):
        at += sealed.records(at, RECORD_BYTES).rows
    return sealed


def read(sealed: SealedRows) -> tuple[SavedRows, float]:
    """The rows as a worker has read them, and the processor time that it took to take them."""
    rows, took = SavedRows(), 0.0
    pairs = iter(sealed)
    while some := list(islice(pairs, BATCH)):
        keys, values = Packed.of([key for key, _ in some]), Packed.of([value for _, value in some])
        gone = np.array([value is None for _, value in some])
        started = time.process_time()
        rows.put(keys, values, gone)
        took += time.process_time() - started
    return rows, took


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


def plot(found: Found, file: Path) -> None:
    """Every measure over every variable, on logarithmic axes."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    shown = {name: each for name, each in found.items() if len(each[0]) > 2}  # a line
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "scale", "font.size": 8}):
        figure = Figure(figsize=(9, 7.5), layout="constrained")
        grid = figure.subplots(len(MEASURES), len(shown), squeeze=False, sharex="col", sharey="row")
        for column, (name, (xs, rows)) in enumerate(shown.items()):
            for line, measure in enumerate(MEASURES):
                axes = grid[line][column]
                axes.plot(xs, [row[measure] for row in rows], marker="o", color="#1f5fa8")
                axes.set(xscale="log", yscale="log")
                axes.minorticks_off()
                axes.grid(visible=True, alpha=0.3)
                if not column:
                    every = [row[measure] for _, rows in shown.values() for row in rows]
                    decades = math.floor(math.log10(min(every))), math.ceil(math.log10(max(every)))
                    axes.set(ylabel=measure, ylim=(10 ** decades[0], 10 ** (decades[1])))
            grid[-1][column].set_xlabel(VARIABLES[name])
        figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)


def measured_apart(point: Point) -> dict[str, float]:
    """All measures of one state, in a process of its own."""
    out = subprocess.run(
        [sys.executable, __file__, "--point", json.dumps(asdict(point))],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    row: dict[str, float] = json.loads(out.stdout.splitlines()[-1])
    return row


def show(name: str, xs: list[float], rows: list[dict[str, float]]) -> None:
    """The table of a curve, and its slopes in words."""
    print(f"\n| {VARIABLES[name]} | {' | '.join(MEASURES)} |\n|{'---|' * (len(MEASURES) + 1)}")
    for x, row in zip(xs, rows, strict=True):
        cells = [
            f"{row[measure]:,.3f}" if " s" in measure else f"{row[measure]:,.0f}" for measure in MEASURES
        ]
        print(f"| {x:,g} | {' | '.join(cells)} |")
    for measure in MEASURES:
        print(f"{measure}: {words(slope(xs, [row[measure] for row in rows]))}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--curves", default="customers,days,partitions,hot", help="with commas between")
    parser.add_argument(
        "--largest", type=int, default=5_000_000, help="most customers (5 million: some 8 GB)"
    )
    parser.add_argument("--plot", type=Path, help="SVG or PNG")
    parser.add_argument(
        "--results", type=Path, help="JSON that keeps what was measured; only what it lacks is measured"
    )
    parser.add_argument("--runs", type=int, default=1, help="of each point, in all calls; medians are shown")
    parser.add_argument("--seconds", type=float, help="begin no further point after so long")
    parser.add_argument("--point", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.point:
        print(json.dumps(measured(Point(**json.loads(args.point)))))
        return
    kept = Kept(args.results, args.runs, args.seconds)
    found: Found = {}
    for name in args.curves.split(","):
        points = curves(args.largest)[name]
        for point in points:
            while kept.wants(asdict(point)):
                print(f"measuring {point}", file=sys.stderr, flush=True)
                kept.add(asdict(point), measured_apart(point))
        rows = [(getattr(point, name), kept.medians(asdict(point))) for point in points]
        there = [(float(x), row) for x, row in rows if row is not None]
        found[name] = [x for x, _ in there], [row for _, row in there]
        show(name, *found[name])
        if len(there) < len(points):
            print(f"{len(points) - len(there)} of {len(points)} points are not measured yet: call again")
    if args.plot:
        plot(found, args.plot)
        print(f"plot: {args.plot}")


if __name__ == "__main__":
    main()
