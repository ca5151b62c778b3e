"""`cxstream topics`: create and check the topics."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import click

from cxstream.cli.options import output
from cxstream.kafka import acls
from cxstream.kafka.acls import ROLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cxstream.kafka.admin import Found
    from cxstream.settings import Settings


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
@click.option(
    "--take-over",
    metavar="GROUP",
    help="Make the group of the settings, or of --group, the owner of the topics, in place of GROUP, whose workers stop.",
)
@click.option("--acls", is_flag=True, help="Print the ACLs that a role needs, and do nothing else.")
@click.option(
    "--role",
    type=click.Choice(tuple(ROLES)),
    default="worker",
    show_default=True,
    help="With --acls: whose ACLs.",
)
@click.option(
    "--principal",
    metavar="TYPE:NAME",
    help="With --acls: the Kafka principal that has the role. Default: User:cxstream-ROLE.",
)
@click.option(
    "--group",
    help="With --acls: the consumer group of the role; with --take-over: the new owner. Default: the worker's; any other role has "
    "to name it.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(("commands", "json")),
    default="commands",
    show_default=True,
    help="With --acls: kafka-acls.sh commands, or a list.",
)
@click.option("--kafka", metavar="HOST:PORT[,...]", help="Where Kafka is.")
@click.pass_obj
def command(
    config: str | None,
    create: bool,
    alter_config: bool,
    partitions: int | None,
    replication: int | None,
    take_over: str | None,
    acls: bool,
    role: str,
    principal: str | None,
    group: str | None,
    form: str,
    kafka: str | None,
) -> None:
    """Create and check the topics; print the ACLs of each role.

    Shows each topic and how it differs from the contract. Without an option, nothing is changed;
    a partition count that differs is reported, never changed.

    \b
    Example:
      cxstream topics --create --partitions 12
      cxstream topics --kafka kafka-1:9092,kafka-2:9092
      cxstream topics --acls --role worker --principal User:cxstream-worker
      cxstream topics --take-over cxstream --group cxstream-2
    """  # noqa: D301
    from cxstream.settings import load

    settings = load(config, kafka=kafka)
    if acls:
        if create or alter_config:
            raise click.UsageError("--acls only prints; it does not go with --create or --alter-config")
        click.echo(_acls(settings, role, principal or f"User:cxstream-{role}", group, form))
        return
    if take_over is not None:
        if create or alter_config:
            raise click.UsageError("--take-over does not go with --create or --alter-config")
        _take_over(settings, take_over, group)
        return
    found = asyncio.run(_work(settings, create, alter_config, partitions, replication))
    if any(each.state != "ok" for each in found):
        raise SystemExit(1)


def _take_over(settings: Settings, former: str, group: str | None) -> None:
    from cxstream.worker.ownership.takeover import take_over

    worker = settings.worker.model_copy(update={"group": group or settings.worker.group})
    claim = asyncio.run(take_over(settings.model_copy(update={"worker": worker}), former))
    click.echo(
        f"group {claim.group} owns the topics at {settings.kafka}, in place of {former}; the former workers stop at "
        f"their next commit. Start workers: cxstream worker --group {claim.group}"
    )


def _acls(settings: Settings, name: str, principal: str, group: str | None, form: str) -> str:
    role = ROLES[name]
    if role.group and not role.transactional and not group:
        raise click.UsageError(f"--group is missing: the consumer group of the {name}")
    if ":" not in principal:
        raise click.UsageError(
            f"--principal {principal}: Kafka names a principal TYPE:NAME, as User:{principal}"
        )
    granted = acls.acls(role, group or settings.worker.group, settings.topology)
    if form == "json":
        rows = [{"principal": principal, **acl._asdict()} for acl in granted]
        return json.dumps(rows, indent=2)
    return "\n".join(acls.commands(granted, principal, settings.kafka))


async def _work(
    settings: Settings, make: bool, alter_config: bool, partitions: int | None, replication: int | None
) -> Sequence[Found]:
    from cxstream.kafka.admin import administration, alter, create, look

    async with administration(settings) as admin:
        found = await look(admin, settings.topology, partitions)
        created = await create(admin, found, replication) if make else []
        changed = await alter(admin, found) if alter_config else []
        if created or changed:
            found = await look(admin, settings.topology, partitions)
    _show(settings, found, created)
    for line in changed:
        click.echo(f"changed {line}")
    return found


def _show(settings: Settings, found: Sequence[Found], created: Sequence[str]) -> None:
    from rich.table import Table

    table = Table(title=f"Topics at {settings.kafka}", title_justify="left", box=None, pad_edge=False)
    for heading in ("topic", "state", "partitions", "replicas", "keyed by", "holds", "remarks"):
        table.add_column(heading, overflow="fold")
    for each in found:
        state = "created" if each.topic.name in created and each.state == "ok" else each.state
        counts = [str(each.partitions or "-"), str(each.replication or "-")]
        remarks = "; ".join(each.differences)
        table.add_row(each.topic.name, state, *counts, each.topic.key, each.topic.holds, remarks)
    output().print(table)
