"""LocalKafka: a real Apache Kafka as a child process, out of Python packages alone."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Self

from cxstream.kafka.connection import check
from cxstream.local import config, data, jars, java, ports
from cxstream.local.process import Guarded
from cxstream.model.errors import BrokerError
from cxstream.settings import Local, Settings

if TYPE_CHECKING:
    from collections.abc import Callable

# A busy computer with two cores has taken more than a minute to format the folder.
READY_SECONDS = 240.0
_FORMAT_SECONDS = 180.0
# Another process may take a free port between our look and Kafka's bind.
_PORT_ATTEMPTS = 3
_PORT_TAKEN = "Address already in use"

# A small heap and few threads: it shares the computer with everything that uses it.
_JVM = ("-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true")


class LocalKafka:
    """One Kafka node (KRaft: broker and controller) that lives as long as this process or until `stop`.

    Use it as a context manager, from synchronous code, or from a thread beside an event loop.

    Args:
        folder: where its data is kept; None: a temporary folder that goes with it.
        port: where clients find it; 0: a free one.
        local: version, heap and the like.
        cache: folder that keeps the jars between runs; None: the user's cache folder.
        say: told, in a line, when something takes long.

    Attributes:
        node: its node id; a cluster would count them up.
    """

    node = 1

    def __init__(
        self,
        folder: Path | None = None,
        *,
        port: int = 0,
        local: Local | None = None,
        cache: Path | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._folder = folder
        self._wanted = port
        self._local = local or Local()
        self._cache = cache or jars.user_cache()
        self._say = say
        self._process: Guarded | None = None
        self._port = 0

    @property
    def bootstrap(self) -> str:
        """Its address for clients, once it is started."""
        return f"localhost:{self._port}"

    @property
    def port(self) -> int:
        """Its port, once it is started."""
        return self._port

    @property
    def log(self) -> Path | None:
        """Kafka's log file, once it is started."""
        return self._process.log if self._process else None

    @property
    def pid(self) -> int | None:
        """Process group of the running node."""
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        """Whether the node has been started and has not ended."""
        return self._process is not None and self._process.status is None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Self:
        """Start the node and wait until it answers.

        Raises:
            BrokerError: it cannot be fetched, has no Java, no folder or no port, or Kafka itself gave up;
                the message says which, what to do, and the end of Kafka's log.
        """
        if self.running:
            return self
        if self._wanted and not ports.is_free(self._wanted):
            raise BrokerError(
                f"port {self._wanted} is taken: stop what uses it, or choose another with --port"
            )
        program: list[str | Path] = [
            java.find(),
            *_JVM,
            "-cp",
            f"{jars.ensure(self._local.kafka_version, self._cache, self._say, self._local.kafka_sums)}/*",
        ]
        folder = data.claim(self._folder or Path(tempfile.mkdtemp(prefix="cxstream-kafka-")))
        try:
            self._start(program, folder)
        except BaseException:
            self.kill()
            if self._folder is None:
                shutil.rmtree(folder.path, ignore_errors=True)
            raise
        finally:
            # From here on the guard holds the claim: the folder is taken until Kafka itself has ended.
            folder.release()
        return self

    def stop(self) -> None:
        """Stop the node cleanly. Safe to call twice, and when it is not running."""
        if self._process:
            self._process.stop()

    def kill(self) -> None:
        """End the node as a power failure would."""
        if self._process:
            self._process.kill()

    def failure(self) -> BrokerError:
        """What to say when the node has ended by itself."""
        tail = self._process.tail() if self._process else ""
        log = self.log
        return BrokerError(f"Kafka ended; the last lines of {log}:\n{tail}")

    def _start(self, program: list[str | Path], folder: data.DataFolder) -> None:
        for _ in range(_PORT_ATTEMPTS):
            self._port, controller = self._ports()
            properties = config.write(folder.path, config.server(self.node, self._port, controller))
            if not folder.formatted:
                _format(program, folder, properties)
            if self._runs(program, folder):
                return
        raise self.failure()

    def _ports(self) -> tuple[int, int]:
        client, controller = ports.free(2)
        return self._wanted or client, controller

    def _runs(self, program: list[str | Path], folder: data.DataFolder) -> bool:
        """Start Kafka; False when another process was quicker at one of its ports.

        Raises:
            BrokerError: it ended for another reason, or does not answer in time.
        """
        heap = f"-Xmx{self._local.heap}"
        self._process = Guarded(
            [*program[:1], heap, *program[1:], *_log4j(folder.path), "kafka.Kafka", "server.properties"],
            folder.path / "kafka.log",
            cwd=folder.path,
            scratch=folder.path if self._folder is None else None,
            hold=[folder.lock],
            private=True,
        )
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            if self._process.status is not None:
                if _PORT_TAKEN in self._process.tail(200):
                    self._process.stop()
                    return False
                raise self.failure()
            if ports.accepts(self._port) and answers(self.bootstrap):
                return True
            time.sleep(0.05)
        raise BrokerError(
            f"Kafka does not answer {READY_SECONDS:.0f} s after its start; "
            f"the last lines of {self.log}:\n{self._process.tail()}"
        )


def _log4j(folder: Path) -> list[str]:
    return [f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}"]


def _format(program: list[str | Path], folder: data.DataFolder, properties: Path) -> None:
    tool: list[str | Path] = [
        "kafka.tools.StorageTool",
        "format",
        "--ignore-formatted",
        # One word each: an id may begin with a dash.
        f"--cluster-id={folder.cluster}",
        f"--config={properties}",
    ]
    try:
        done = subprocess.run(  # noqa: S603 - our own Java, no shell
            [*program, *_log4j(folder.path), *tool],
            cwd=folder.path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_FORMAT_SECONDS,
            check=False,
            umask=0o077,
        )
    except subprocess.TimeoutExpired as error:
        raise BrokerError(
            f"{folder.path}: Kafka did not format the folder in {_FORMAT_SECONDS:.0f} s"
        ) from error
    if done.returncode:
        said = os.linesep.join((done.stdout + done.stderr).splitlines()[-12:])
        raise BrokerError(f"{folder.path}: Kafka cannot format the folder:\n{said}")


def answers(bootstrap: str) -> bool:
    """Whether Kafka itself, not only its socket, answers."""
    # Not from the environment: that may say how to reach quite another Kafka.
    settings = Settings.model_construct(kafka=bootstrap)

    def ask() -> int:
        return asyncio.run(check(settings))

    # In a thread of its own: the caller may be inside an event loop.
    with ThreadPoolExecutor(1) as thread:
        try:
            return thread.submit(ask).result() > 0
        except BrokerError:
            return False
