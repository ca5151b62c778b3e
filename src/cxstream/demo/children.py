"""The processes of the demo: a Kafka, a worker, a warehouse and a console, which end with it."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from cxstream.local.broker import LocalKafka
from cxstream.local.process import Guarded
from cxstream.model.errors import BrokerError
from cxstream.worker_client import local_socket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from cxstream.settings import Settings

_READY_SECONDS = 120.0
_POLL_SECONDS = 0.1
_LOADING_SECONDS = 4.0
# A busy computer of two cores has taken two minutes for it.
_LOADED_SECONDS = 600.0
_USER = "demo"

C = TypeVar("C", "Worker", "Pages")


class _Child:
    """A cxstream command as a child process.

    Args:
        name: what it is called in messages.
        arguments: of cxstream.
        settings: where Kafka is, and how long a stop may take.
        config: the settings file that it is to read, if any.
        folder: takes its log.
        variables: environment variables that it has besides ours.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        settings: Settings,
        config: str | None,
        folder: Path,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        options = ["--config", config] if config else []
        self._name = name
        self._log = folder / f"{name}.log"
        self._process = Guarded(
            # Without modules of the current folder.
            [sys.executable, "-P", "-m", "cxstream", *options, *arguments, "--kafka", settings.kafka],
            self._log,
            cwd=Path.cwd(),
            grace=settings.worker.stop_seconds,
            # Its Kafka is the local one, whatever the file and the environment say of another.
            variables={"CXSTREAM_SECURITY__PROTOCOL": settings.security.protocol, **(variables or {})},
            private=True,
        )

    async def _until(self, *parts: str) -> None:
        """Wait for one of these in its log, which has the last of them whatever its level."""
        while not any(part in self.written() for part in parts):
            self.check()
            await asyncio.sleep(_POLL_SECONDS)

    async def said(self, pattern: str) -> re.Match[str]:
        """Wait for this in its log, but not for ever.

        Raises:
            BrokerError: it ended, or takes too long.
        """
        try:
            async with asyncio.timeout(_READY_SECONDS):
                while not (found := re.search(pattern, self.written(), re.MULTILINE)):
                    self.check()
                    await asyncio.sleep(_POLL_SECONDS)
                return found
        except TimeoutError:
            raise BrokerError(
                f"the {self._name} is not ready after {_READY_SECONDS:.0f} s; its last lines:\n{self._process.tail()}"
            ) from None

    def written(self) -> str:
        """Its log."""
        return self._log.read_text("utf-8", "replace")

    def check(self) -> None:
        """Make sure that it runs.

        Raises:
            BrokerError: it ended; says its last lines.
        """
        if self._process.status is not None:
            raise BrokerError(f"the {self._name} ended; its last lines:\n{self._process.tail()}")

    def stop(self) -> None:
        """Stop it cleanly."""
        self._process.stop()


class Worker(_Child):
    """A worker as a child process.

    Args:
        settings: where Kafka is, the group, and how long a stop may take.
        config: the settings file that it is to read, if any.
        folder: takes its log.
    """

    def __init__(self, settings: Settings, config: str | None, folder: Path) -> None:
        arguments = ["worker", "--no-ticker", "--group", settings.worker.group]
        arguments += ["--web-host", "127.0.0.1", "--web-port", "0", "--metrics-port", "0"]
        super().__init__("worker", arguments, settings, config, folder)

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

    @property
    def metrics(self) -> str | None:
        """Address of its metrics, once it is ready."""
        found = re.search(r"^ready: .* metrics (http://[^\s,]+)", self.written(), re.MULTILINE)
        return found[1] if found else None

    def stop(self) -> None:
        """Stop it cleanly; remove the leftovers of a killed process, too."""
        super().stop()
        for port in re.findall(r"http://127\.0\.0\.1:(\d+)", self.written()):
            local_socket.remove(local_socket.place(int(port)), own_folder=True)


class Pages(_Child):
    """The console, which follows Kafka, as a child process: pages show an event within a second or two.

    Args:
        settings: where Kafka is, and how long a stop may take.
        config: the settings file that it is to read, if any.
        folder: takes the warehouse, the one who may sign in, and its log.
    """

    def __init__(self, settings: Settings, config: str | None, folder: Path) -> None:
        from cxstream.console.people import add_person

        self._password = secrets.token_urlsafe(9)
        users = folder / "users.json"
        add_person(users, _USER, "admin", self._password)
        variables = {
            "CXSTREAM_WAREHOUSE__PATH": str(folder / "demo.duckdb"),
            "CXSTREAM_WAREHOUSE__MEMORY_MIB": "512",
            "CXSTREAM_CONSOLE__USERS_FILE": str(users),
            "CXSTREAM_CONSOLE__COMPANY": "Demo",
        }
        arguments = ["serve", "--follow", "--host", "127.0.0.1", "--port", "0"]
        super().__init__("console", arguments, settings, config, folder, variables)

    async def ready(self) -> str:
        """Wait until there are pages; returns their address, and how to sign in.

        Raises:
            BrokerError: it ended, or takes too long.
        """
        found = await self.said(r" at (http\S+/)(, metrics at \S+)?$")
        return f"{found[1]}  name {_USER}, password {self._password}"


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


def worker(settings: Settings, config: str | None) -> AbstractContextManager[Worker]:
    """Run a worker while the block runs."""
    return _running(Worker, settings, config)


def pages(settings: Settings, config: str | None) -> AbstractContextManager[Pages]:
    """Run the console over a warehouse while the block runs."""
    return _running(Pages, settings, config)


@contextlib.contextmanager
def _running(kind: type[C], settings: Settings, config: str | None) -> Iterator[C]:
    with tempfile.TemporaryDirectory(prefix="cxstream-demo-") as folder:
        child = kind(settings, config, Path(folder))
        try:
            yield child
        finally:
            child.stop()
