"""`cxstream customer`: one customer, and the reasons of their churn risk."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from cxstream.cli.options import Number, output, tell_compilation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cxstream.customer.gather import Found
    from cxstream.customer.owner import Answer
    from cxstream.settings import Settings


@click.command("customer")
@click.argument("customer", metavar="ID")
@click.option(
    "--days", type=Number(0, min_open=True), default=14, show_default=True,
    help="How far back to read signals and touchpoints.",
)  # fmt: skip
@click.option("--limit", type=click.IntRange(1), default=30, show_default=True, help="Most rows of each.")
@click.option(
    "--worker",
    metavar="URL",
    help="Web server of the worker to ask. Default: from the settings.",
)
@click.option(
    "--own-partition",
    is_flag=True,
    help="Read the customer's own partition only: do not look for touchpoints and score cards in the others.",
)
@click.option("--no-worker", is_flag=True, help="Ask no worker.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--kafka", metavar="HOST:PORT[,...]", help="Where Kafka is.")
@click.pass_obj
def command(
    config: str | None,
    customer: str,
    days: float,
    limit: int,
    worker: str | None,
    own_partition: bool,
    no_worker: bool,
    as_json: bool,
    kafka: str | None,
) -> None:
    """Show a customer: score card, reasons of the churn risk, actions and their outcomes, and the worker's state of the customer.

    Reads the customer's partition, and searches all others for misplaced touchpoints and score cards. The points of
    each touchpoint are computed again by the worker's rules. A worker shows customers only to its own user on its own
    computer, or with the token of worker.web_token_file. Exit status 1 if the customer is unknown.

    \b
    Example:
      cxstream customer anna
      cxstream customer anna --days 90 --worker http://127.0.0.1:6067
    """  # noqa: D301
    import asyncio

    from cxstream.settings import load

    tell_compilation()
    settings = load(config, kafka=kafka)
    found, answer = asyncio.run(
        _look(settings, customer, days, limit, worker, ask=not no_worker, everywhere=not own_partition)
    )
    if as_json:
        click.echo(_json(found, answer))
    else:
        _show(found, answer, days, settings)
    for partition in found.elsewhere:
        click.echo(
            f"cxstream: warning: {settings.topology.scores.name}-{partition} has a card of {customer!r}, who belongs to partition "
            f"{found.identity.partition}: an earlier version left it, and the worker "
            "removes it when it restores that partition; 'cxstream forget' removes it with everything else",
            err=True,
        )
    if (
        found.card is None
        and not found.touches
        and not found.strays
        and (answer is None or answer.held is None)
    ):
        click.echo(f"cxstream: nobody knows {customer!r} in partition {found.identity.partition}", err=True)
        raise SystemExit(1)


async def _look(
    settings: Settings,
    customer: str,
    days: float,
    limit: int,
    worker: str | None,
    *,
    ask: bool,
    everywhere: bool,
) -> tuple[Found, Answer | None]:
    from cxstream.customer import owner
    from cxstream.customer.gather import gather

    with _bar() as bar:
        found = await gather(
            settings, customer, days=days, limit=limit, everywhere=everywhere, on_progress=bar
        )
    return found, await owner.ask(settings, found.identity, worker) if ask else None


@contextmanager
def _bar() -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar on standard error that names the topic being read."""
    from cxstream.logs.bars import bar as shown

    with shown() as bar:
        task = bar.add_task("", total=None)
        yield lambda topic, done, total: bar.update(task, description=topic, completed=done, total=total)


def _json(found: Found, answer: Answer | None) -> str:
    import msgspec

    return msgspec.json.encode(
        {
            "customer": found.identity.id,
            "subject": found.identity.subject,
            "partition": found.identity.partition,
            "card": found.card,
            "elsewhere": found.elsewhere,
            "moved": [
                {"feature": name, "value": value, "contribution": amount}
                for name, value, amount in (
                    (step.feature, step.value, step.contribution)
                    for step in (found.account.steps if found.account else ())
                )
            ],
            "account": found.account,
            "signals": found.signals,
            "actions": found.actions,
            "touchpoints": found.touches,
            "earlier": found.earlier,
            "strays": found.strays,
            "worker": answer.held if answer else None,
            "worker_says": answer.said if answer else "not asked",
        }
    ).decode()


def _show(found: Found, answer: Answer | None, days: float, settings: Settings) -> None:
    console = output()
    who = found.identity
    console.print(_text(f"{who.id}: partition {who.partition}" + _renamed(found)))
    if found.card is None:
        console.print("no score card")
    else:
        _show_card(console, found.card)
        _show_account(console, found, settings)
    _show_signals(console, found, days)
    _show_actions(console, found)
    _show_touches(console, found, days)
    _show_strays(console, found)
    if answer is not None:
        _show_worker(console, answer)


def _renamed(found: Found) -> str:
    who = found.identity
    return f", in outputs {who.subject}" if who.subject != who.id else ""


def _text(text: Any) -> Any:
    """Text from outside, without markup and control characters."""
    from rich.text import Text

    from cxstream.logs.printable import printable

    return Text(printable(str(text)))


def _show_card(console: Any, card: dict[str, Any]) -> None:
    data, touches = card["data"], card["data"]["touches"]
    console.print(
        _text(
            f"card of {card['time']} ({card['id'].partition(':')[0]}): churn risk {data['probability']:.0%}, "
            f"level {data['level']}, last notified {data['announced']}"
        )
    )
    console.print(
        f"effort {data['effort']:.0f} \N{PLUS-MINUS SIGN} {data['effort_halfwidth']:.0f}, "
        f"satisfaction {data['satisfaction']:.0f} \N{PLUS-MINUS SIGN} {data['satisfaction_halfwidth']:.0f}, "
        f"acute friction {data['acute']:.1f}, last touch {data['last_touch']}, "
        f"touches in 1, 7, 30, 90 days: {', '.join(str(touches[n]) for n in ('1', '7', '30', '90'))}"
    )
    if said := _worth(data):
        console.print(said)


def _worth(data: dict[str, Any]) -> str:
    """What the models of purchases say of the customer; "" if they say nothing."""
    if data.get("p_alive") is None:
        return ""
    said = f"still buys with {data['p_alive']:.0%}"
    if data.get("clv") is None:
        return said
    at_risk = data.get("value_at_risk")
    return f"{said}, worth {data['clv']:,.2f}" + (
        "" if at_risk is None else f", {at_risk:,.2f} of it at risk"
    )


def _show_account(console: Any, found: Found, settings: Settings) -> None:
    """Show the steps from a typical customer to the number on the card."""
    from rich.table import Table

    from cxstream.scoring import words
    from cxstream.scoring.explain import matters

    account, card = found.account, found.card
    if account is None or card is None:
        return
    table = Table(
        "what", "log-odds", "churn risk so far", title=f"What leads to {card['data']['probability']:.0%}"
    )
    table.add_row("a typical customer", f"{account.typical_log_odds:+.3f}", f"{account.typical:.0%}")
    shown = [step for step in account.steps if matters(step)]
    for step in shown:
        said = words.value(step.feature, step.value, card["data"], settings.scoring)
        table.add_row(said, f"{step.contribution:+.3f}", f"{step.probability:.0%}")
    table.add_section()
    table.add_row("all together", f"{account.log_odds:+.3f}", f"{account.probability:.1%}")
    console.print(table)
    rest = [step.feature for step in account.steps if not matters(step)]
    if rest:
        console.print(f"as for a typical customer: {', '.join(rest)}")
    if not account.agrees:
        console.print(
            "[yellow]these settings do not lead to the number on the card: the worker that wrote it has other "
            r"settings under \[scoring]; run this with the worker's settings file[/yellow]"
        )


def _show_signals(console: Any, found: Found, days: float) -> None:
    from rich.table import Table

    from cxstream.customer.actions import change_in_words
    from cxstream.scoring.explain import reasons_in_words

    if not found.signals:
        console.print(f"no signals in {days:g} days")
        return
    table = Table("time", "signal", "what", "why", title=f"Signals in {days:g} days")
    for signal in found.signals:
        data = signal["data"]
        if "change" in data:
            reasons = [(each["evidence"], each["contribution"]) for each in data.get("reasons", ())]
            why = "" if data["change"] == "erased" else reasons_in_words(data["probability"], reasons)
            table.add_row(signal["time"], "churn risk", change_in_words(data), _text(why))
        else:
            what = f"{data['effort_points']:.1f} effort points in {data['channel']}"
            table.add_row(signal["time"], "friction", what, _text(data["evidence"]))
    console.print(table)


def _show_actions(console: Any, found: Found) -> None:
    from rich.table import Table

    if not found.actions:
        return
    table = Table("time", "action", "arm", "answers", "what came after", title="Actions taken")
    for each in found.actions:
        after = "; ".join(f"{later.time[:16]} {later.what}" for later in each.after) or "nothing yet"
        answers = each.answers or (f"{each.action_id}: no signal of these days" if each.action_id else "-")
        table.add_row(*map(_text, (each.time, each.action or "-", each.arm or "-", answers, after)))
    console.print(table)


def _show_touches(console: Any, found: Found, days: float) -> None:
    from rich.table import Table

    if not found.touches:
        console.print(f"no touchpoints in {days:g} days")
        return
    table = Table("offset", "time", "kind", "channel", "source", "outcome", "effort", "mood",
                  title=f"Touchpoints that arrived in {days:g} days")  # fmt: skip
    for touch in found.touches:
        texts = map(_text, (touch.time, touch.kind, touch.channel, touch.source, touch.outcome))
        table.add_row(str(touch.offset), *texts, f"{touch.effort:g}", f"{touch.mood:+g}")
    console.print(table)
    if found.earlier:
        console.print(f"{found.earlier:,} earlier ones are left out; --limit shows more")


def _show_strays(console: Any, found: Found) -> None:
    """Touchpoints in wrong partitions, and what became of them."""
    from rich.table import Table

    if not found.strays:
        return
    table = Table("place", "time", "kind", "source", "outcome", title="Touchpoints in other partitions")
    for each in found.strays:
        to = "" if each.forwarded_to is None else f" to offset {each.forwarded_to}"
        texts = map(_text, (each.time, each.kind, each.source, f"{each.outcome}{to}"))
        table.add_row(f"{each.partition}-{each.offset}", *texts)
    console.print(table)
    console.print(
        f"they belong to partition {found.identity.partition}: docs/events.md, 'The partition', says how to set their producer"
    )


def _show_worker(console: Any, answer: Answer) -> None:
    from rich.table import Table

    if answer.held is None:
        console.print(_text(answer.said))
        return
    held = answer.held["customer"]
    console.print(
        _text(
            f"the customer's worker now: offset {held['offset']}, clock {held['clock']}, "
            f"acute friction {held['acute']:.1f} at {held['acute_time']}"
            f"{', churned' if held['churned'] else ''}{', a raise waits for its cooldown' if held['held'] else ''}"
        )
    )
    _show_card(console, held["card"])
    for name in ("complaints", "contacts"):
        items = [f"'{each['topic']}' {each['time']}" if name == "contacts" else each for each in held[name]]
        console.print(_text(f"{'open complaints since' if name == 'complaints' else 'last contacts'}: "
                            f"{', '.join(items) or 'none'}"))  # fmt: skip
    table = Table(
        "day", "effort", "mood", "touches", "contacts", "waited s", "failed", title="Days in memory"
    )
    for day in held["days"]:
        numbers = (day["touches"], day["contacts"], day["waited_s"], day["failed"])
        table.add_row(day["day"], f"{day['effort']:g}", f"{day['mood']:+g}", *map(str, numbers))
    console.print(table)
