"""`cxstream sink`: score cards, signals and daily aggregates in PostgreSQL."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from cxstream.cli.differences import lines
from cxstream.cli.options import WithDefault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cxstream.settings import Settings
    from cxstream.sink.address import Address


_URL = click.argument("url", metavar="[postgresql://USER@HOST:PORT/DATABASE]", required=False)
_EMBEDDED = click.option(
    "--embedded",
    is_flag=True,
    help="Run a PostgreSQL of its own on this computer, with a generated password.",
)
_KAFKA = click.option("--kafka", metavar="HOST:PORT[,...]", help="Where Kafka is.")
_SHOWN = 20


@click.group("sink", cls=WithDefault)
def command() -> None:
    """Score cards, signals and daily aggregates in PostgreSQL, for BI.

    'cxstream sink' without the name of a command is 'cxstream sink follow'. The password comes from the setting
    sink.password_file, from PGPASSWORD or ~/.pgpass, rather than from the address, which other users of the computer can
    see. Without an address, the setting sink.url says where the database is.

    \b
    Example:
      cxstream sink postgresql://cxstream@db.example.com/bi --kafka kafka-1:9092
      cxstream sink verify postgresql://cxstream@db.example.com/bi --kafka kafka-1:9092
    """  # noqa: D301


@command.command("follow")
@_URL
@_EMBEDDED
@click.option("--until-end", is_flag=True, help="Stop when all that is there is taken in.")
@click.option("--accept-loss", is_flag=True, help="Go on without records that the log no longer has.")
@_KAFKA
@click.pass_obj
def follow_(
    config: str | None, url: str | None, embedded: bool, until_end: bool, accept_loss: bool, kafka: str | None
) -> None:
    """Keep the tables up to date from Kafka, in the foreground.

    Says 'ready: ...' when all that was there is taken in. SIGTERM or Ctrl-C stops it cleanly.

    \b
    Example:
      cxstream sink postgresql://cxstream@db.example.com/bi --kafka kafka-1:9092
      cxstream sink --embedded --until-end
    """  # noqa: D301
    settings = _load(config, kafka)
    with _database(settings, url, embedded=embedded) as address:
        _follow(settings, address, until_end=until_end, accept_loss=accept_loss)


@command.command("verify")
@_URL
@_EMBEDDED
@_KAFKA
@click.pass_obj
def verify_(config: str | None, url: str | None, embedded: bool, kafka: str | None) -> None:
    """Prove that the tables equal the log: build them again in a schema beside, and compare.

    The sink may run meanwhile: the log is read up to where the tables were when the command began. Rows whose records the log
    no longer has are not compared, and the command says which. It needs the right to create a schema in the database, and as
    much space as the tables have. The exit status is 1 if anything differs.

    \b
    Example:
      cxstream sink verify postgresql://cxstream@db.example.com/bi --kafka kafka-1:9092
    """  # noqa: D301
    settings = _load(config, kafka)
    with _database(settings, url, embedded=embedded) as address:
        _verify(settings, address)


def _load(config: str | None, kafka: str | None) -> Settings:
    _require()
    from cxstream.logs.setup import configure
    from cxstream.settings import load

    settings = load(config, kafka=kafka)
    configure(settings.log_level, settings.log_format)
    return settings


@contextmanager
def _database(settings: Settings, url: str | None, *, embedded: bool) -> Iterator[Address]:
    """The database that is meant; an embedded one runs meanwhile."""
    from cxstream.model.errors import SinkError
    from cxstream.sink.address import Address

    if not embedded:
        given = url or (settings.sink.url.get_secret_value() if settings.sink.url else None)
        if given is None:
            raise SinkError(
                "no database: name one, as in 'cxstream sink postgresql://USER@HOST/DATABASE', set sink.url, or try --embedded"
            )
        yield Address(given, settings.sink)
        return
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
        yield Address(server.url, own)


def _verify(settings: Settings, address: Address) -> None:
    """Compare, and print what was found.

    Raises:
        click.ClickException: something differs.
    """
    import asyncio

    from cxstream.sink.verify import verify

    report = asyncio.run(verify(settings, address))
    for text in report.left_out:
        click.echo(f"not compared: {text}")
    for each in report.differences[:_SHOWN]:
        click.echo(f"{each.table}{'' if each.day is None else f' {each.day}'}: differs")
        for line in lines(each.only_here, each.only_there):
            click.echo(f"  {line}")
    if report.differences:
        count = len(report.differences)
        places = "1 table and day differs" if count == 1 else f"{count} tables and days differ"
        raise click.ClickException(
            f"{address.shown}: {places}: drop the schema {settings.sink.schema_name}, and let 'cxstream sink' build it again"
        )
    compared = ", ".join(f"{count:,} {table}" for table, count in report.rows.items() if count)
    click.echo(f"{address.shown}: equal ({compared or 'no rows'})")


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
