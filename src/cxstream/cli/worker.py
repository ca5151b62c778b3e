"""`cxstream worker`: score touchpoints from Kafka."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cxstream.settings import Settings


def _checked_skips(
    _context: click.Context, _option: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    from cxstream.settings.skips import parse

    for each in values:
        try:
            parse(each)
        except ValueError as error:
            raise click.BadParameter(str(error)) from error
    return values


@click.command(
    "worker", epilog="SIGTERM and Ctrl-C stop it cleanly: it commits its results and leaves the group."
)
@click.option("--kafka", metavar="HOST:PORT[,...]", help="Where Kafka is.")
@click.option("--group", help="Consumer group; workers of one group share the partitions.")
@click.option("--no-ticker", is_flag=True, help="Write no ticks: time passes only with the touchpoints.")
@click.option(
    "--standby", is_flag=True, help="Keep standby replicas of the partitions that other workers own."
)
@click.option(
    "--accept-loss",
    is_flag=True,
    help="Continue if needed records are no longer in the log. Without it, such a partition stops.",
)
@click.option(
    "--accept-unsigned",
    is_flag=True,
    help="Use state that was saved before control.key was set, and save it again under the key.",
)
@click.option(
    "--skip",
    metavar="PARTITION:OFFSET",
    multiple=True,
    callback=_checked_skips,
    help="Reject this record of cx.touchpoints without processing it; PARTITION:FIRST-LAST for several.",
)
@click.option("--web-host", metavar="ADDRESS", help="Address of the web server.")
@click.option("--web-port", type=click.IntRange(0, 65535), help="Port of the web server; 0 takes a free one.")
@click.option(
    "--metrics-port", type=click.IntRange(0, 65535), help="Port of the metrics server; 0 takes a free one."
)
@click.pass_obj
def command(
    config: str | None,
    kafka: str | None,
    group: str | None,
    no_ticker: bool,
    standby: bool,
    accept_loss: bool,
    accept_unsigned: bool,
    skip: tuple[str, ...],
    web_host: str | None,
    web_port: int | None,
    metrics_port: int | None,
) -> None:
    """Score touchpoints from Kafka, in the foreground.

    Reads cx.touchpoints and writes signals, score cards and rejected records; says 'ready: ...' on standard
    output once its partitions are assigned and their state is restored. Start as many as there are
    partitions at most; they share the work.

    \b
    Example:
      cxstream worker --kafka kafka-1:9092,kafka-2:9092
      cxstream worker --no-ticker --web-port 0 --metrics-port 0
      cxstream worker --skip 3:1274
    """  # noqa: D301
    import asyncio

    from cxstream.logs.setup import configure
    from cxstream.settings import load

    given = {
        "group": group,
        "web_host": web_host,
        "web_port": web_port,
        "metrics_port": metrics_port,
        "ticker": False if no_ticker else None,
        "standby": standby or None,
        "lost_records": "accept" if accept_loss else None,
        "unsigned_snapshots": "accept" if accept_unsigned else None,
        "skip": skip or None,
    }
    settings = _with_options(load(config, kafka=kafka), given)
    configure(settings.log_level, settings.log_format)
    _quieten(settings.log_level)
    from cxstream.worker.run import run

    asyncio.run(run(settings, click.echo))


def _with_options(settings: Settings, given: Mapping[str, object]) -> Settings:
    """The settings with the worker options of the command line; None without such options."""
    worker = settings.worker.model_copy(
        update={name: value for name, value in given.items() if value is not None}
    )
    return settings.model_copy(update={"worker": worker})


def _quieten(level: str) -> None:
    """Faust and aiokafka log details at `info` that only help to debug them."""
    import logging

    if level != "debug":
        for name in ("faust", "mode", "aiokafka"):
            logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level.upper())))
