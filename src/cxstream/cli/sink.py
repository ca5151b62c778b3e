"""`cxstream sink`: score cards, signals and daily aggregates in PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from cxstream.settings import Settings
    from cxstream.sink.address import Address


@click.command("sink")
@click.argument("url", metavar="[postgresql://USER@HOST:PORT/DATABASE]", required=False)
@click.option(
    "--embedded",
    is_flag=True,
    help="Run a PostgreSQL of its own on this computer, with a generated password.",
)
@click.option("--until-end", is_flag=True, help="Stop when all that is there is taken in.")
@click.option("--accept-loss", is_flag=True, help="Go on without records that the log no longer has.")
@click.option("--kafka", metavar="HOST:PORT[,...]", help="Where Kafka is.")
@click.pass_obj
def command(
    config: str | None, url: str | None, embedded: bool, until_end: bool, accept_loss: bool, kafka: str | None
) -> None:
    """Keep score cards, signals and daily aggregates in PostgreSQL up to date from Kafka, in the foreground.

    Says 'ready: ...' when all that was there is taken in. SIGTERM or Ctrl-C stops it cleanly. The password comes from the
    setting sink.password_file, from PGPASSWORD or ~/.pgpass, rather than from the address, which other users of the computer
    can see. Without an address, the setting sink.url says where the database is.

    \b
    Example:
      cxstream sink postgresql://cxstream@db.example.com/bi --kafka kafka-1:9092
      cxstream sink --embedded --until-end
    """  # noqa: D301
    _require()
    from cxstream.logs.setup import configure
    from cxstream.model.errors import SinkError
    from cxstream.settings import load
    from cxstream.sink.address import Address

    settings = load(config, kafka=kafka)
    configure(settings.log_level, settings.log_format)
    if embedded:
        if url is not None:
            raise click.UsageError("--embedded has its own database: leave out the address")
        from cxstream.settings.secrets import secret
        from cxstream.sink.embedded import Embedded, folder

        made = Embedded(
            folder(settings.sink),
            settings.sink.embedded_port,
            host=settings.sink.embedded_host,
            password=secret(settings.sink, "password", "sink"),
        )
        with made as server:
            click.echo(f"PostgreSQL: {server.url}, its password is in {server.password_file}")
            own = settings.sink.model_copy(update={"password": None, "password_file": server.password_file})
            _follow(settings, Address(server.url, own), until_end=until_end, accept_loss=accept_loss)
        return
    given = url or (settings.sink.url.get_secret_value() if settings.sink.url else None)
    if given is None:
        raise SinkError(
            "no database: name one, as in 'cxstream sink postgresql://USER@HOST/DATABASE', set sink.url, or try --embedded"
        )
    _follow(settings, Address(given, settings.sink), until_end=until_end, accept_loss=accept_loss)


def _follow(settings: Settings, address: Address, *, until_end: bool, accept_loss: bool) -> None:
    import asyncio

    from cxstream.sink.follow import follow
    from cxstream.sink.metrics import Metrics

    metrics = Metrics(settings.sink)
    metrics.start()
    try:
        asyncio.run(
            follow(settings, address, click.echo, metrics, until_end=until_end, accept_loss=accept_loss)
        )
    finally:
        metrics.stop()


def _require() -> None:
    """Check that the packages of the sink are installed.

    Raises:
        InstallationError: one is not.
    """
    from importlib.util import find_spec

    from cxstream.model.errors import InstallationError

    for name in ("psycopg", "duckdb"):
        if find_spec(name) is None:
            raise InstallationError(
                f"the sink needs {name}, of the extra 'postgres': pip install 'cxstream[postgres]'"
            )
