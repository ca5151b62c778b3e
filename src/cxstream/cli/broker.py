"""`cxstream broker`: a local Apache Kafka for development."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cxstream.cli.interrupts import Interrupts, Terminated

if TYPE_CHECKING:
    from cxstream.local.broker import LocalKafka
    from cxstream.local.docker import DockerKafka
    from cxstream.settings import Settings

_USUAL_PORT = 9092
_VOLUME = "cxstream-kafka"
_LOOK_SECONDS = 0.5


@click.command("broker")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Port for clients; 0: a free one. Default: 9092, or a free one when that is taken.",
)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for its data. Default: the setting local.data, else one in the user's cache folder.",
)
@click.option(
    "--docker",
    is_flag=True,
    help=f"Run the apache/kafka image with Docker; its data is in the volume {_VOLUME}.",
)
@click.pass_obj
def command(config: str | None, port: int | None, data: Path | None, docker: bool) -> None:
    """A local single-node Apache Kafka (KRaft) for development, in the foreground.

    Prints `ready: localhost:PORT` when it can be used; Ctrl-C or SIGTERM stops it cleanly. The
    first start downloads Kafka from Maven Central, later ones need no network. Only reachable from this computer.

    \b
    Example:
      cxstream broker
      cxstream broker --port 0 --data my-kafka
    """  # noqa: D301
    from cxstream.settings import load

    broker = _broker(load(config), port, data, docker)
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    ready = False
    with Interrupts():
        try:
            broker.start()
            ready = True
            click.echo(f"ready: {broker.bootstrap}")
            while broker.running:  # Kafka may end by itself
                time.sleep(_LOOK_SECONDS)
            raise broker.failure()
        except Terminated:
            if not ready:
                raise
        finally:
            # A second Ctrl-C must not leave it half stopped.
            for each in before:
                signal.signal(each, signal.SIG_IGN)
            broker.stop()
            for each, handler in before.items():
                signal.signal(each, handler)


def _broker(
    settings: Settings, port: int | None, data: Path | None, docker: bool
) -> LocalKafka | DockerKafka:
    from cxstream.local import ports
    from cxstream.local.broker import LocalKafka
    from cxstream.local.docker import DockerKafka
    from cxstream.local.jars import user_cache

    if port is None:
        port = _USUAL_PORT if ports.is_free(_USUAL_PORT) else 0

    def say(line: str) -> None:
        click.echo(line, err=True)

    if docker:
        if data:
            raise click.UsageError(
                f"--data is a folder for Java; with --docker the volume {_VOLUME} keeps the data"
            )
        return DockerKafka(_VOLUME, port=port, local=settings.local, say=say)
    folder = data or settings.local.data or user_cache() / "broker"
    return LocalKafka(folder, port=port, local=settings.local, say=say)
