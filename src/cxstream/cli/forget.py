"""`cxstream forget`: erase customers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from cxstream.cli.options import Number, log_bar
from cxstream.logs.counted import are, counted

if TYPE_CHECKING:
    from cxstream.erasure.requests import Left
    from cxstream.erasure.scan import Traces
    from cxstream.erasure.verdicts import Remain
    from cxstream.settings import Settings


@click.command(
    "forget",
    epilog="Exit status 1 when a receipt does not come in time, or a score card is left; the request stands all the same. "
    "With --verify: when something is left that should not be.",
)
@click.argument("customers", metavar="CUSTOMER...", nargs=-1)
@click.option(
    "--from",
    "file",
    type=click.File("r", encoding="utf-8-sig"),
    help="File with a customer a line; `-`: standard input.",
)
@click.option(
    "--wait",
    type=Number(0),
    default=60.0,
    show_default=True,
    help="Seconds to wait for the receipts, and for score cards to go; 0: do not wait.",
)
@click.option(
    "--verify",
    is_flag=True,
    help="Ask for nothing: read all topics, and show what is left of these customers, where, and until when.",
)
@click.option("--kafka", metavar="HOST:PORT[,...]", help="Where Kafka is.")
@click.pass_obj
def command(
    config: str | None, customers: tuple[str, ...], file: Any, wait: float, verify: bool, kafka: str | None
) -> None:
    """Erase customers: everything that the engine knows of them.

    Asks the workers, through cx.forget, waits for their receipts, and looks whether a score card is left in any
    partition. State, saved state and score card go at once; whatever about them is older than the request and comes
    later is dropped. They are strangers again when they do something new.

    With --verify nobody is erased: it shows what Kafka still has of them. On a Kafka with ACLs that needs the roles
    oncall and admin.

    \b
    Example:
      cxstream forget customer-4711
      cxstream forget --from leavers.txt --wait 300
      cxstream forget --verify customer-4711
    """  # noqa: D301
    from cxstream.settings import load

    named = [*customers, *_listed(file)]
    _check(named)
    settings = load(config, kafka=kafka)
    if verify:
        _verify(settings, named)
        return
    left = asyncio.run(_forget(settings, named, wait))
    problems = []
    if left.receipts:
        problems.append(
            f"{left.receipts} of {counted(len(named), 'receipt')} did not come within {wait:g} s: the requests are in "
            f"{settings.topology.forget.name}, and are followed as soon as a worker reads them; see that one runs"
        )
    if left.cards:
        topic = settings.topology.scores.name
        where = ", ".join(f"{topic}-{partition}" for partition in sorted(set(left.cards)))
        problems.append(
            f"{counted(len(left.cards), 'score card')} of these customers {are(len(left.cards))} still in {where} after {wait:g} s: see that a worker "
            "of this version owns each of these partitions, and run this again"
        )
    if problems:
        raise click.ClickException("; ".join(problems))


def _verify(settings: Settings, customers: list[str]) -> None:
    """Show what is left of each customer.

    Raises:
        click.ClickException: something is left that should not be.
    """
    from cxstream.erasure.scan import scan

    with log_bar("reading") as bar:
        found = asyncio.run(scan(settings, customers, lambda topic, done, total: bar(done, total, topic)))
    judged = asyncio.run(_judge(settings, found))
    for number, (traces, remains) in enumerate(zip(found, judged, strict=True), 1):
        _show(settings, traces, remains, f"customer {number}: " if len(found) > 1 else "")
    wrong = sum(bool(each.wrong) for remains in judged for each in remains)
    if wrong:
        things = "1 thing is" if wrong == 1 else f"{wrong} things are"
        raise click.ClickException(f"{things} left that should not be there: see above")
    click.echo("nothing is left that should not be there")


async def _judge(settings: Settings, found: list[Traces]) -> list[list[Remain]]:
    import time

    from cxstream.erasure.retention import keeping
    from cxstream.erasure.verdicts import judge
    from cxstream.kafka.admin import administration, look

    async with administration(settings) as admin:
        topics = await look(admin, settings.topology)
    keeps = {each.topic.contract: keeping(each) for each in topics}
    return [judge(traces, keeps, round(time.time() * 1000)) for traces in found]


def _show(settings: Settings, traces: Traces, remains: list[Remain], who: str) -> None:
    from cxstream.erasure.verdicts import back

    receipt, topology = traces.erased, settings.topology
    if receipt is None:
        click.echo(f"{who}no receipt in {topology.forgotten.name}: not erased, or more than a year ago")
    else:
        again = "; they have done something since, and are a new customer" if back(traces) else ""
        click.echo(
            f"{who}erased as asked at {_minute(receipt.requested_ms)} (receipt {topology.forgotten.name}-"
            f"{receipt.place.partition}, offset {receipt.place.offset}, request {receipt.request}){again}"
        )
    for each in remains:
        place = f"{topology.name(each.topic)}-{each.partition}: {each.what}"
        until = f", there until {_minute(each.until_ms)} at the latest" if each.until_ms is not None else ""
        if each.wrong:
            click.echo(f"  {click.style('left', fg='red')}  {place}: {each.wrong}")
        else:
            click.echo(f"  kept  {place}{until}")
    if not remains:
        click.echo("  nothing is left")


def _minute(time_ms: int) -> str:
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"


def _listed(file: Any) -> list[str]:
    try:
        return [line.strip() for line in file or () if line.strip()]
    except UnicodeDecodeError as error:
        raise click.UsageError(f"--from {file.name}: not UTF-8 ({error}); save the list as UTF-8") from error


def _check(customers: list[str]) -> None:
    from cxstream.model.fields import MAX_SUBJECT

    if not customers:
        raise click.UsageError("name a customer, or a file with --from")
    for number, customer in enumerate(customers, 1):
        if not 0 < len(customer) <= MAX_SUBJECT:
            raise click.UsageError(
                f"customer {number} has {len(customer)} characters; an id has 1 to {MAX_SUBJECT}"
            )


async def _forget(settings: Settings, customers: list[str], wait: float) -> Left:
    from rich.progress import MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn

    from cxstream.erasure.requests import forget
    from cxstream.logs.bars import bar

    columns = (SpinnerColumn(), TextColumn("receipts"), MofNCompleteColumn(), TimeElapsedColumn())
    with bar(*columns) as progress:
        task = progress.add_task("receipts", total=len(customers))

        def told(receipt: dict[str, Any]) -> None:
            progress.advance(task)
            click.echo(_said(receipt))

        left = await forget(settings, customers, wait, told)
    if not wait:
        click.echo(f"asked for {len(customers)} in {settings.topology.forget.name}")
    return left


def _said(receipt: dict[str, Any]) -> str:
    data, cause = receipt["data"], receipt["data"]["cause"]
    what = data["erased"]
    erased = (
        f"erased {what['panes']} days, {what['complaints']} open complaints, {what['contacts']} contacts"
        if data["known"]
        else "nothing was known"
    )
    return f"request {data['request']}: {erased} ({cause['topic']}-{cause['partition']}, offset {cause['offset']})"
