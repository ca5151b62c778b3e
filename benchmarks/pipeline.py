"""The worker on a real Kafka, beside the limit (getmany) and an idiomatic Faust agent, on the same log in one run.

    python benchmarks/pipeline.py [--events 3000000]

The log has no broken records, because the first of them would end the Faust agent. The worker's figure is from the first to the last committed offset of the source topic: decoding, all of the
scores, and signals, rejected records, score cards and snapshots committed in transactions.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

import aiokafka

from cxstream.kafka.admin import administration, ensure_topics, look
from cxstream.local import LocalKafka
from cxstream.settings import Settings
from cxstream.topology import SNAPSHOTS, topology

HERE = Path(__file__).parent
CXSTREAM = [sys.executable, "-m", "cxstream"]
TOPIC = "cx.touchpoints"
PARTITIONS = 4


def partitions() -> list[aiokafka.TopicPartition]:
    return [aiokafka.TopicPartition(TOPIC, p) for p in range(PARTITIONS)]


async def raw_getmany(bootstrap: str) -> float:
    """Records a second that aiokafka hands over when nothing is done with them."""
    async with AsyncExitStack() as stack:
        consumer = aiokafka.AIOKafkaConsumer(
            bootstrap_servers=bootstrap,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            max_partition_fetch_bytes=4 * 1024 * 1024,
        )
        await consumer.start()
        stack.push_async_callback(consumer.stop)
        consumer.assign(partitions())
        ends = await consumer.end_offsets(partitions())
        total, count, started = sum(ends.values()), 0, 0.0
        while count < total:
            for records in (await consumer.getmany(timeout_ms=1000)).values():
                started = started or time.perf_counter()
                count += len(records)
        return count / (time.perf_counter() - started)


async def committed(consumer: aiokafka.AIOKafkaConsumer) -> int:
    return sum([await consumer.committed(tp) or 0 for tp in partitions()])


async def forget_state(bootstrap: str) -> None:
    """Empty cx.snapshots, so that the next worker begins with nothing."""
    settings = Settings(kafka=bootstrap)
    async with administration(settings) as admin:
        await admin.delete_topics([SNAPSHOTS.name])
        while any(found.topic == SNAPSHOTS and found.partitions for found in await look(admin, topology())):
            await asyncio.sleep(0.1)
    await ensure_topics(settings, partitions=PARTITIONS)


async def worker(bootstrap: str, total: int, group: str) -> tuple[float, float]:
    """Events a second that the worker commits, and its CPU microseconds an event."""
    command = [
        *CXSTREAM,
        "worker",
        "--no-ticker",
        "--kafka",
        bootstrap,
        "--group",
        group,
        "--web-port",
        "0",
        "--metrics-port",
        "0",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    consumer = aiokafka.AIOKafkaConsumer(
        bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False
    )
    await consumer.start()
    try:
        first = last = 0.0
        begin = done = 0
        cpu = 0.0
        while done < total:
            if process.poll() is not None:
                raise SystemExit(f"the worker ended with {process.returncode}")
            now = await committed(consumer)
            if now > done:
                last, done = time.perf_counter(), now
                if not first:
                    first, begin, cpu = last, now, cpu_seconds(process.pid)
            await asyncio.sleep(0.02)
        used = cpu_seconds(process.pid) - cpu
        return (done - begin) / (last - first), used / (done - begin) * 1e6
    finally:
        await consumer.stop()
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def plain_faust(bootstrap: str, window: str, seconds: float) -> float:
    """Events a second of the idiomatic agent."""
    command = [sys.executable, str(HERE / "plain_faust.py"), bootstrap, window, str(seconds)]
    out = subprocess.run(
        [*command, "worker", "--without-web"], check=True, capture_output=True, text=True
    ).stdout
    count, elapsed = out.partition("processed ")[2].split()[:2]
    return int(count) / float(elapsed)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=3_000_000)
    parser.add_argument("--customers", type=int, default=50_000)
    parser.add_argument("--faust-seconds", type=float, default=30.0)
    parser.add_argument("--runs", type=int, default=2)
    args = parser.parse_args()

    with LocalKafka() as kafka:
        bootstrap = kafka.bootstrap
        asyncio.run(ensure_topics(Settings(kafka=bootstrap), partitions=PARTITIONS))
        started = time.perf_counter()
        simulate = [
            "simulate",
            "--events",
            str(args.events),
            "--customers",
            str(args.customers),
            "--no-future",
        ]
        subprocess.run([*CXSTREAM, *simulate, "--kafka", bootstrap, "--quiet"], check=True)
        total = args.events
        print(
            f"simulate to the topic   {total / (time.perf_counter() - started):>12,.0f} events/s", flush=True
        )
        raw = asyncio.run(raw_getmany(bootstrap))
        print(f"aiokafka getmany        {raw:>12,.0f} events/s  (nothing done)", flush=True)
        best = 0.0
        for n in range(args.runs):
            rate, cpu = asyncio.run(worker(bootstrap, total, f"bench-{n}"))
            asyncio.run(forget_state(bootstrap))
            best = max(best, rate)
            print(
                f"cxstream worker, run {n + 1}  {rate:>12,.0f} events/s  ({cpu:.2f} us CPU an event)",
                flush=True,
            )
        for window in ("tumbling", "hopping"):
            rate = plain_faust(bootstrap, window, args.faust_seconds)
            print(
                f"Faust table, {window:<8}   {rate:>12,.0f} events/s  (the worker does {best / rate:,.0f} times as many)",
                flush=True,
            )


if __name__ == "__main__":
    main()
