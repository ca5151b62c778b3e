"""`cxstream replay` on simulated touchpoints, on one core: decoding to files written.

python benchmarks/files.py [--events 2000000]
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CXSTREAM = [sys.executable, "-m", "cxstream"]


def run(*args: str) -> tuple[float, float, int]:
    """Seconds of wall clock and of CPU, and peak resident bytes of one command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    subprocess.run([*CXSTREAM, *args], check=True)
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, after.ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--customers", type=int, default=50_000)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # one core, inherited by the commands

    with tempfile.TemporaryDirectory(prefix="cxstream-bench-") as folder:
        source = Path(folder, "touchpoints.ndjson")
        wall, _, _ = run(
            "simulate",
            "--events",
            str(args.events),
            "--customers",
            str(args.customers),
            "--out",
            str(source),
            "--quiet",
        )
        size = source.stat().st_size / args.events
        print(
            f"simulate to a file      {args.events / wall:>12,.0f} events/s  ({size:.0f} bytes an event)",
            flush=True,
        )
        source.read_bytes()  # into the page cache
        for n in range(args.runs):
            wall, cpu, peak = run("replay", str(source), "--out", f"{folder}/out{n}", "--quiet")
            print(
                f"replay, run {n + 1}           {args.events / wall:>12,.0f} events/s  "
                f"({wall:.2f} s wall, {cpu:.2f} s CPU with start-up, {peak / 1e6:.0f} MB)",
                flush=True,
            )


if __name__ == "__main__":
    main()
