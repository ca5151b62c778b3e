"""`cxstream warehouse`: keep a warehouse up to date from Kafka, prove it, build it again, export it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cxstream.cli.differences import lines
from cxstream.cli.interrupts import whole
from cxstream.logs.counted import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cxstream.settings import Settings
    from cxstream.warehouse.verify import Difference

_FILE = click.option(
    "--warehouse",
    "file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The warehouse.  [default: the setting warehouse.path]",
)
_KAFKA = click.option("--kafka", metavar="HOST:PORT[,...]", help="Where Kafka is.")
_LOSS = click.option("--accept-loss", is_flag=True, help="Go on without records that the log no longer has.")
_SHOWN = 20


@click.group("warehouse")
def command() -> None:
    """The warehouse: scored touchpoints, score cards and signals in a DuckDB file, for 'cxstream view' and BI.

    It is a function of the log: each record counts exactly once, late events correct the past, and erased customers are
    erased here, too. One process writes the file, or several read it.

    \b
    Example:
      cxstream warehouse follow --warehouse cx.duckdb
      cxstream warehouse verify --warehouse cx.duckdb
      cxstream warehouse export --warehouse cx.duckdb --out parquet
    """  # noqa: D301


@command.command("follow")
@_FILE
@click.option("--until-end", is_flag=True, help="Stop when all that is there is taken in.")
@_LOSS
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    help="Serve metrics on this port; 0 takes a free one.  [default: the setting warehouse.metrics_port]",
)
@_KAFKA
@click.pass_obj
def follow_(
    config: str | None,
    file: Path | None,
    until_end: bool,
    accept_loss: bool,
    metrics_port: int | None,
    kafka: str | None,
) -> None:
    """Keep the warehouse up to date from Kafka, in the foreground.

    Says 'ready: ...' when all that was there is taken in. SIGTERM or Ctrl-C stops it cleanly; SIGUSR1 makes a
    copy for readers, FILE.copy, and so does the setting warehouse.publish_minutes at an interval. Days before
    warehouse.keep_days are deleted, and the file is rewritten within warehouse.compact_hours of an erasure.
    Signals about places that left their own range are sent to cx.insights.

    \b
    Example:
      cxstream warehouse follow --warehouse cx.duckdb --kafka kafka-1:9092
      cxstream warehouse follow --until-end
    """  # noqa: D301
    import asyncio

    settings, path = _load(config, file, kafka)
    from cxstream.logs.setup import configure
    from cxstream.warehouse.feed import TOPICS
    from cxstream.warehouse.follow import follow
    from cxstream.warehouse.metrics import FollowMetrics
    from cxstream.warehouse.store import Store
    from cxstream.worker.telemetry.metrics_server import MetricsServer, served

    configure(settings.log_level, settings.log_format)
    metrics = FollowMetrics([topic.contract for topic in TOPICS])
    port = settings.warehouse.metrics_port if metrics_port is None else metrics_port
    server = MetricsServer(metrics.registry, settings.worker.web_hosts, metrics)
    with (
        Store(path, settings.warehouse) as store,
        served(server, "warehouse", settings.warehouse.metrics_host, port) as where,
    ):
        asyncio.run(
            follow(
                settings,
                store,
                lambda text: click.echo(text + (f", metrics at {where}" if where else "")),
                until_end=until_end,
                accept_loss=accept_loss,
                metrics=metrics,
            )
        )


@command.command("verify")
@_FILE
@click.option(
    "--against",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Compare with this warehouse instead of the log; `arrived` does not count, which files do not have.",
)
@_KAFKA
@click.pass_obj
def verify_(config: str | None, file: Path | None, against: Path | None, kafka: str | None) -> None:
    """Prove that the warehouse equals the log: bring it up to date, build it again aside, and compare.

    Digests are compared by table and day; where they differ, rows are shown. Aggregates are compared with the
    touchpoints. Rows whose records the log no longer has are not compared. The exit status is 1 if anything differs.

    \b
    Example:
      cxstream warehouse verify --warehouse cx.duckdb
      cxstream warehouse verify --warehouse cx.duckdb --against other.duckdb
    """  # noqa: D301
    import asyncio

    settings, path = _load(config, file, kafka)
    _require(path)
    if against is not None:
        from cxstream.warehouse.store import reading
        from cxstream.warehouse.verify import check_aggregates, compare

        for each in (path, against):
            with reading(each, settings.warehouse):
                pass
        found = compare(path, against, settings.warehouse, ignore=("arrived",))
        found += check_aggregates(path, settings.warehouse)
    else:
        from cxstream.warehouse.rebuild import verify

        found = asyncio.run(verify(settings, path))
    _show(found, path)


@command.command("rebuild")
@_FILE
@_LOSS
@_KAFKA
@click.pass_obj
@whole
def rebuild_(config: str | None, file: Path | None, accept_loss: bool, kafka: str | None) -> None:
    """Build the warehouse again from the log, and replace the file when that is complete.

    If the file has touchpoints that the log no longer has, it stays as it is, except with --accept-loss.

    \b
    Example:
      cxstream warehouse rebuild --warehouse cx.duckdb
    """  # noqa: D301
    import asyncio

    settings, path = _load(config, file, kafka)
    from cxstream.warehouse.rebuild import rebuild

    asyncio.run(rebuild(settings, path, accept_loss=accept_loss))
    click.echo(f"{path}: built again from the log")


@command.command("export")
@_FILE
@click.option(
    "--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for the files."
)
@click.pass_obj
@whole
def export_(config: str | None, file: Path | None, out: Path) -> None:
    """Write Parquet files by day: OUT/touchpoints/day=2026-01-31/touchpoints.parquet, and so on.

    Exporting again replaces the files, and deletes those of days that are no longer there.

    \b
    Example:
      cxstream warehouse export --warehouse cx.duckdb --out parquet
    """  # noqa: D301
    settings, path = _load(config, file, None)
    from cxstream.warehouse.export import export
    from cxstream.warehouse.store import reading

    with reading(path, settings.warehouse, lambda text: click.echo(text, err=True)) as connection:
        count = export(connection, out)
    click.echo(f"{out}: {counted(count, 'file')}")


@command.command("compact")
@_FILE
@click.pass_obj
@whole
def compact_(config: str | None, file: Path | None) -> None:
    """Rewrite the file, so that nothing of what was deleted is left in it.

    \b
    Example:
      cxstream warehouse compact --warehouse cx.duckdb
    """  # noqa: D301
    settings, path = _load(config, file, None)
    _require(path)
    from cxstream.warehouse.store import Store

    before = path.stat().st_size
    with Store(path, settings.warehouse) as store:
        store.compact()
    click.echo(f"{path}: {before:,} bytes before, {path.stat().st_size:,} now")


def _load(config: str | None, file: Path | None, kafka: str | None) -> tuple[Settings, Path]:
    from cxstream.cli.options import require_duckdb
    from cxstream.settings import load

    require_duckdb()
    settings = load(config, kafka=kafka)
    return settings, file or settings.warehouse.path


def _require(path: Path) -> None:
    from cxstream.model.errors import WarehouseError

    if not path.exists():
        raise WarehouseError(
            f"{path}: no such warehouse: name one with --warehouse, or build it with 'cxstream warehouse follow'"
        )


def _show(found: Sequence[Difference], path: Path) -> None:
    """Print the differences.

    Raises:
        click.ClickException: there are some.
    """
    for each in found[:_SHOWN]:
        day = "" if each.day is None else f" {each.day}"
        click.echo(f"{each.table}{day}: {each.here:,} rows here, {each.there:,} expected")
        for line in lines(each.only_here, each.only_there):
            click.echo(f"  {line}")
    if found:
        places = "1 table and day differs" if len(found) == 1 else f"{len(found)} tables and days differ"
        raise click.ClickException(f"{path}: {places}: build it again with 'cxstream warehouse rebuild'")
    click.echo(f"{path}: equal")
