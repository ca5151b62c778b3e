"""What the worker takes of the processor for each event, thread by thread, and Kafka beside it.

    python benchmarks/worker.py [--runs 3] [--events 1000000] [--scored off] [--source OTHER/src]

Reads a log to its end as `side_by_side.py` does, and reads the processor time of all threads from /proc (Linux), which
says more than events/s where the computer is busy. Each --source is a folder with another version of the package; all
of them take turns on one log, with which a change is measured. To see where the time goes, run this and
`py-spy record --gil --pid PID` of the worker that it names.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from aiokafka.admin import AIOKafkaAdminClient

from cxstream.kafka.admin import ensure_topics
from cxstream.local import LocalKafka
from cxstream.local.process import Guarded
from cxstream.settings import Settings
from peers.measure import PARTITIONS, committed, forget, rate
from side_by_side import fill, say

_TICKS = os.sysconf("SC_CLK_TCK")
_POLL_SECONDS = 0.05
_START_SECONDS = 240.0


class Taken(NamedTuple):
    """Processor time until now, in seconds: of each thread of the worker, and of Kafka."""

    threads: dict[int, float]
    kafka: float


def seconds(stat: Path) -> float:
    """User and system time of a process or thread."""
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def child(guard: int) -> int:
    """The command that a guard runs."""
    return int(Path(f"/proc/{guard}/task/{guard}/children").read_text().split()[0])


def taken(worker: int, kafka: int) -> Taken:
    threads = {int(task.name): seconds(task / "stat") for task in Path(f"/proc/{worker}/task").iterdir()}
    return Taken(threads, seconds(Path(f"/proc/{kafka}/stat")))


async def run(bootstrap: str, kafka: int, source: Path, args: argparse.Namespace) -> tuple[float, float]:
    """One worker from the beginning of the log; its events a second, and its microseconds of processor time an event."""
    await ensure_topics(Settings(kafka=bootstrap), partitions=PARTITIONS)
    group = f"w-{time.time_ns()}"
    command = [sys.executable, "-m", "cxstream", "worker", "--no-ticker", "--kafka", bootstrap]
    command += ["--group", group, "--web-port", "0", "--metrics-port", "0"]
    variables = {"PYTHONPATH": str(source), "CXSTREAM_WORKER__SCORED": str(args.scored == "on")}
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    with tempfile.TemporaryDirectory(prefix="cxstream-bench-") as folder:
        process = Guarded(command, Path(folder, "log"), cwd=Path(folder), variables=variables)
        try:
            ticks: list[tuple[float, int]] = []
            before, until = Taken({}, 0.0), time.monotonic() + _START_SECONDS
            while not ticks or ticks[-1][1] < args.events:
                if process.status is not None or time.monotonic() > until:
                    raise SystemExit(f"the worker does not get on:\n{process.tail()}")
                if done := await committed(admin, group):
                    if not ticks:
                        before = taken(child(process.pid), kafka)
                        say(f"worker {child(process.pid)}, {source}")
                    ticks.append((time.monotonic(), done))
                await asyncio.sleep(_POLL_SECONDS)
            after = taken(child(process.pid), kafka)
        finally:
            process.stop()
            await admin.close()
    n = ticks[-1][1] - ticks[0][1]
    each = {tid: (now - before.threads.get(tid, 0.0)) / n * 1e6 for tid, now in after.threads.items()}
    worker, of_kafka = sum(each.values()), (after.kafka - before.kafka) / n * 1e6
    told = ", ".join(f"{us:.2f}" for us in sorted(each.values(), reverse=True) if us >= 0.02)
    print(f"| {source} | {rate(ticks):,.0f} | {worker:.2f} | {told} | {of_kafka:.2f} |", flush=True)
    return rate(ticks), worker


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    here = Path(__file__).resolve().parent.parent / "src"
    parser.add_argument("--source", type=Path, action="append", help="folder of a version (repeatable)")
    parser.add_argument("--runs", type=int, default=3, help="of each version, in turn (default: %(default)s)")
    parser.add_argument("--events", type=int, default=1_000_000, help="in the log (default: %(default)s)")
    parser.add_argument("--customers", type=int, default=50_000, help="in the log (default: %(default)s)")
    parser.add_argument("--scored", choices=("on", "off"), default="on", help="whether cx.scored is written")
    args = parser.parse_args()
    sources = [each.resolve() for each in args.source or []] or [here]
    found: dict[Path, list[tuple[float, float]]] = {source: [] for source in sources}
    with LocalKafka(say=say) as kafka:
        say(f"writing {args.events:,} touchpoints of {args.customers:,} customers ...")
        fill(kafka.bootstrap, args.events, args.customers)
        assert kafka.pid is not None
        print("| version | events/s | worker, us an event | its threads | Kafka |\n|---|---|---|---|---|")
        for number in range(args.runs):
            for source in sources if number % 2 == 0 else sources[::-1]:
                found[source].append(asyncio.run(run(kafka.bootstrap, child(kafka.pid), source, args)))
                asyncio.run(forget(kafka.bootstrap))
    for source, runs in found.items():
        rates, costs = zip(*runs, strict=True)
        print(
            f"{source}: median {statistics.median(rates):,.0f} events/s, {statistics.median(costs):.2f} us an event"
        )


if __name__ == "__main__":
    main()
