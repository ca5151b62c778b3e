"""How long a partition stands still when it changes hands: restored from its snapshot, and taken over from a warm copy.

    python benchmarks/recovery.py [--customers 1000000] [--partitions 4]

A real Kafka holds snapshots of customers with five active days each. `restored` is what one worker needs for all
partitions at once, from the claim to running. Then two workers share them, each with warm copies of the other's,
while traffic flows; one is killed. `noticed` is how long the group takes to see that (the session), `taken over`
how long the survivor needs for all of the dead one's partitions, from the assignment to running.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cxstream.kafka.admin import ensure_topics
from cxstream.kafka.producer import route
from cxstream.local import LocalKafka
from cxstream.model.parameters import DAY_MS
from cxstream.scoring.engine import Engine, compile_kernels
from cxstream.settings import Settings
from cxstream.topology import topology
from cxstream.worker.clients import BATCH_BYTES, Kafka
from cxstream.worker.metrics.counters import Counters
from cxstream.worker.ownership.outbox import Limits, Outbox, commit
from cxstream.worker.ownership.partition import Partition
from population import DAYS_APART, fill, name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SESSION_SECONDS = "6"
DEADLINE_SECONDS = 180.0


def homes(customers: int, partitions: int) -> list[list[int]]:
    """Of each partition, the numbers of the customers that belong there by their keys, as producers send them."""
    names = [name(number).encode() for number in range(customers)]
    chosen = np.asarray(route(names, partitions))
    return [np.flatnonzero(chosen == partition).tolist() for partition in range(partitions)]


def filled(
    settings: Settings, partition: int, partitions: int, customers: Sequence[int], panes: int = 5
) -> Engine:
    """A state with these customers."""
    engine = Engine(settings.scoring, settings.actions, partition=partition, partitions=partitions)
    today = int(time.time() * 1000) // DAY_MS
    fill(engine.partition, customers, panes, today - panes * DAYS_APART)
    engine.take_cards()
    return engine


async def save(
    settings: Settings, kafka: Kafka, partition: int, partitions: int, customers: Sequence[int]
) -> int:
    """Write a snapshot of a state that follows from nothing; its bytes."""
    outbox = Outbox(topology())
    outbox.add_snapshot(filled(settings, partition, partitions, customers).begin_snapshot())
    outbox.encode()
    producer = await kafka.claim(partition)
    await commit(
        producer,
        outbox,
        topology=topology(),
        group=kafka.group,
        partition=partition,
        partitions=1,
        offset=0,
        limits=Limits(BATCH_BYTES, BATCH_BYTES),
    )
    await kafka.release(producer)
    return sum(
        len(key or b"") + len(value or b"") for rows in outbox.by_topic.values() for key, value in rows
    )


async def restored(settings: Settings, kafka: Kafka, partitions: int, customers: int) -> float:
    """Seconds until all partitions run, with all customers."""
    started = time.perf_counter()
    owned = [Partition(settings, kafka, p, parked=None, counters=Counters()) for p in range(partitions)]
    while not all(partition.state == "running" for partition in owned):
        await asyncio.sleep(0.005)
    seconds = time.perf_counter() - started
    found = sum(each.engine.customers for each in owned if each.engine is not None)
    if found != customers:
        raise SystemExit(f"{found:,} of {customers:,} customers were restored")
    for partition in owned:
        await partition.close(30)
    return seconds


class Worker:
    """A worker process whose log is read."""

    def __init__(self, settings: Settings, folder: Path, name: str) -> None:
        self.log = folder / f"{name}.log"
        command = [sys.executable, "-m", "cxstream", "worker", "--kafka", settings.kafka, "--standby"]
        command += ["--group", settings.worker.group, "--web-port", "0", "--metrics-port", "0", "--no-ticker"]
        environment = os.environ | {
            "CXSTREAM_WORKER__SESSION_SECONDS": SESSION_SECONDS,
            "CXSTREAM_LOG_FORMAT": "json",
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, env=environment)

    def events(self, *names: str) -> list[dict[str, Any]]:
        """What it logged under these names."""
        lines = self.log.read_text().splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [each for each in found if each.get("event") in names]

    def running(self) -> set[int]:
        """Its partitions that run now."""
        return running(self.events("partition running", "partition closed"))


def running(events: Iterable[dict[str, Any]]) -> set[int]:
    """The partitions that have begun to run, and were not closed since."""
    last = {int(each["partition"]): each["event"] for each in events}
    return {partition for partition, event in last.items() if event == "partition running"}


def settle(workers: Sequence[Worker], partitions: int) -> None:
    """Wait until each runs its share, and follows that of the others: nobody is restoring any more."""
    share = partitions // len(workers)
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not all(
        len(worker.running()) == share and len(worker.events("standby follows")) >= partitions - share
        for worker in workers
    ):
        for worker in workers:
            if time.monotonic() > deadline or worker.process.poll() is not None:
                raise SystemExit(f"{worker.log}: runs {sorted(worker.running())}, and not {share} partitions")
        time.sleep(0.05)


def taken_over(settings: Settings, partitions: int) -> None:
    """Kill one of two workers and print how the other takes over."""
    with tempfile.TemporaryDirectory() as folder:
        workers = [Worker(settings, Path(folder), name) for name in ("one", "two")]
        traffic = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "cxstream",
                "simulate",
                "--kafka",
                settings.kafka,
                "--quiet",
                "--rate",
                "500",
                "--for",
                str(DEADLINE_SECONDS),
                "--customers",
                "5000",
            ]
        )
        try:
            settle(workers, partitions)
            survivor, victim = workers
            before, left = len(survivor.events("partition running")), victim.running()
            victim.process.kill()
            killed = time.monotonic()
            while len(survivor.running()) < partitions:
                if time.monotonic() - killed > DEADLINE_SECONDS:
                    raise SystemExit(f"{survivor.log}: not taken over")
                time.sleep(0.005)
            seconds = time.monotonic() - killed
            since = survivor.events("partition running")[before:]
            slowest = max(float(each["seconds"]) for each in since if each["partition"] in left)
            print(f"killed to all running   {seconds:>8.2f} s  (session {SESSION_SECONDS} s)")
            print(f"taken over, slowest     {slowest:>8.2f} s  a partition, read and caught up")
        finally:
            traffic.terminate()
            traffic.wait()
            for worker in workers:
                worker.process.terminate()
                worker.process.wait()


async def restarts(settings: Settings, args: argparse.Namespace) -> None:
    """Write the snapshots, and print how long each restart takes."""
    kafka = Kafka(settings, settings.worker.group)
    await ensure_topics(settings, partitions=args.partitions)
    shares = homes(args.customers, args.partitions)
    size = sum([await save(settings, kafka, p, args.partitions, share) for p, share in enumerate(shares)])
    print(
        f"customers               {args.customers:>8,} in {args.partitions} partitions, {size / 1e6:,.0f} MB"
    )
    for _ in range(args.runs):
        processor = time.process_time()
        seconds = await restored(settings, kafka, args.partitions, args.customers)
        took = time.process_time() - processor
        print(f"restored                {seconds:>8.2f} s  ({took:.2f} s of processor time)")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    compile_kernels()
    with LocalKafka() as broker:
        settings = Settings(kafka=broker.bootstrap)
        asyncio.run(restarts(settings, args))
        taken_over(settings, args.partitions)


if __name__ == "__main__":
    main()
