"""Workers as real processes, one a slot, each behind its own network."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from cxstream.local.process import Guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

READY_SECONDS = 120.0
_WATCH_SECONDS = 0.3
_STOP_GRACE = 60.0
# A status above it is that of a process that a signal ended, as a shell says it.
_BY_SIGNAL = 128

# Many transactions and snapshots in little time, and a short wait for a worker that is gone.
BUSY = {
    "CXSTREAM_WORKER__FLUSH_SECONDS": "0.3",
    "CXSTREAM_WORKER__SNAPSHOT_SECONDS": "1.5",
    "CXSTREAM_WORKER__SESSION_SECONDS": "6",
    "CXSTREAM_WORKER__REQUEST_SECONDS": "10",
    "CXSTREAM_WORKER__STOP_SECONDS": "30",
    "CXSTREAM_WORKER__FETCH_BYTES": "300000",
    "CXSTREAM_LOG_FORMAT": "json",
    # Cores are shared by everything here; more threads would only wait for each other.
    "NUMBA_NUM_THREADS": "1",
}


class Said(Enum):
    """What a worker said of a partition."""

    FOLLOWED = "it has a warm copy that follows the owner"
    KEPT = "it runs it, and went on from a state that it had"
    RESTORED = "it runs it, with a state from Kafka"
    CLOSED = "it gave it back"
    REBUILDS = "it does not use the saved state, and builds it from the log"


class Worker:
    """One `cxstream worker` process under a guard that ends it when the harness ends.

    Args:
        command: program and arguments.
        log: takes its output.
        environment: variables besides the harness's own.
    """

    def __init__(self, command: list[str], log: Path, environment: Mapping[str, str]) -> None:
        self.log = log
        variables = [f"{name}={value}" for name, value in environment.items()]
        self._process = Guarded(["env", *variables, *command], log, cwd=log.parent, grace=_STOP_GRACE)
        self.expected = False

    @property
    def status(self) -> int | None:
        """Exit status; None while it runs."""
        return self._process.status

    @property
    def ready(self) -> bool:
        """It has said so."""
        return any(line.startswith(b"ready: ") for line in self.log.read_bytes().splitlines())

    def said(self) -> list[tuple[int, Said]]:
        """What it said of its partitions, by number, in order."""
        whole, _, _ = self.log.read_bytes().rpartition(b"\n")
        entries = [json.loads(line) for line in whole.splitlines() if line.startswith(b"{")]
        found = ((entry.get("partition"), _said(entry)) for entry in entries)
        return [(partition, said) for partition, said in found if said is not None]

    def peak_bytes(self) -> int:
        """The most memory that it has had so far (peak RSS); 0 where it has ended, or the system does not say."""
        guard = self._process.pid
        with suppress(OSError, ValueError, IndexError, StopIteration):
            [child] = Path(f"/proc/{guard}/task/{guard}/children").read_text().split()
            status = Path(f"/proc/{child}/status").read_text()
            line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
            return int(line.split()[1]) * 1024
        return 0

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and its guard at once: SIGKILL and SIGSTOP leave no time for anything."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """End it as a power failure would."""
        self.expected = True
        self.signal(signal.SIGKILL)
        self._process.kill()

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        self.expected = True
        self._process.stop()
        return self._process.status or 0


def _said(entry: dict[str, Any]) -> Said | None:
    match entry:
        case {"event": "standby follows"}:
            return Said.FOLLOWED
        case {"event": "partition running", "kept": kept}:
            return Said.KEPT if kept else Said.RESTORED
        case {"event": "partition closed"}:
            return Said.CLOSED
        case {"event": "rebuilding the state from the log"}:
            return Said.REBUILDS
    return None


class Fleet:
    """The workers of one run, by slot; one that ends by itself is started again, as a supervisor would.

    Args:
        bootstrap_of: where the worker of a slot finds Kafka.
        group: their consumer group.
        folder: for their logs.
        options: of every worker, after `cxstream worker`.
        environment_of: of the worker in a slot.

    Attributes:
        workers: those that should run now.
        started: all that were started, in order.
        deaths: workers that ended by themselves, or with a bad status when told to stop, in words.
        crashes: those of them that a signal ended which nobody here had sent, in words.
        peaks: the most memory that each has had, in bytes, by the name of its log.
        group: of workers that are started from now on.
    """

    def __init__(
        self,
        bootstrap_of: Callable[[int], str],
        group: str,
        folder: Path,
        options: list[str],
        environment_of: Callable[[int], Mapping[str, str]],
    ) -> None:
        self.workers: dict[int, Worker] = {}
        self.started: list[Worker] = []
        self.deaths: list[str] = []
        self.crashes: list[str] = []
        self.peaks: dict[str, int] = {}
        self.options = options
        self.group = group
        self._bootstrap_of = bootstrap_of
        self._folder = folder
        self._environment_of = environment_of
        self._starts = 0
        self._supervisor: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._supervisor = asyncio.create_task(self._supervise())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._supervisor:
            self._supervisor.cancel()
            await asyncio.wait([self._supervisor])
        for worker in self.workers.values():
            await asyncio.to_thread(worker.kill)

    def launch(self, slot: int) -> Worker:
        """Start a worker; it is ready some time later."""
        self._starts += 1
        log = self._folder / f"worker-{slot}-{self._starts}.log"
        command = [
            sys.executable, "-m", "cxstream", "worker", "--kafka", self._bootstrap_of(slot),
            "--group", self.group, "--web-port", "0", "--metrics-port", "0", *self.options,
        ]  # fmt: skip
        self.workers[slot] = worker = Worker(command, log, {**BUSY, **self._environment_of(slot)})
        self.started.append(worker)
        return worker

    async def start(self, *slots: int) -> None:
        """Start workers and wait until they say that they are ready."""
        for slot in slots:
            self.launch(slot)
        for slot in slots:
            await self.ready(slot)

    async def ready(self, slot: int) -> None:
        """Wait until the worker says that it is ready.

        Raises:
            TimeoutError: it does not.
        """
        deadline = time.monotonic() + READY_SECONDS
        while not self.workers[slot].ready:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.workers[slot].log}: not ready within {READY_SECONDS:.0f} s")
            await asyncio.sleep(0.05)

    async def kill(self, slot: int) -> None:
        """SIGKILL."""
        worker = self.workers.pop(slot)
        self._measure(worker)
        await asyncio.to_thread(worker.kill)

    async def stop(self, *slots: int) -> None:
        """SIGTERM, and wait for the end; a bad exit status is a death."""
        leaving = [self.workers.pop(slot) for slot in slots]
        for worker in leaving:
            self._measure(worker)
            # One that hangs, as a fault that failed may leave it, would not hear of it.
            worker.signal(signal.SIGCONT)
        statuses = await asyncio.gather(*(asyncio.to_thread(worker.stop) for worker in leaving))
        for worker, status in zip(leaving, statuses, strict=True):
            if status:
                self.deaths.append(f"{worker.log.name}: ended with {status} when told to stop")
                # SIGKILL is what its guard sends to one that does not stop.
                if status > _BY_SIGNAL and status != _BY_SIGNAL + signal.SIGKILL:
                    self.crashes.append(self.deaths[-1])

    async def ended(self, slot: int, seconds: float) -> tuple[int, str]:
        """Wait until a worker that should end by itself has; its exit status and what it wrote.

        Call `expect_end` before that which it should end by.

        Raises:
            TimeoutError: it has not.
        """
        worker, deadline = self.workers[slot], time.monotonic() + seconds
        while worker.status is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{worker.log}: still runs after {seconds:.0f} s")
            await asyncio.sleep(0.05)
        del self.workers[slot]
        return worker.status, worker.log.read_text(errors="replace")

    def expect_end(self, slot: int) -> None:
        """Start a worker no more that ends by itself from now on."""
        self.workers[slot].expected = True

    def freeze(self, slot: int) -> None:
        """SIGSTOP."""
        self.workers[slot].signal(signal.SIGSTOP)

    def thaw(self, slot: int) -> None:
        """SIGCONT."""
        self.workers[slot].signal(signal.SIGCONT)

    async def _supervise(self) -> None:
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            for slot, worker in list(self.workers.items()):
                self._measure(worker)
                if worker.status is not None and not worker.expected:
                    self.deaths.append(f"{worker.log.name}: ended by itself with {worker.status}")
                    if worker.status > _BY_SIGNAL:
                        self.crashes.append(self.deaths[-1])
                    self.launch(slot)

    def _measure(self, worker: Worker) -> None:
        name = worker.log.name
        self.peaks[name] = max(self.peaks.get(name, 0), worker.peak_bytes())
