"""Plain records by the kernel, and all records by the general decoder, in turn in one process; medians.

python benchmarks/columns.py touchpoints.ndjson [--runs 7]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median

from cxstream.files.scored import record_batch
from cxstream.model.parameters import ScoringParams
from cxstream.scoring.codec.vocabulary import BUILT_IN
from cxstream.scoring.engine import Engine, Records, compile_kernels
from cxstream.settings import ACTIONS

_BATCH = 1900  # 512 KiB of some 270 bytes


def run(lines: list[bytes], *, scored: bool) -> tuple[float, float]:
    """Microseconds an event to read and to score it."""
    engine, reading, scoring = Engine(ScoringParams(), ACTIONS), 0.0, 0.0
    engine.scored = scored
    for start in range(0, len(lines), _BATCH):
        part = lines[start : start + _BATCH]
        records = Records(part, range(start, start + len(part)))
        begin = time.perf_counter()
        decoded = engine.read(records)
        middle = time.perf_counter()
        outcome = engine.score(decoded, records)
        if outcome.scored is not None:
            record_batch(outcome.scored)
        end = time.perf_counter()
        reading, scoring = reading + middle - begin, scoring + end - middle
    return 1e6 * reading / len(lines), 1e6 * scoring / len(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--scored", action="store_true", help="also tell what each touchpoint counted for")
    args = parser.parse_args()
    lines = args.file.read_bytes().splitlines()
    compile_kernels()
    contract = BUILT_IN.contract
    found: dict[str, list[tuple[float, float]]] = {"general": [], "kernel": []}
    for _ in range(args.runs):
        for name, used in (("general", None), ("kernel", contract)):
            BUILT_IN.contract = used
            found[name].append(run(lines, scored=args.scored))
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
