"""`cxstream rules`: which rules are in force, whether a set is valid, what it changes, and putting it in force."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cxstream.cli.options import Number, Time, log_bar, output
from cxstream.logs.counted import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cxstream.model.rules import Rules
    from cxstream.rules.difference import Change
    from cxstream.rules.log import Standing
    from cxstream.rules.sample import Effect
    from cxstream.rules.write import Written
    from cxstream.settings import Settings

_SAMPLE = 20_000
_FILE = click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
_KAFKA = click.option("--kafka", metavar="HOST:PORT[,...]", help="Where Kafka is.")


@click.group("rules")
def command() -> None:
    """The rules that customers are judged by: parameters, kinds of your own, and suggested actions.

    Rules are records of the log. A set is written to every partition, and holds for what comes after it. As long as
    the log has no set, the sections [scoring] and [actions] of the settings hold.

    FILE is TOML with these sections, or JSON as `data` of cx.rules.v1 has it. It is a complete set: what it does not
    name has its default, not its present value.

    \b
    Example:
      cxstream rules show
      cxstream rules check rules.toml
      cxstream rules diff rules.toml
      cxstream rules apply rules.toml
    """  # noqa: D301


@command.command("show")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "toml"]),
    default="table",
    show_default=True,
    help="toml: the set in force, as a file that 'rules apply' takes.",
)
@_KAFKA
@click.pass_obj
def show(config: str | None, form: str, kafka: str | None) -> None:
    """Show the rules in force in each partition, who wrote them, and the kinds of your own.

    It also says if partitions disagree, and if the settings differ from the rules in the log.

    \b
    Example:
      cxstream rules show
      cxstream rules show --format toml > rules.toml
      cxstream rules show --format json | jq -r '.partitions[].rules'
    """  # noqa: D301
    from cxstream.rules.show import as_json, as_toml, remarks
    from cxstream.settings import load

    settings = load(config, kafka=kafka)
    found = _in_force(settings)
    if form == "json":
        click.echo(as_json(settings, found))
        return
    if form == "toml":
        if len({each.rules.rules.label for each in found}) > 1:
            raise click.ClickException(
                "partitions have different rules, so there is no one set: see 'rules show'"
            )
        click.echo(as_toml(found[0].rules.rules), nl=False)
        return
    _tables(found)
    for remark in remarks(settings, found):
        click.secho(remark, fg="yellow", err=True)


@command.command("check")
@_FILE
@click.pass_obj
def check(config: str | None, file: Path) -> None:
    """Check whether FILE is a valid set of rules. Exit status 0 if it is, 1 if it is not.

    \b
    Example:
      cxstream rules check rules.toml
    """  # noqa: D301
    from cxstream.rules.file import read_file
    from cxstream.settings import load

    load(config)
    rules = read_file(file)
    kinds = len(rules.params.kinds)
    own = f", with {kinds} kind{'' if kinds == 1 else 's'} of your own" if kinds else ""
    click.echo(f"{file}: a valid set of rules, {rules.label}{own}")


@command.command("diff")
@_FILE
@_KAFKA
@click.pass_obj
def diff(config: str | None, file: Path, kafka: str | None) -> None:
    """Show what FILE would change, parameter by parameter, against the rules in force.

    \b
    Example:
      cxstream rules diff rules.toml
    """  # noqa: D301
    from cxstream.rules.file import read_file
    from cxstream.settings import load

    settings = load(config, kafka=kafka)
    rules = read_file(file)
    _show_changes(_in_force(settings), rules)


@command.command("apply")
@_FILE
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--sample",
    type=click.IntRange(0),
    default=_SAMPLE,
    show_default=True,
    help="Most recent touchpoints to score under both sets; 0: none.",
)
@click.option("--since", type=Time(), help="Only touchpoints that arrived at this time or later.")
@click.option(
    "--wait",
    type=Number(0),
    default=0.0,
    help="Wait this many seconds until the workers have read the set in every partition.",
)
@click.option(
    "--source", default="/cxstream/rules", show_default=True, help="Who writes it, as 'rules show' shows it."
)
@_KAFKA
@click.pass_obj
def apply(
    config: str | None,
    file: Path,
    yes: bool,
    sample: int,
    since: int | None,
    wait: float,
    source: str,
    kafka: str | None,
) -> None:
    """Put the rules in FILE in force.

    First shows what changes, and what that does to customers in a sample of recent touchpoints, scored under both sets
    from an empty state. Then asks, and writes the set to every partition in one transaction: to all of them or to none.
    Workers need no restart, and no state is lost. Where there is a control.key, the set is signed with it.

    \b
    Example:
      cxstream rules apply rules.toml
      cxstream rules apply rules.toml --sample 200000 --since 7d
      cxstream rules apply rules.toml --yes --wait 60
    """  # noqa: D301
    from cxstream.rules.file import read_file
    from cxstream.settings import load

    if not 0 < len(source) <= 256:  # noqa: PLR2004 - as events have it
        raise click.UsageError("--source: 1 to 256 characters")
    settings = load(config, kafka=kafka)
    rules = read_file(file)
    before = _in_force(settings)
    found = _show_changes(before, rules)
    of_log = all(each.rules.of_log for each in before)
    if not found and of_log:
        click.echo("nothing is written: these rules are in force already")
        return
    if sample:
        _show_effect(_effect(settings, before, rules, sample, since))
    if not yes and not click.confirm(f"Put {rules.label} in force in {counted(len(before), 'partition')}?"):
        raise click.ClickException("nothing is written")
    try:
        written = asyncio.run(_write(settings, rules, before, source))
    except KeyboardInterrupt:
        click.echo("interrupted: 'cxstream rules show' says whether the set was written", err=True)
        raise
    _say(settings, rules, written)
    if wait:
        _wait(settings, written, wait)


def _in_force(settings: Settings) -> list[Standing]:
    from cxstream.rules.log import in_force

    with log_bar("reading rules") as bar:
        return asyncio.run(in_force(settings, bar))


def _show_changes(before: Sequence[Standing], rules: Rules) -> list[Change]:
    """Show what a set changes in each group of partitions that have the same rules; returns all changes."""
    from cxstream.rules.difference import changes

    groups: dict[str, list[Standing]] = {}
    for each in before:
        groups.setdefault(each.rules.rules.label, []).append(each)
    everything: list[Change] = []
    for label, members in groups.items():
        of = _origin(members[0])
        where = (
            "" if len(groups) == 1 else f", partitions {', '.join(str(each.partition) for each in members)}"
        )
        click.echo(f"in force: {label} ({of}{where})")
        found = changes(members[0].rules.rules, rules)
        for change in found:
            click.echo(f"  {change.parameter}: {_value(change.before)} -> {_value(change.after)}")
        if not found:
            click.echo("  nothing changes")
        everything += found
    return everything


def _value(value: str | None) -> str:
    return "(none)" if value is None else value


def _origin(standing: Standing) -> str:
    from cxstream.model.rfc3339 import rfc3339

    rules = standing.rules
    if rules.time is None:
        return "from the settings: the log has no rules"
    since = "" if standing.since is None else f" since {rfc3339(standing.since)}"
    return f"by {rules.source}{since}, id {rules.id}"


def _effect(
    settings: Settings, before: Sequence[Standing], rules: Rules, sample: int, since: int | None
) -> Effect:
    from cxstream.kafka.reader import reading
    from cxstream.rules.sample import effect
    from cxstream.topology import TOUCHPOINTS

    async def score() -> Effect:
        async with reading(settings, [TOUCHPOINTS]) as reader:
            return await effect(
                settings,
                reader,
                [each.rules.rules for each in before],
                rules,
                records=sample,
                since=since,
                on_progress=bar,
            )

    with log_bar("scoring a sample") as bar:
        return asyncio.run(score())


def _show_effect(found: Effect) -> None:
    from rich.table import Table

    from cxstream.model.enumerations import LEVELS

    if not found.customers:
        click.echo(f"sample of {counted(found.records, 'record')}: no customers to compare")
        return
    click.echo(
        f"sample of {counted(found.records, 'recent record')}, {counted(found.customers, 'customer')}, scored from an empty state:"
    )
    table = Table("level", *(f"-> {level}" for level in LEVELS), title="Customers by level, before -> after")
    for before in LEVELS:
        table.add_row(before, *(f"{found.moves[before, after]:,}" for after in LEVELS))
    console: Any = output()
    console.print(table)
    same = sum(count for (before, after), count in found.moves.items() if before == after)
    click.echo(f"{found.customers - same:,} of {found.customers:,} customers change their level")
    click.echo(
        f"{found.called:,} would be called that are not now; {found.not_called:,} would no longer be called"
    )
    if found.rejected[0] != found.rejected[1]:
        click.echo(f"rejected records: {found.rejected[0]:,} -> {found.rejected[1]:,}")


async def _write(settings: Settings, rules: Rules, before: Sequence[Standing], source: str) -> Written:
    from cxstream.kafka.admin import require_topics
    from cxstream.kafka.claims import Ownership
    from cxstream.kafka.reader import reading
    from cxstream.model.errors import TopicError
    from cxstream.rules.log import later
    from cxstream.rules.write import write, writing
    from cxstream.topology import TOUCHPOINTS

    [touchpoints] = await require_topics(settings, [TOUCHPOINTS])
    if touchpoints.partitions != len(before):
        raise TopicError(f"{touchpoints.topic.name}: partitions were added meanwhile: run the command again")
    await Ownership(settings).require_own()
    async with writing(settings) as producer:
        # Nobody else writes rules from here on.
        async with reading(settings, [TOUCHPOINTS]) as reader:
            now = await later(settings, reader, before)
        if [each.rules.offset for each in now] != [each.rules.offset for each in before]:
            raise click.ClickException(
                "other rules have come into force meanwhile; nothing was written: run the command again"
            )
        return await write(settings, producer, rules, now, source)


def _say(settings: Settings, rules: Rules, written: Written) -> None:
    from cxstream.model.rfc3339 import rfc3339

    signed = "signed, " if settings.control.keys() else ""
    places = ", ".join(
        f"{settings.topology.touchpoints.name}-{p}:{offset}" for p, offset in enumerate(written.offsets)
    )
    click.echo(
        f"{rules.label} is in the log of {counted(len(written.offsets), 'partition')} ({signed}id {written.id}, time "
        f"{rfc3339(written.time)}): {places}"
    )


def _wait(settings: Settings, written: Written, seconds: float) -> None:
    from cxstream.rules.write import followed

    behind = asyncio.run(followed(settings, written, seconds))
    if behind:
        raise click.ClickException(
            f"the set is in the log, but within {seconds:g} s the workers of group {settings.worker.group} have not read it "
            f"in partitions {', '.join(map(str, behind))}: see that they run ('cxstream doctor')"
        )
    click.echo(f"the workers of group {settings.worker.group} have read it in every partition")


def _tables(found: Sequence[Standing]) -> None:
    from rich.table import Table
    from rich.text import Text

    from cxstream.logs.printable import printable
    from cxstream.model.rfc3339 import rfc3339

    table = Table(
        "partition", "rules", "written by", "id", "in force since", "offset", title="Rules in force"
    )
    for each in found:
        rules = each.rules
        since = "the beginning" if each.since is None else rfc3339(each.since)
        who = "the settings" if rules.time is None else printable(rules.source)
        offset = str(rules.offset) if rules.of_log else ""
        table.add_row(
            str(each.partition), rules.rules.label, Text(who), Text(printable(rules.id)), since, offset
        )
    console: Any = output()
    console.print(table)
    for label, of in {each.rules.rules.label: each.rules.rules for each in found}.items():
        if not of.params.kinds:
            click.echo(f"{label} has no kinds of your own")
            continue
        kinds = Table(
            "kind",
            "type",
            "effort",
            "mood",
            "",
            "requires",
            "what happened",
            title=f"Kinds of your own, {label}",
        )
        for name, kind in of.params.kinds.items():
            marks = [*(["failed step"] if kind.failed_step else []), *(["company"] if kind.company else [])]
            kinds.add_row(
                name,
                f"cx.touchpoint.{name}.v1",
                f"{kind.effort:g}",
                f"{kind.mood:g}",
                ", ".join(marks),
                ", ".join(kind.requires),
                Text(printable(kind.description)),
            )
        console.print(kinds)
