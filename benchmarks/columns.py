"""Plain records by the kernel, and all records by the general decoder, in turn in one process; medians.

python benchmarks/columns.py touchpoints.ndjson [--runs 7]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median

from cxstream.files.readers import read_batches
from cxstream.files.scored import record_batch
from cxstream.model.parameters import ScoringParams
from cxstream.scoring.codec.vocabulary import BUILT_IN
from cxstream.scoring.engine import Engine, Records, compile_kernels
from cxstream.settings import ACTIONS


def run(file: Path, *, scored: bool) -> tuple[float, float]:
    """Microseconds of processor time an event to read, from the bytes of a file to columns, and to score it."""
    engine, reading, scoring, events = Engine(ScoringParams(), ACTIONS), 0.0, 0.0, 0
    engine.scored = scored
    chunks = read_batches([file])
    while True:
        begin = time.process_time()
        chunk = next(chunks, None)
        if chunk is None:
            return 1e6 * reading / events, 1e6 * scoring / events
        records = Records(chunk.lines, range(events, events + len(chunk.lines)))
        decoded = engine.read(records)
        middle = time.process_time()
        outcome = engine.score(decoded, records)
        if outcome.scored is not None:
            record_batch(outcome.scored)
        end = time.process_time()
        reading, scoring = reading + middle - begin, scoring + end - middle
        events += len(chunk.lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--scored", action="store_true", help="also tell what each touchpoint counted for")
    args = parser.parse_args()
    compile_kernels()
    contract = BUILT_IN.contract
    found: dict[str, list[tuple[float, float]]] = {"general": [], "kernel": []}
    for _ in range(args.runs):
        for name, used in (("general", None), ("kernel", contract)):
            BUILT_IN.contract = used
            found[name].append(run(args.file, scored=args.scored))
    totals = {name: [sum(each) for each in runs] for name, runs in found.items()}
    for name, runs in found.items():
        reading, scoring = (median(each) for each in zip(*runs, strict=True))
        print(
            f"{name:8} read {reading:5.2f} us, score {scoring:5.2f} us, both {median(totals[name]):5.2f} us an event"
        )
    ratio = median(a / b for a, b in zip(totals["general"], totals["kernel"], strict=True))
    print(f"the kernel is {ratio:.2f} times as fast, from {args.runs} pairs")


if __name__ == "__main__":
    main()
