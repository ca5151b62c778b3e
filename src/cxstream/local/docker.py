"""DockerKafka: the same single node out of the apache/kafka image, where Docker is preferred to Java."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from cxstream.local import config, ports
from cxstream.local.broker import READY_SECONDS, answers
from cxstream.local.process import Guarded
from cxstream.model.errors import BrokerError
from cxstream.settings import Local

if TYPE_CHECKING:
    from collections.abc import Callable

_INSIDE = 9092
_CONTROLLER = 9093
_DATA = "/var/lib/kafka/data"


class DockerKafka:
    """One Kafka node in a container that lives as long as this process or until `stop`.

    Args:
        volume: Docker volume that keeps its data; None: in the container, and gone with it. A folder of this
            computer would have to belong to the user id that the image happens to use.
        port: where clients find it; 0: a free one.
        local: version and heap.
        say: told, in a line, when something takes long.
    """

    def __init__(
        self,
        volume: str | None = None,
        *,
        port: int = 0,
        local: Local | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._volume = volume
        self._port = port
        self._local = local or Local()
        self._say = say
        self._process: Guarded | None = None

    @property
    def bootstrap(self) -> str:
        """Its address for clients, once it is started."""
        return f"localhost:{self._port}"

    @property
    def running(self) -> bool:
        """Whether the container has been started and has not ended."""
        return self._process is not None and self._process.status is None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Self:
        """Start the container and wait until Kafka in it answers.

        Raises:
            BrokerError: there is no Docker, its daemon does not answer, the port is taken, the image
                cannot be had, or Kafka gave up; with what Docker said.
        """
        _daemon()
        if self._port and not ports.is_free(self._port):
            raise BrokerError(f"port {self._port} is taken: stop what uses it, or choose another with --port")
        self._port = self._port or ports.free(1)[0]
        scratch = Path(tempfile.mkdtemp(prefix="cxstream-docker-"))
        try:
            self._say(f"starting {self.image} (the first time Docker gets the image) ...")
            self._process = Guarded(self.run_command(), scratch / "docker.log", cwd=scratch, scratch=scratch)
            self._wait()
        except OSError as error:
            raise BrokerError(f"{scratch}: {error.strerror or error}") from error
        except BaseException:
            self.stop()
            raise
        finally:
            if not self.running:
                shutil.rmtree(scratch, ignore_errors=True)
        return self

    def stop(self) -> None:
        """Stop the container, which removes itself. Safe to call twice, and when it is not running."""
        if self._process:
            self._process.stop()

    def failure(self) -> BrokerError:
        """What to say when the container has ended by itself."""
        return BrokerError(
            f"{self.image} ended; Docker says:\n{self._process.tail() if self._process else ''}"
        )

    @property
    def image(self) -> str:
        """The image it runs."""
        version = self._local.kafka_version
        digest = _DIGESTS.get(version)
        return f"apache/kafka:{version}{f'@{digest}' if digest else ''}"

    def run_command(self) -> list[str]:
        """The `docker run` in full. Attached: its end, by SIGTERM to it, is the end of the container."""
        volume = ["--volume", f"{self._volume}:{_DATA}"] if self._volume else []
        environment = [f"--env={name}={value}" for name, value in self._environment().items()]
        publish = f"{ports.HOST}:{self._port}:{_INSIDE}"
        name = f"cxstream-kafka-{self._port}"
        return [
            "docker",
            "run",
            "--rm",
            "--name",
            name,
            "--publish",
            publish,
            *volume,
            *environment,
            self.image,
        ]

    def _environment(self) -> dict[str, str]:
        server = {
            **config.DEVELOPMENT,
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@localhost:{_CONTROLLER}",
            "listeners": f"PLAINTEXT://:{_INSIDE},CONTROLLER://:{_CONTROLLER}",
            "advertised.listeners": f"PLAINTEXT://localhost:{self._port}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": _DATA,
        }
        # The image turns KAFKA_LOG_DIRS into log.dirs.
        named = {"KAFKA_" + name.replace(".", "_").upper(): value for name, value in server.items()}
        return {**named, "KAFKA_HEAP_OPTS": f"-Xmx{self._local.heap}"}

    def _wait(self) -> None:
        deadline = time.monotonic() + _READY_AND_PULL_SECONDS
        while time.monotonic() < deadline:
            if not self.running:
                raise self.failure()
            # Docker takes connections for the container before Kafka does.
            if ports.accepts(self._port) and answers(self.bootstrap):
                return
            time.sleep(0.2)
        raise BrokerError(f"{self.image} does not answer {_READY_AND_PULL_SECONDS:.0f} s after its start")


# A tag can be moved to another image, a digest cannot. Of other versions the tag must do.
_DIGESTS = {"4.1.0": "sha256:bff074a5d0051dbc0bbbcd25b045bb1fe84833ec0d3c7c965d1797dd289ec88f"}
# Some 400 MB on a slow line.
_READY_AND_PULL_SECONDS = READY_SECONDS + 600


def _daemon() -> None:
    program = shutil.which("docker")
    if not program:
        raise BrokerError(
            "--docker: there is no 'docker' on this computer: install Docker, or leave --docker out"
        )
    try:
        asked = subprocess.run(  # noqa: S603 - found on the PATH, no shell
            [program, "version", "--format", "{{.Server.Version}}"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BrokerError("--docker: Docker's daemon does not answer within 30 s") from error
    if asked.returncode:
        raise BrokerError(f"--docker: {asked.stderr.strip() or 'Docker does not answer'}")
