"""`cxstream forget`: erase customers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from cxstream.erasure import Left
    from cxstream.settings import Settings


@click.command(
    "forget",
    epilog="Exit status 1 when a receipt does not come in time, or a score card is left; the request stands all the same.",
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
    type=click.FloatRange(0),
    default=60.0,
    show_default=True,
    help="Seconds to wait for the receipts, and for score cards to go; 0: do not wait.",
)
@click.option("--kafka", metavar="HOST:PORT[,...]", help="Where Kafka is.")
@click.pass_obj
def command(
    config: str | None, customers: tuple[str, ...], file: Any, wait: float, kafka: str | None
) -> None:
    """Erase customers: everything that the engine knows of them.

    Asks the workers, through cx.forget, waits for their receipts, and looks whether a score card is left in any
    partition. State, saved state and score card go at once; whatever about them is older than the request and comes
    later is dropped. They are strangers again when they do something new.

    \b
    Example:
      cxstream forget customer-4711
      cxstream forget --from leavers.txt --wait 300
    """  # noqa: D301
    from cxstream.settings import load

    named = [*customers, *_listed(file)]
    _check(named)
    settings = load(config, kafka=kafka)
    left = asyncio.run(_forget(settings, named, wait))
    problems = []
    if left.receipts:
        problems.append(
            f"{left.receipts} of {len(named)} receipts did not come within {wait:g} s: the requests are in "
            f"{settings.topology.forget.name}, and are followed as soon as a worker reads them; see that one runs"
        )
    if left.cards:
        topic = settings.topology.scores.name
        where = ", ".join(f"{topic}-{partition}" for partition in sorted(set(left.cards)))
        problems.append(
            f"{len(left.cards)} score cards of these customers are still in {where} after {wait:g} s: see that a worker "
            "of this version owns each of these partitions, and run this again"
        )
    if problems:
        raise click.ClickException("; ".join(problems))


def _listed(file: Any) -> list[str]:
    try:
        return [line.strip() for line in file or () if line.strip()]
    except UnicodeDecodeError as error:
        raise click.UsageError(f"--from {file.name}: not UTF-8 ({error}); save the list as UTF-8") from error


def _check(customers: list[str]) -> None:
    from cxstream.model.events import MAX_SUBJECT

    if not customers:
        raise click.UsageError("name a customer, or a file with --from")
    for number, customer in enumerate(customers, 1):
        if not 0 < len(customer) <= MAX_SUBJECT:
            raise click.UsageError(
                f"customer {number} has {len(customer)} characters; an id has 1 to {MAX_SUBJECT}"
            )


async def _forget(settings: Settings, customers: list[str], wait: float) -> Left:
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from cxstream.erasure import forget

    columns = (SpinnerColumn(), TextColumn("receipts"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
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
