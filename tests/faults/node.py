"""One of the three brokers: a KRaft node, broker and controller, that can be killed and started again."""

from __future__ import annotations

import asyncio
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cxstream.local import config
from cxstream.local.broker import answers
from cxstream.local.process import Guarded

if TYPE_CHECKING:
    from pathlib import Path

READY_SECONDS = 120.0

# Small, and quick to start rather than quick to run: three of them share the computer with the workers.
_JVM = (
    "-Xmx384m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
)


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a node listens.

    Attributes:
        direct: for the harness and the other brokers.
        controller: for the quorum.
        slots: for the proxy, one a worker slot.
        proxied: where the proxy listens for each of those: what the node tells the worker of that slot.
    """

    direct: int
    controller: int
    slots: list[int]
    proxied: list[int]


def properties(number: int, ports: dict[int, Ports]) -> dict[str, str]:
    """What a node is told: three replicas, two of which must have a record before it counts."""
    mine = ports[number]
    names = [f"SLOT{slot}" for slot in range(len(mine.slots))]
    listening = {"DIRECT": mine.direct, **dict(zip(names, mine.slots, strict=True))}
    advertised = {"DIRECT": mine.direct, **dict(zip(names, mine.proxied, strict=True))}
    return {
        **config.DEVELOPMENT,
        "process.roles": "broker,controller",
        "node.id": str(number),
        "controller.quorum.voters": ",".join(f"{n}@127.0.0.1:{p.controller}" for n, p in ports.items()),
        "listeners": _listeners({**listening, "CONTROLLER": mine.controller}),
        "advertised.listeners": _listeners(advertised),
        "listener.security.protocol.map": ",".join(
            f"{name}:PLAINTEXT" for name in [*listening, "CONTROLLER"]
        ),
        "inter.broker.listener.name": "DIRECT",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": "log",
        "default.replication.factor": "3",
        "min.insync.replicas": "2",
        "offsets.topic.replication.factor": "3",
        "transaction.state.log.replication.factor": "3",
        "transaction.state.log.min.isr": "2",
        # A dead broker is noticed in seconds, so that a run takes seconds too.
        "broker.session.timeout.ms": "6000",
        "broker.heartbeat.interval.ms": "1000",
        "replica.lag.time.max.ms": "6000",
        "controlled.shutdown.enable": "true",
        "num.network.threads": "1",
    }


def _listeners(ports: dict[str, int]) -> str:
    return ",".join(f"{name}://127.0.0.1:{port}" for name, port in ports.items())


class Node:
    """One broker.

    Args:
        number: its node id.
        folder: its own, of which its data, configuration and logs are part.
        program: Java and its classpath.
        ports: where it listens.
        inside: what to put before the command, to run it where its disk is.

    Attributes:
        number: its node id.
        folder: its own.
    """

    def __init__(
        self, number: int, folder: Path, program: list[str], ports: Ports, inside: list[str]
    ) -> None:
        self.number = number
        self.folder = folder
        self._program = [*inside, program[0], *_JVM, *program[1:]]
        self._ports = ports
        self._process: Guarded | None = None
        self._starts = 0

    @property
    def address(self) -> str:
        """For the harness."""
        return f"127.0.0.1:{self._ports.direct}"

    @property
    def running(self) -> bool:
        """It has been started and has not ended."""
        return self._process is not None and self._process.status is None

    def format(self, cluster: str) -> None:
        """Make its data folder one of the cluster's.

        Raises:
            RuntimeError: Kafka does not; says what it said.
        """
        done = subprocess.run(
            [
                *self._program, self._log4j(), "kafka.tools.StorageTool", "format",
                f"--cluster-id={cluster}", "--config=server.properties",
            ],
            cwd=self.folder, capture_output=True, text=True, check=False, timeout=READY_SECONDS,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{self.folder}: Kafka cannot format it:\n{done.stdout}{done.stderr}")

    def start(self) -> None:
        """Start it; it answers some time later."""
        self._starts += 1
        # Each start has a log of its own: what a broker said before it died is what one wants to read.
        log = self.folder / f"kafka-{self._starts}.log"
        self._process = Guarded(
            [*self._program, self._log4j(), "kafka.Kafka", "server.properties"], log, cwd=self.folder
        )

    async def answering(self) -> None:
        """Wait until it answers.

        Raises:
            RuntimeError: it ended, or does not in time.
        """
        deadline = time.monotonic() + READY_SECONDS
        while not await asyncio.to_thread(answers, self.address):
            if not self.running or time.monotonic() > deadline:
                said = self._process.tail(30) if self._process else ""
                raise RuntimeError(f"broker {self.number} does not answer:\n{said}")
            await asyncio.sleep(0.1)

    async def ended(self, seconds: float) -> None:
        """Wait until it has ended by itself.

        Raises:
            TimeoutError: it has not.
        """
        deadline = time.monotonic() + seconds
        while self.running:
            if time.monotonic() > deadline:
                raise TimeoutError(f"broker {self.number} still runs after {seconds:.0f} s")
            await asyncio.sleep(0.2)

    def kill(self) -> None:
        """End it as a power failure would."""
        if self._process:
            self._process.kill()

    def stop(self) -> None:
        """End it in good order."""
        if self._process:
            self._process.stop()

    def tail(self) -> str:
        """The last lines of its log."""
        return self._process.tail() if self._process else ""

    def _log4j(self) -> str:
        return f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}"
