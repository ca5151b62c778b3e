"""Workers as their own processes, and what they wrote, as a careful reader of Kafka sees it."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

import aiokafka
from aiokafka import TopicPartition

from cxstream.kafka.admin import administration
from cxstream.kafka.connection import connection
from cxstream.kafka.groups import group_of
from cxstream.kafka.producer import route

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from cxstream.kafka.groups import Member
    from cxstream.settings import Settings
    from cxstream.worker.faust.app import App

READY_SECONDS = 90.0
STOP_SECONDS = 120.0


class WorkerProcess:
    """`cxstream worker` in a process of its own, without ticker unless it is asked for, on free ports."""

    def __init__(
        self, settings: Settings, log: Path, *options: str, ticker: bool = False, **environment: str
    ) -> None:
        self._log_path = log
        self._log = log.open("ab")
        self._lines: queue.Queue[str] = queue.Queue()
        command = [sys.executable, "-m", "cxstream", "worker", "--kafka", settings.kafka]
        command += [
            "--group",
            settings.worker.group,
            *(() if ticker else ("--no-ticker",)),
            "--web-port",
            "0",
            "--metrics-port",
            "0",
            *options,
        ]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self._log, text=True, env={**os.environ, **environment}
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(STOP_SECONDS)
        self._listener.join(STOP_SECONDS)
        assert self.process.stdout
        self.process.stdout.close()
        self._log.close()

    def _listen(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self._lines.put(line.strip())
        self._lines.put("")

    def ready(self) -> str:
        """Wait for the line that says so."""
        line = self._lines.get(timeout=READY_SECONDS)
        assert line.startswith("ready: "), f"said {line!r}; log:\n{self.log}"
        return line

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; the exit status."""
        self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS)

    @property
    def log(self) -> str:
        """What it logged."""
        return self._log_path.read_text(errors="replace")


def cxstream(*arguments: object) -> None:
    """Run a cxstream command to its successful end."""
    command = [sys.executable, "-m", "cxstream", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"


async def until(condition: Callable[[], Any], seconds: float, what: Callable[[], str]) -> None:
    """Poll a condition (or coroutine function) until it holds."""
    deadline = time.monotonic() + seconds
    while True:
        held = condition()
        if asyncio.iscoroutine(held):
            held = await held
        if held:
            return
        assert time.monotonic() < deadline, f"not within {seconds} s: {what()}"
        await asyncio.sleep(0.05)


@asynccontextmanager
async def in_process(app: App) -> AsyncIterator[None]:
    """An app that runs in this event loop."""
    starting = asyncio.create_task(app.start())
    try:
        yield
    finally:
        await app.stop()
        starting.cancel()
        with suppress(asyncio.CancelledError):
            await starting
        # Faust leaves coroutines that were never finished; they end here rather than in some later test.
        gc.collect()


def touchpoint(customer: str, number: int, kind: str = "error", **data: Any) -> bytes:
    """A structured touchpoint; the number makes its id and its time, a second each."""
    event = {
        "specversion": "1.0",
        "id": f"e{number}",
        "source": "/test",
        "type": f"cx.touchpoint.{kind}.v1",
        "subject": customer,
        "time": f"2025-03-{1 + number // 86400:02}T{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}Z",
        "data": {"channel": "web", **data},
    }
    return json.dumps(event, separators=(",", ":")).encode()


def customers_of(partition: int, count: int, many: int = 1, prefix: str = "c") -> list[str]:
    """Customers who belong to a partition among `count`."""
    named = (f"{prefix}{n}" for n in itertools.count())
    there = (name for name in named if route([name.encode()], count) == [partition])
    return list(itertools.islice(there, many))


def key_of(value: bytes) -> bytes | None:
    """The Kafka key that a record should have."""
    try:
        return json.loads(value)["subject"].encode()
    except (ValueError, KeyError, TypeError):
        return None


async def write(settings: Settings, topic: str, values: dict[int, list[bytes]], **options: Any) -> None:
    """Send values to partitions, keyed by subject, in order."""
    async with aiokafka.AIOKafkaProducer(
        **connection(settings), max_batch_size=900_000, **options
    ) as producer:
        for partition, some in values.items():
            batch = producer.create_batch()
            for value in some:
                assert batch.append(timestamp=None, key=key_of(value), value=value)
            await (await producer.send_batch(batch, topic, partition=partition))


async def members(settings: Settings) -> list[Member]:
    """Who is in the group, or is still taken for a member though it was killed."""
    async with administration(settings) as admin:
        return (await group_of(admin, settings.worker.group, settings.topology.touchpoints.name)).members


class Watcher:
    """Reads committed offsets, and topics with read_committed."""

    def __init__(self, settings: Settings, partitions: int = 4) -> None:
        self._settings = settings
        self._partitions = range(partitions)
        self._touchpoints = settings.topology.touchpoints.name
        # Two, as a consumer of a group must not be assigned anew while it looks for its coordinator.
        self._group = aiokafka.AIOKafkaConsumer(
            **connection(settings), group_id=settings.worker.group, enable_auto_commit=False
        )
        self._consumer = aiokafka.AIOKafkaConsumer(**connection(settings), isolation_level="read_committed")

    async def __aenter__(self) -> Self:
        await self._group.start()
        await self._consumer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()
        await self._group.stop()

    async def committed(self) -> int:
        """Source offsets committed, over all partitions."""
        return sum(
            [
                (await self._group.committed(TopicPartition(self._touchpoints, p))) or 0
                for p in self._partitions
            ]
        )

    async def produced(self) -> int:
        """Source offsets there are, over all partitions."""
        return sum((await self._consumer.end_offsets(self._tps(self._touchpoints))).values())

    async def all_committed(self) -> bool:
        return await self.committed() == await self.produced()

    async def read(self, topic: str) -> dict[int, list[Any]]:
        """Everything committed in a topic: {partition: records}.

        Waits for the end of transactions that are under way: Kafka acknowledges a commit before it is in the
        partitions, and until then a reader of what is committed does not see it.
        """
        tps = self._tps(topic)
        self._consumer.assign(tps)
        await self._consumer.seek_to_beginning(*tps)
        ends = await self._group.end_offsets(tps)
        records: dict[int, list[Any]] = defaultdict(list)
        while any([await self._consumer.position(tp) < end for tp, end in ends.items()]):
            for tp, found in (await self._consumer.getmany(timeout_ms=200)).items():
                records[tp.partition] += found
        return dict(records)

    def _tps(self, topic: str) -> list[TopicPartition]:
        return [TopicPartition(topic, p) for p in self._partitions]
