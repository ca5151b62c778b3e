"""How long until an event is on the screens of all browsers, and the memory of the console meanwhile.

    python benchmarks/console.py [--browsers 200] [--seconds 60] [--customers 2000] [--events 50000]

A real Kafka, a worker, and `cxstream serve --follow`. Each browser keeps a stream of changes and asks for its page when it is told of
one, as the script of the pages does: not more than once a second, and less often where the server is slow. Half of them show Today,
half Quality, where an event of a source that nobody knows yet is seen. `event to screen` is from before the event is sent to Kafka to
the last byte of the page that shows it; `page` is what a request takes. All of it shares the cores of this computer.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiokafka
import numpy as np

from cxstream.kafka.admin import ensure_topics
from cxstream.kafka.connection import connection
from cxstream.local import LocalKafka
from cxstream.settings import Settings
from cxstream.topology import TOUCHPOINTS

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGES = ("/quality", "/today")
QUALITY = "/api/v1/views/quality?by=source"
EVERY_SECONDS = 3.0
READY_SECONDS = 300.0


@dataclass
class Seen:
    """What browsers saw.

    Attributes:
        sent: when each probe was sent, by its number.
        shown: seconds until each browser had it on the screen.
        pages: seconds of each request.
    """

    sent: dict[int, float] = field(default_factory=dict)
    shown: list[float] = field(default_factory=list)
    pages: list[float] = field(default_factory=list)


class Browser:
    """One stream and one page, each on a connection of its own."""

    def __init__(self, host: str, port: int, page: str, seen: Seen) -> None:
        self._host, self._port, self._page, self._seen = host, port, page, seen
        self._told = asyncio.Event()
        self._known = 0

    async def run(self) -> None:
        """Show what comes until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen())
            group.create_task(self._show())

    async def _listen(self) -> None:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        try:
            await self.ask(writer, "/live")
            while line := await reader.readline():
                if line.startswith(b"event: version"):
                    self._told.set()
        finally:
            writer.close()

    async def _show(self) -> None:
        while True:
            await self._told.wait()
            self._told.clear()
            began = time.monotonic()
            # The server closes what is idle for five seconds.
            reader, writer = await asyncio.open_connection(self._host, self._port)
            try:
                await self.ask(writer, self._page)
                text = await self.answer(reader)
            finally:
                writer.close()
            ended = time.monotonic()
            self._seen.pages.append(ended - began)
            self._note(text, ended)
            await asyncio.sleep(max(1.0, 5 * (ended - began)))

    def _note(self, text: bytes, now: float) -> None:
        found = max((int(each) for each in re.findall(rb"/probe-(\d+)", text)), default=0)
        for number in range(self._known + 1, found + 1):
            self._seen.shown.append(now - self._seen.sent[number])
        self._known = max(self._known, found)

    async def ask(self, writer: asyncio.StreamWriter, path: str) -> None:
        """Send a request."""
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n\r\n".encode())
        await writer.drain()

    async def answer(self, reader: asyncio.StreamReader) -> bytes:
        """The body of an answer."""
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n", 1)[0]:
            raise SystemExit(head.decode())
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        if length is None:
            raise SystemExit("the page has no length")
        return await reader.readexactly(int(length[1]))


@contextlib.contextmanager
def child(name: str, *arguments: str, **variables: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A cxstream command that has said that it is ready, and its line; it is ended afterwards."""
    command = [sys.executable, "-m", "cxstream", *arguments]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **variables},
    ) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                raise SystemExit(f"{name} ends with status {process.wait()}")
            yield process, line
        finally:
            process.terminate()


def memory_mib(pid: int, what: str) -> float:
    """VmRSS or VmHWM of a process, in MiB."""
    found = re.search(rf"{what}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else float("nan")


def event(number: int, source: str) -> bytes:
    """A touchpoint of now."""
    return json.dumps(
        {
            "specversion": "1.0",
            "id": f"probe-{number}",
            "source": source,
            "type": "cx.touchpoint.page_view.v1",
            "subject": f"probe-{number}",
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "data": {"channel": "web", "touchpoint": "checkout"},
        }
    ).encode()


async def measured(settings: Settings, address: str, browsers: int, seconds: float) -> Seen:
    """What browsers see while an event comes now and then."""
    parts = urlsplit(address)
    host, port = parts.hostname or "", parts.port or 0
    seen = Seen()
    async with aiokafka.AIOKafkaProducer(**connection(settings)) as producer:
        tasks = [asyncio.create_task(Browser(host, port, PAGES[n % 2], seen).run()) for n in range(browsers)]
        await asyncio.sleep(EVERY_SECONDS)
        seen.pages.clear()
        for number in range(1, int(seconds / EVERY_SECONDS) + 1):
            seen.sent[number] = time.monotonic()
            value = event(number, f"/probe-{number}")
            await producer.send_and_wait(TOUCHPOINTS.name, value, key=f"probe-{number}".encode())
            await asyncio.sleep(EVERY_SECONDS)
        wanted = len(seen.sent) * ((browsers + 1) // 2)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(60):
                while len(seen.shown) < wanted:
                    await asyncio.sleep(0.1)
        failed = next((each for each in tasks if each.done()), None)
        if failed is not None:
            failed.result()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if len(seen.shown) < wanted:
        raise SystemExit(f"{wanted - len(seen.shown)} of {wanted} events were not shown within a minute")
    return seen


def told(name: str, values: list[float]) -> str:
    """A line with the spread of some seconds."""
    middle, high, most = np.quantile(values, (0.5, 0.95, 1.0))
    return (
        f"{name:16} p50 {middle:6.3f} s   p95 {high:6.3f} s   most {most:6.3f} s   {len(values):,} measured"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--browsers", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--customers", type=int, default=2000)
    parser.add_argument("--events", type=int, default=50_000)
    chosen = parser.parse_args()
    with LocalKafka() as kafka, tempfile.TemporaryDirectory() as folder:
        settings = Settings(kafka=kafka.bootstrap)
        asyncio.run(ensure_topics(settings, 4))
        size = ("--customers", str(chosen.customers), "--events", str(chosen.events))
        simulate = [sys.executable, "-m", "cxstream", "simulate", *size, "--kafka", kafka.bootstrap]
        subprocess.run(simulate, check=True, stdout=subprocess.DEVNULL)
        common = {"CXSTREAM_KAFKA": kafka.bootstrap, "CXSTREAM_LOG_LEVEL": "error"}
        worker = child("the worker", "worker", "--web-port", "0", "--metrics-port", "0", **common)
        console = child(
            "the console",
            *("serve", "--follow", "--port", "0", "--warehouse", str(Path(folder) / "w.duckdb")),
            **common,
            CXSTREAM_CONSOLE__REQUESTS_PER_MINUTE="1000000",
            CXSTREAM_WAREHOUSE__MEMORY_MIB="512",
        )
        with worker, console as (process, line):
            address = line.rpartition(" ")[2].strip()
            asyncio.run(ready(settings, address, chosen.events))
            before = memory_mib(process.pid, "VmRSS")
            seen = asyncio.run(measured(settings, address, chosen.browsers, chosen.seconds))
            after, most = (memory_mib(process.pid, each) for each in ("VmRSS", "VmHWM"))
    print(f"{chosen.browsers} browsers, {chosen.customers:,} customers, {chosen.events:,} events")
    print(told("event to screen", seen.shown))
    print(told("page", seen.pages))
    print(
        f"memory of the console: {before:.0f} MiB before, {after:.0f} MiB with them, at most {most:.0f} MiB"
    )


async def ready(settings: Settings, address: str, events: int) -> None:
    """Wait until the worker and the console have all that there was: a first probe is on the page."""
    parts = urlsplit(address)
    seen = Seen()
    async with aiokafka.AIOKafkaProducer(**connection(settings)) as producer:
        await producer.send_and_wait(TOUCHPOINTS.name, event(0, "/first"), key=b"probe-0")
    browser = Browser(parts.hostname or "", parts.port or 0, QUALITY, seen)
    deadline, before = time.monotonic() + READY_SECONDS, -1
    while time.monotonic() < deadline:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        await browser.ask(writer, QUALITY)
        rows = json.loads(await browser.answer(reader))["rows"]
        writer.close()
        taken = sum(row["touchpoints"] for row in rows)
        if taken == before and any(row["source"] == "/first" for row in rows):
            return
        before = taken
        await asyncio.sleep(2)
    raise SystemExit(f"{events:,} events are not taken in within {READY_SECONDS:g} s")


if __name__ == "__main__":
    main()
