"""`cxstream replay` beside `orjson.loads` of the same lines, from NDJSON, Parquet and Arrow, on one core and on two; medians.

    python benchmarks/replay.py [--events 2000000] [--runs 5]
    python benchmarks/replay.py --file touchpoints.ndjson --only ndjson,jobs

The runs alternate, so that a busy moment of the machine is one of all of them. Seconds are from the first byte read to the files
written; `start` is the rest of the time of the process. Run nothing else beside it; where the machine is slow, look at the ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import pyarrow as pa
from pyarrow import parquet as pq

CXSTREAM = [sys.executable, "-m", "cxstream"]
ORJSON = """
import sys, time, orjson
lines = open(sys.argv[1], "rb").read().splitlines()
begin = time.perf_counter()
for line in lines:
    try:
        orjson.loads(line)
    except ValueError:
        pass
print(len(lines), time.perf_counter() - begin)
"""
_TOLD = re.compile(r"records\s+read\s+([\d,]+).*records/s\s+([\d,]+)", re.DOTALL)
_PART = 50_000


def columns(source: Path) -> None:
    """The touchpoints of a file that are JSON objects, as Parquet, as an Arrow file and as NDJSON of the same."""
    found = []
    for line in source.read_bytes().splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and isinstance(event.get("data"), dict):
            found.append(line)
    sound = source.with_name("sound.ndjson")
    sound.write_bytes(b"\n".join(found) + b"\n")
    from pyarrow import json as arrow_json

    table = arrow_json.read_json(sound, read_options=arrow_json.ReadOptions(block_size=64 << 20))
    pq.write_table(table, source.with_suffix(".parquet"), compression="zstd")
    with pa.ipc.new_file(source.with_suffix(".arrow"), table.schema) as file:
        file.write_table(table, max_chunksize=_PART)


def replay(source: Path, out: Path, cores: int, *options: str) -> tuple[float, float]:
    """Seconds that a replay says, and those of its process."""
    begin = time.perf_counter()
    done = subprocess.run(
        [*CXSTREAM, "replay", str(source), "--out", str(out), "--force", *options],
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: _only(cores),
    )
    whole = time.perf_counter() - begin
    said = _TOLD.search(done.stderr + done.stdout)
    if said is None:
        raise SystemExit(f"no speed in: {done.stderr}")
    read, rate = (int(each.replace(",", "")) for each in said.groups())
    return read / rate, whole


def orjson_loads(source: Path, cores: int) -> float:
    """Seconds that `orjson.loads` takes for each line, one after the other."""
    done = subprocess.run(
        [sys.executable, "-c", ORJSON, str(source)],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: _only(cores),
    )
    return float(done.stdout.split()[1])


def _only(cores: int) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--customers", type=int, default=50_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--file", type=Path, help="NDJSON to replay instead of simulated touchpoints")
    parser.add_argument("--only", default="orjson,ndjson,jobs,parquet,parquet2,arrow")
    args = parser.parse_args()
    wanted = args.only.split(",")
    with tempfile.TemporaryDirectory(prefix="cxstream-bench-") as folder:
        source = Path(folder, "touchpoints.ndjson")
        if args.file:
            source.symlink_to(args.file.resolve())
        else:
            options = ["--events", str(args.events), "--customers", str(args.customers), "--quiet"]
            subprocess.run([*CXSTREAM, "simulate", *options, "--out", str(source)], check=True)
        if any(name.startswith(("parquet", "arrow")) for name in wanted):
            columns(source)
        size, events = source.stat().st_size, source.read_bytes().count(b"\n")
        out = Path(folder, "out")
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in wanted}
        ways = {
            "orjson": lambda: (orjson_loads(source, 1), 0.0),
            "ndjson": lambda: replay(source, out, 1),
            "jobs": lambda: replay(source, out, 2, "--jobs", "2"),
            "parquet": lambda: replay(source.with_suffix(".parquet"), out, 1),
            "parquet2": lambda: replay(source.with_suffix(".parquet"), out, 2),
            "arrow": lambda: replay(source.with_suffix(".arrow"), out, 1),
        }
        for run in range(args.runs):
            for name in wanted:
                found[name].append(ways[name]())
            print(f"run {run + 1} of {args.runs}", file=sys.stderr, flush=True)
    print(f"{events:,} events of {size / events:.0f} bytes; medians of {args.runs} runs")
    seconds = {name: [each for each, _ in runs] for name, runs in found.items()}
    for name, runs in found.items():
        start = median(whole - each for each, whole in runs)
        print(
            f"{name:9} {events / median(seconds[name]):>11,.0f} events/s  {1e6 * median(seconds[name]) / events:5.2f} us an event, "
            f"from {min(seconds[name]):.2f} to {max(seconds[name]):.2f} s"
            + (f", start {start:.2f} s" if start > 0 else "")
        )
    for above, below in (
        ("orjson", "ndjson"),
        ("ndjson", "jobs"),
        ("ndjson", "parquet"),
        ("jobs", "parquet2"),
        ("ndjson", "arrow"),
    ):
        if above in seconds and below in seconds:
            ratio = median(a / b for a, b in zip(seconds[above], seconds[below], strict=True))
            print(f"{below} is {ratio:.2f} times as fast as {above}")


if __name__ == "__main__":
    main()
