"""`cxstream topics`: create and check the topics."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cxstream.settings import Settings
    from cxstream.topics import Found

_PIPE_COLUMNS = 220


@click.command("topics", epilog="Exit status 1 when a topic is missing or differs from the contract.")
@click.option("--create", is_flag=True, help="Create the topics that are missing.")
@click.option("--alter-config", is_flag=True, help="Set configuration that differs to what it should be.")
@click.option(
    "--partitions",
    type=click.IntRange(1),
    help="Partitions of each topic. Default: as many as cx.touchpoints has, 4 where it is missing.",
)
@click.option(
    "--replication",
    type=click.IntRange(1),
    help="Replicas of a new topic. Default: 3, or as many as there are brokers.",
)
@click.option("--kafka", metavar="HOST:PORT[,...]", help="Where Kafka is.")
@click.pass_obj
def command(
    config: str | None,
    create: bool,
    alter_config: bool,
    partitions: int | None,
    replication: int | None,
    kafka: str | None,
) -> None:
    """Create and check the topics.

    Shows each topic and how it differs from the contract. Without an option nothing is changed, and
    a partition count that differs is reported, never changed.

    \b
    Example:
      cxstream topics --create --partitions 12
      cxstream topics --kafka kafka-1:9092,kafka-2:9092
    """  # noqa: D301
    from cxstream.settings import load

    settings = load(config, kafka=kafka)
    found = asyncio.run(_work(settings, create, alter_config, partitions, replication))
    if any(each.state != "ok" for each in found):
        raise SystemExit(1)


async def _work(
    settings: Settings, make: bool, alter_config: bool, partitions: int | None, replication: int | None
) -> Sequence[Found]:
    from cxstream.topics import administration, alter, create, look

    async with administration(settings) as admin:
        found = await look(admin, partitions)
        created = await create(admin, found, replication) if make else []
        changed = await alter(admin, found) if alter_config else []
        if created or changed:
            found = await look(admin, partitions)
    _show(settings, found, created)
    for line in changed:
        click.echo(f"changed {line}")
    return found


def _show(settings: Settings, found: Sequence[Found], created: Sequence[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Topics at {settings.kafka}")
    for heading in ("topic", "state", "partitions", "replicas", "keyed by", "holds", "remarks"):
        table.add_column(heading, overflow="fold")
    for each in found:
        state = "created" if each.topic.name in created and each.state == "ok" else each.state
        counts = [str(each.partitions or "-"), str(each.replication or "-")]
        remarks = "; ".join(each.differences)
        table.add_row(each.topic.name, state, *counts, each.topic.key, each.topic.holds, remarks)
    # A pipe has no width: what reads it wants a topic a line, not a table folded at 80 columns.
    Console(width=None if sys.stdout.isatty() else _PIPE_COLUMNS).print(table)
