"""How fast the state of a partition becomes rows of a snapshot, and rows become a state.

    python benchmarks/snapshots.py [--customers 200000] [--keyed]

Without Kafka: what the worker's processor does. `packed` is a snapshot in which every customer has changed, `loaded` a
restore with all of its checks. Customers have five active days each, and the ids of their events.
"""

from __future__ import annotations

import argparse
import time

from cxstream.model.parameters import DAY_MS, ScoringParams
from cxstream.scoring.engine import Engine, compile_kernels
from population import DAYS_APART, fill


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--customers", type=int, default=200_000)
    parser.add_argument("--panes", type=int, default=5)
    parser.add_argument("--keyed", action="store_true", help="checksums under a key")
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    compile_kernels()
    today = int(time.time() * 1000) // DAY_MS
    secrets = (b"k" * 32,) if args.keyed else (b"",)
    for _ in range(args.runs):
        engine = Engine(ScoringParams(), {})
        if args.keyed:
            from cxstream.scoring.state.snapshot import Line

            engine.line = Line(secrets=secrets)
        fill(engine.partition, args.customers, args.panes, today - args.panes * DAYS_APART, "customer")
        engine.take_cards()
        began = time.process_time()
        saved = engine.snapshot()
        packed = time.process_time() - began
        rows = {key: row for key, row in saved if row is not None}
        size = sum(len(key) + len(row) for key, row in rows.items())
        began = time.process_time()
        Engine.restore(ScoringParams(), {}, rows, **({"secrets": secrets} if args.keyed else {}))
        loaded = time.process_time() - began
        print(
            f"{len(rows):>9,} rows, {size / 1e6:,.0f} MB: packed {len(rows) / packed:>9,.0f} rows/s, "
            f"loaded {len(rows) / loaded:>9,.0f} rows/s"
        )


if __name__ == "__main__":
    main()
