"""The processes of the demo: a Kafka and a worker, which end with it."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cxstream.local.broker import LocalKafka
from cxstream.local.process import Guarded
from cxstream.model.errors import BrokerError
from cxstream.worker_client import local_socket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cxstream.settings import Settings

_READY_SECONDS = 120.0
_POLL_SECONDS = 0.1
_LOADING_SECONDS = 4.0
# A busy computer of two cores has taken two minutes for it.
_LOADED_SECONDS = 600.0


class Worker:
    """A worker as a child process.

    Args:
        settings: where Kafka is, the group, and how long a stop may take.
        config: the settings file that it is to read, if any.
        folder: takes its log.
    """

    def __init__(self, settings: Settings, config: str | None, folder: Path) -> None:
        options = ["--config", config] if config else []
        command = [
            sys.executable,
            "-P",  # no module of the current folder
            "-m",
            "cxstream",
            *options,
            "worker",
            "--no-ticker",
            "--kafka",
            settings.kafka,
        ]
        self._log = folder / "worker.log"
        self._process = Guarded(
            [
                *command,
                "--group",
                settings.worker.group,
                "--web-host",
                "127.0.0.1",
                "--web-port",
                "0",
                "--metrics-port",
                "0",
            ],
            self._log,
            cwd=Path.cwd(),
            grace=settings.worker.stop_seconds,
            # Its Kafka is the local one, whatever the file and the environment say of another.
            variables={"CXSTREAM_SECURITY__PROTOCOL": settings.security.protocol},
        )

    async def ready(self, say: Callable[[str], None]) -> None:
        """Wait until it has its partitions.

        Args:
            say: told, in a line, what it is doing.

        Raises:
            BrokerError: it ended, or takes too long.
        """
        started = time.monotonic()
        say("starting the worker ...")
        try:
            async with asyncio.timeout(_LOADED_SECONDS):
                await self._until("loading kernels", "ready: ")
                try:
                    # Kernels that were compiled before are loaded faster than that.
                    async with asyncio.timeout(_LOADING_SECONDS):
                        await self._until("kernels ready", "ready: ")
                except TimeoutError:
                    say("compiling the kernels, once: a minute, several on a busy computer ...")
                await self._until("kernels ready", "ready: ")
            say("starting the worker ...")
            async with asyncio.timeout(_READY_SECONDS):
                await self._until("ready: ")
        except TimeoutError:
            raise BrokerError(
                f"the worker is not ready after {time.monotonic() - started:.0f} s; its last lines:\n"
                f"{self._process.tail()}"
            ) from None

    async def _until(self, *parts: str) -> None:
        """Wait for one of these in its log, which has the last of them whatever its level."""
        while not any(part in self._written() for part in parts):
            self.check()
            await asyncio.sleep(_POLL_SECONDS)

    @property
    def metrics(self) -> str | None:
        """Address of its metrics, once it is ready."""
        found = re.search(r"^ready: .* metrics (http://[^\s,]+)", self._written(), re.MULTILINE)
        return found[1] if found else None

    def _written(self) -> str:
        return self._log.read_text("utf-8", "replace")

    def check(self) -> None:
        """Make sure that it runs.

        Raises:
            BrokerError: it ended; says its last lines.
        """
        if self._process.status is not None:
            raise BrokerError(f"the worker ended; its last lines:\n{self._process.tail()}")

    def stop(self) -> None:
        """Stop it cleanly; remove the leftovers of a killed process, too."""
        self._process.stop()
        for port in re.findall(r"http://127\.0\.0\.1:(\d+)", self._written()):
            local_socket.remove(local_socket.place(int(port)), own_folder=True)


@contextlib.contextmanager
def kafka(settings: Settings, say: Callable[[str], None]) -> Iterator[LocalKafka]:
    """Run a local Kafka with temporary data while the block runs.

    Raises:
        BrokerError: it cannot be started.
    """
    broker = LocalKafka(local=settings.local, say=say)
    try:
        yield broker.start()
    finally:
        broker.stop()


@contextlib.contextmanager
def worker(settings: Settings, config: str | None) -> Iterator[Worker]:
    """Run a worker while the block runs."""
    with tempfile.TemporaryDirectory(prefix="cxstream-demo-") as folder:
        child = Worker(settings, config, Path(folder))
        try:
            yield child
        finally:
            child.stop()
