"""How long from a touchpoint to the signal that it causes, readable under `read_committed`, at several rates.

    python benchmarks/latency.py [--rates 1000,10000,50000,100000] [--flush 0.5] [--seconds 20]
    python benchmarks/latency.py --rates 10000 --flush 0.05,0.1,0.25,0.5,1 --plot latency.svg
    python benchmarks/latency.py --rates 10000 --flush 0.05 --floor

Each event has a time at which it is meant to be sent, on a fixed grid. The latency of a signal is from that time of the
event that caused it, whether the sender kept to it or not, until a consumer has it: a sender that must wait hides no
delay (no coordinated omission). Every latency is kept, so the percentiles are exact. One event in --every is a long
wait of a customer who is new, which causes one signal; the others are page views of --customers. The load, Kafka, the
worker and the consumer share the computer. So the requests of the load are made before the first is sent, and events
are gathered for --linger, 5 ms, as Kafka's own producer gathers them since 4.0; the waiting counts. A flush writes few
score cards, so that signals do not wait for the cards of everybody who has an event. The times in the
events are earlier than those at which they are sent, by as long as it took to make them.

With --floor each line is measured with `relay.py` in place of the worker as well, in turn: a program that reads, and
commits a record for each cause with the offset, in the same transactions at the same interval, and does nothing else. What
is slow in both is the computer with Kafka, the load and the consumer on it. "Sent late" is the 99th percentile of
how late the sender was; it is part of every latency.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import multiprocessing
import os
import socket
import sys
import tempfile
import threading
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import aiokafka
import numpy as np
import orjson
from aiokafka.protocol.api import RequestHeader_v1
from aiokafka.protocol.produce import ProduceRequest_v7, ProduceResponse_v7
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from cxstream.kafka.admin import ensure_topics
from cxstream.kafka.producer import route
from cxstream.local import LocalKafka
from cxstream.local.process import Guarded
from cxstream.scoring.engine import compile_kernels
from cxstream.settings import Settings
from cxstream.topology import FRICTION, TOUCHPOINTS
from kept import Kept

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

PARTITIONS = 4
PERCENTILES = (50.0, 99.0, 99.9, 100.0)
READY_SECONDS = 240.0
DRAIN_SECONDS = 60.0
BLOCK = 1 << 16


RELAY = Path(__file__).resolve().with_name("relay.py")


class Measured(NamedTuple):
    """What one run has shown, after the warm-up.

    Attributes:
        signals: seconds from the intended time of each event that causes a signal to the signal; infinite without one.
        sender: seconds that the sender was late with each piece.
    """

    signals: np.ndarray
    sender: np.ndarray


def customers_of(first: int, end: int, every: int, customers: int) -> list[bytes]:
    """The customer of each event: one in `every` is new."""
    return [b"new-%d" % i if i % every == 0 else b"c-%d" % (i * 7919 % customers) for i in range(first, end)]


def event(i: int, customer: bytes, now: bytes) -> bytes:
    """The touchpoint with this number."""
    kind, data = (
        (b"queue", b'{"channel":"store","touchpoint":"checkout","wait_s":3600}')
        if customer.startswith(b"new")
        else (b"page_view", b'{"channel":"app","touchpoint":"home","stage":"consideration","session":"s-1"}')
    )
    return (
        b'{"specversion":"1.0","id":"e-%d","source":"/bench","type":"cx.touchpoint.%s.v1","subject":"%s","time":"%s","data":%s}'
        % (i, kind, customer, now, data)
    )


def requests_of(rate: float, count: int, every: int, customers: int, linger: float) -> list[bytes]:
    """The request for each piece of `linger` seconds, as it goes over the wire; b"" where a piece has no events."""
    began, made = datetime.now(UTC), []
    ends = np.minimum(np.floor(np.arange(1, int(count / rate / linger) + 2) * linger * rate), count)
    for number, (first, end) in enumerate(
        zip([0, *ends.astype(int).tolist()], ends.astype(int).tolist(), strict=False)
    ):
        now = (began + timedelta(seconds=first / rate)).isoformat(timespec="milliseconds")[
            :23
        ].encode() + b"Z"
        keys = customers_of(first, end, every, customers)
        batches = [DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, BLOCK * 1000) for _ in range(PARTITIONS)]
        sizes = [0] * PARTITIONS
        for n, (key, partition) in enumerate(zip(keys, route(keys, PARTITIONS), strict=True)):
            batches[partition].append(sizes[partition], 0, key, event(first + n, key, now), [])
            sizes[partition] += 1
        some = [
            (partition, bytes(batches[partition].build()))
            for partition in range(PARTITIONS)
            if sizes[partition]
        ]
        fields = ProduceRequest_v7(None, -1, 60_000, [(TOUCHPOINTS.name, some)])
        wire = RequestHeader_v1(fields, number, "load").encode() + fields.encode()
        made.append(len(wire).to_bytes(4, "big") + wire if some else b"")
    return made


def confirm(connection: socket.socket, count: int) -> None:
    """Read the responses to so many requests; ends the process if Kafka refuses one."""
    stream = connection.makefile("rb")
    for _ in range(count):
        response = BytesIO(stream.read(int.from_bytes(stream.read(4), "big"))[4:])
        for _, partitions in ProduceResponse_v7.decode(response).topics:
            for partition, code, *_ in partitions:
                if code:
                    sys.stderr.write(f"Kafka refuses events for partition {partition}: error {code}\n")
                    os._exit(1)


def load(
    bootstrap: str, rate: float, count: int, every: int, customers: int, linger: float, started: Connection
) -> None:
    """Send events, each as soon after its time as --linger allows; says when the first was due, and how late each piece was."""
    pieces = requests_of(rate, count, every, customers, linger)
    host, _, port = bootstrap.rpartition(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader = threading.Thread(target=confirm, args=(connection, sum(map(bool, pieces))), daemon=True)
        reader.start()
        gc.freeze()
        start = time.monotonic() + 1.0
        started.send(start)
        late = []
        for number, piece in enumerate(pieces, 1):
            time.sleep(max(0.0, start + number * linger - time.monotonic()))
            connection.sendall(piece)
            late.append(time.monotonic() - start - number * linger)
        reader.join()
    started.send(late)


def numbers(count: int, every: int, customers: int) -> list[np.ndarray]:
    """Of each partition, the number of the event at each offset."""
    chosen = np.concatenate(
        [
            np.asarray(route(customers_of(first, min(first + BLOCK, count), every, customers), PARTITIONS))
            for first in range(0, count, BLOCK)
        ]
    )
    return [np.flatnonzero(chosen == partition) for partition in range(PARTITIONS)]


async def arrivals(bootstrap: str, wanted: int, deadline: float) -> list[tuple[int, int, float]]:
    """Partition and offset of the cause of each signal, and when a consumer had it."""
    found: list[tuple[int, int, float]] = []
    async with AsyncExitStack() as stack:
        consumer = aiokafka.AIOKafkaConsumer(
            FRICTION.name,
            bootstrap_servers=bootstrap,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            enable_auto_commit=False,
            fetch_max_wait_ms=50,
        )
        await consumer.start()
        stack.push_async_callback(consumer.stop)
        while len(found) < wanted and time.monotonic() < deadline:
            batches = await consumer.getmany(timeout_ms=100)
            now = time.monotonic()
            for records in batches.values():
                for record in records:
                    cause = orjson.loads(record.value)["data"]["cause"]
                    found.append((cause["partition"], cause["offset"], now))
    return found


def measure(rate: float, flush: float, args: argparse.Namespace, *, relay: bool = False) -> Measured:
    """One run of the worker, or of the relay in its place."""
    count = int(rate * (args.seconds + args.warm))
    with tempfile.TemporaryDirectory(prefix="cxstream-bench-") as folder, LocalKafka() as kafka:
        asyncio.run(ensure_topics(Settings(kafka=kafka.bootstrap), partitions=PARTITIONS))
        command = [sys.executable, "-m", "cxstream", "worker", "--no-ticker", "--kafka", kafka.bootstrap]
        command += ["--web-port", "0", "--metrics-port", "0"]
        if relay:
            command = [sys.executable, RELAY, "--kafka", kafka.bootstrap, "--flush", f"{flush}"]
        worker = Guarded(
            command,
            Path(folder, "log"),
            cwd=Path(folder),
            variables={
                "CXSTREAM_WORKER__FLUSH_SECONDS": str(flush),
                "CXSTREAM_WORKER__CARDS_PER_FLUSH": str(args.cards),
            },
        )
        try:
            until = time.monotonic() + READY_SECONDS
            while "ready: " not in worker.log.read_text():
                if worker.status is not None or time.monotonic() > until:
                    raise SystemExit(f"the worker does not start:\n{worker.log.read_text()[-2000:]}")
                time.sleep(0.1)
            context = multiprocessing.get_context("spawn")
            hears, tells = context.Pipe(duplex=False)
            sender = context.Process(
                target=load,
                args=(kafka.bootstrap, rate, count, args.every, args.customers, args.linger, tells),
                daemon=True,
            )
            sender.start()
            if not hears.poll(READY_SECONDS):
                raise SystemExit("the events are not made in time")
            start = hears.recv()
            causes = np.arange(0, count, args.every)
            deadline = start + count / rate + DRAIN_SECONDS
            found = asyncio.run(arrivals(kafka.bootstrap, len(causes), deadline))
            late = hears.recv()[int(args.warm / args.linger) :] if hears.poll(10) else [np.inf]
            sender.join(10)
        finally:
            worker.stop()
    at = numbers(count, args.every, args.customers)
    return Measured(latencies(found, at, start, rate, causes[causes >= args.warm * rate]), np.array(late))


def latencies(
    found: list[tuple[int, int, float]], at: list[np.ndarray], start: float, rate: float, causes: np.ndarray
) -> np.ndarray:
    """Seconds from the intended time of each cause to its first signal; infinite without one.

    Args:
        found: (partition, offset of the cause, arrival) of each signal.
        at: of each partition, the number of the event at each offset.
        start: intended time of event 0.
        rate: events a second.
        causes: numbers of the events whose signals count.
    """
    arrived = dict.fromkeys(causes.tolist(), np.inf)
    for partition, offset, when in found:
        number = int(at[partition][offset])
        arrived[number] = min(arrived.get(number, np.inf), when)
    return np.array([arrived[number] - start - number / rate for number in causes.tolist()])


def told(seconds: np.ndarray) -> list[float]:
    """The percentiles in ms; each is that of a signal, none is between two."""
    return [float(each) * 1e3 for each in np.percentile(seconds, PERCENTILES, method="higher")]


def plot(rows: list[tuple[float, float, list[float]]], file: Path) -> None:
    """Latency against the flush interval, a line for each rate and percentile."""
    import matplotlib as mpl

    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "latency", "font.size": 9}):
        _draw(rows, file)


def _draw(rows: list[tuple[float, float, list[float]]], file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for rate in sorted({rate for rate, _, _ in rows}):
        of_rate = sorted((flush * 1e3, shown) for each, flush, shown in rows if each == rate)
        for n, style in ((0, "--"), (1, "-")):
            axes.plot(
                [flush for flush, _ in of_rate],
                [shown[n] for _, shown in of_rate],
                style,
                color=f"C{sorted({rate for rate, _, _ in rows}).index(rate)}",
                marker="o",
                label=f"{rate:,.0f}/s, p{PERCENTILES[n]:g}",
            )
    axes.set(xlabel="flush interval (ms)", ylabel="touchpoint to signal (ms)", xscale="log", yscale="log")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)


def run(
    kept: Kept, rate: float, flush: float, args: argparse.Namespace
) -> tuple[dict[str, float] | None, dict[str, float] | None]:
    """Measure a line; returns the medians of the worker and of the relay, None for what was not measured."""
    worker = {
        "rate": rate,
        "flush": flush,
        "seconds": args.seconds,
        "warm": args.warm,
        "every": args.every,
        "customers": args.customers,
        "linger": args.linger,
        "cards": args.cards,
    }
    programs = [worker, worker | {"relay": True}] if args.floor else [worker]
    while any(wanted := [kept.wants(each) for each in programs]):
        for what, is_wanted in zip(programs, wanted, strict=True):
            if is_wanted:
                kept.add(what, summary(measure(rate, flush, args, relay="relay" in what)))
    found = [kept.medians(each) for each in programs]
    return found[0], found[1] if args.floor else None


def summary(measured: Measured) -> dict[str, float]:
    """The figures of a run that are kept: times in ms."""
    figures: dict[str, Any] = dict(zip(map(str, PERCENTILES), told(measured.signals), strict=True))
    figures["signals"] = len(measured.signals)
    figures["missing"] = int(np.isinf(measured.signals).sum())
    return figures | {"late": told(measured.sender)[PERCENTILES.index(99.0)]}


def row(rate: float, flush: float, found: dict[str, float], floor: dict[str, float] | None) -> str:
    """A line of the table."""
    cells = [f"{rate:,.0f}", f"{flush * 1e3:,.0f} ms", f"{found['signals']:,.0f}"]
    cells += [f"{found[str(each)]:,.0f} ms" for each in PERCENTILES]
    cells += [f"{found['missing']:,.0f}", f"{found['late']:,.0f} ms"]
    if floor is not None:
        cells += [
            f"{floor['50.0']:,.0f} ms",
            f"{floor['99.0']:,.0f} ms",
            f"{found['99.0'] / floor['99.0']:.2f}",
        ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rates", default="1000,10000,50000,100000", help="events a second, with commas")
    parser.add_argument("--flush", default="0.5", help="worker.flush_seconds, with commas")
    parser.add_argument("--seconds", type=float, default=20.0, help="measured at each rate, after a warm-up")
    parser.add_argument(
        "--warm",
        type=float,
        default=60.0,
        help="seconds before: Kafka's virtual machine compiles for a minute (default: %(default)g)",
    )
    parser.add_argument("--every", type=int, default=100, help="one event in so many causes a signal")
    parser.add_argument("--customers", type=int, default=50_000)
    parser.add_argument("--cards", type=int, default=250, help="worker.cards_per_flush")
    parser.add_argument("--linger", type=float, default=0.005, help="seconds that events wait for others")
    parser.add_argument("--plot", type=Path, help="SVG or PNG: latency against the flush interval")
    parser.add_argument(
        "--results", type=Path, help="JSON that keeps what was measured; only what it lacks is measured"
    )
    parser.add_argument("--runs", type=int, default=1, help="of each line, in all calls; medians are shown")
    parser.add_argument("--stop-after", type=float, help="begin no further line after so many seconds")
    parser.add_argument("--floor", action="store_true", help="measure relay.py in turn with the worker")
    args = parser.parse_args()
    compile_kernels()
    # The consumer is in this process, and to look at all that kernels are made of would stop it for 50 ms.
    gc.freeze()
    kept, rows = Kept(args.results, args.runs, args.stop_after), []
    more = (" floor p50 | floor p99 | p99 over floor |", "---|---|---|") if args.floor else ("", "")
    print(f"| events/s | flush | signals | p50 | p99 | p99.9 | max | missing | sent late |{more[0]}")
    print(f"|---|---|---|---|---|---|---|---|---|{more[1]}")
    for rate in map(float, args.rates.split(",")):
        for flush in map(float, args.flush.split(",")):
            found, floor = run(kept, rate, flush, args)
            if found is None:
                continue
            shown = [found[str(each)] for each in PERCENTILES]
            rows.append((rate, flush, shown))
            print(row(rate, flush, found, floor), flush=True)
    if args.plot:
        plot(rows, args.plot)
        print(f"plot: {args.plot}")


if __name__ == "__main__":
    main()
