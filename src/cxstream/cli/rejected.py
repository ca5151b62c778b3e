"""`cxstream rejected`: look at rejected records, and send them again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cxstream.cli.options import Time, log_bar, output, tell_compilation
from cxstream.logs.counted import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cxstream.model.parameters import OwnKind
    from cxstream.rejected.explain import Explanation
    from cxstream.rejected.listing import Filters, Listing
    from cxstream.rejected.record import Rejection
    from cxstream.rejected.resend import Result
    from cxstream.scoring.codec.pseudonym import Pseudonyms
    from cxstream.settings import Settings

_SHOWN = 20
_FILTERS = (
    click.option(
        "--reason",
        help="Rejected for this: malformed, invalid, misrouted, from_the_future, too_late, too_large, failed, "
        "skipped.",
    ),
    click.option("--field", help="Path of the field at fault, like data.score."),
    click.option("--partition", type=click.IntRange(0), help="Partition it came from."),
    click.option("--source", help="CloudEvents source of the record."),
    click.option("--kind", help="Kind of touchpoint, like contact."),
    click.option("--since", type=Time(), help="Rejected since: RFC 3339, or 30m, 2h, 7d ago."),
    click.option("--until", type=Time(), help="Rejected before: the same."),
    click.option("--kafka", metavar="HOST:PORT[,...]", help="Where Kafka is."),
)


def _filtered(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_FILTERS):
        command = option(command)
    return command


@click.group("rejected")
def command() -> None:
    """Look at rejected records and send them again.

    A record is named by the place it came from, like cx.touchpoints-3-1742 (3-1742 for short). On a Kafka
    with ACLs this needs the role oncall (cxstream topics --acls).

    \b
    Example:
      cxstream rejected list --since 2h
      cxstream rejected show 3-1742
      cxstream rejected resend 3-1742 --fix fix.toml
    """  # noqa: D301


@command.command("list")
@_filtered
@click.option("--limit", type=click.IntRange(1), default=_SHOWN, show_default=True, help="Most rows to show.")
@click.option("--all", "everything", is_flag=True, help="Also records that have been sent again.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line, oldest first, no limit.")
@click.pass_obj
def list_(
    config: str | None, /, limit: int, everything: bool, as_json: bool, kafka: str | None, **filters: Any
) -> None:
    """List rejected records, the newest first, and count them by reason and field.

    Shows what stands in the field at fault, and the source and kind of the record. Where outputs hold pseudonyms, the
    value is left out, and the key is a pseudonym. Records that have been sent again are left out.

    \b
    Example:
      cxstream rejected list --reason invalid --field data.score --since 1d
      cxstream rejected list --json | jq -r .place
    """  # noqa: D301
    import asyncio

    from cxstream.settings import load

    settings = load(config, kafka=kafka)

    def choose(listing: Listing) -> list[Rejection]:
        found = listing.found if everything else listing.open
        chosen = sorted(found, key=lambda each: (each.time_ms, each.place))
        return chosen if as_json else chosen[: -limit - 1 : -1]

    listing = asyncio.run(_scan(settings, _filters(settings, filters), choose))
    rows = [_row(each, listing, settings.privacy.pseudonyms()) for each in choose(listing)]
    if as_json:
        for row in rows:
            click.echo(_json(row))
        return
    _show_list(listing, rows)


@command.command("show")
@click.argument("place")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--kafka", metavar="HOST:PORT[,...]", help="Where Kafka is.")
@click.pass_obj
def show(config: str | None, place: str, as_json: bool, kafka: str | None) -> None:
    """Show one rejected record: what is wrong, where exactly, and what the schema wants there.

    Every problem is told, in the words of `cxstream validate`. Where there is no doubt about a repair, a fix is shown that
    `cxstream rejected resend --fix` takes.

    \b
    Example:
      cxstream rejected show cx.touchpoints-3-1742
    """  # noqa: D301
    import asyncio

    from cxstream.model.errors import InputError
    from cxstream.rejected.explain import explain
    from cxstream.rejected.record import Place
    from cxstream.scoring.codec.vocabulary import vocabulary
    from cxstream.settings import load

    settings = load(config, kafka=kafka)
    wanted = Place.parse(place, settings.topology.touchpoints.name)
    tell_compilation()
    rejection, again = asyncio.run(_one(settings, wanted))
    if rejection is None:
        raise InputError(
            f"{wanted}: cx.rejected has no such record; 'cxstream rejected list --all' shows all"
        )
    explanation = explain(
        rejection, settings.scoring.max_record_bytes, vocabulary(_kinds(settings, rejection))
    )
    if as_json:
        click.echo(_json(_whole(rejection, explanation, resent=again)))
    else:
        _show_one(rejection, explanation, resent=again)


def _kinds(settings: Settings, rejection: Rejection) -> Mapping[str, OwnKind]:
    """The company's own kinds, by the rules in force in the partition of a rejected record."""
    import asyncio

    from cxstream.rules.log import in_force
    from cxstream.scoring.codec.decode import INVALID

    if rejection.reason != INVALID:
        return settings.scoring.kinds
    found = asyncio.run(in_force(settings))
    at = rejection.place.partition
    return found[at].rules.rules.params.kinds if at < len(found) else settings.scoring.kinds


def _own_kinds(settings: Settings) -> dict[str, OwnKind]:
    """The company's own kinds, by the rules in force in any partition; of one name, those of the newest rules."""
    import asyncio

    from cxstream.rules.log import in_force

    with log_bar("reading rules") as bar:
        found = asyncio.run(in_force(settings, bar))
    kinds: dict[str, OwnKind] = {}
    for each in sorted(found, key=lambda each: each.rules.time or 0):
        kinds |= each.rules.rules.params.kinds
    return dict(sorted(kinds.items()))


@command.command("resend")
@click.argument("places", metavar="[PLACE]...", nargs=-1)
@_filtered
@click.option(
    "--fix",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Fix file, or a mapping file of 'cxstream convert mapping': what becomes of each record.",
)
@click.option("--everything", is_flag=True, help="All that is rejected, where no filter is given.")
@click.option("--send", is_flag=True, help="Really send. Without it: a dry run, nothing is written.")
@click.option("--json", "as_json", is_flag=True, help="A JSON object for each record.")
@click.pass_obj
def resend(
    config: str | None,
    /,
    places: tuple[str, ...],
    fix: Path | None,
    everything: bool,
    send: bool,
    as_json: bool,
    kafka: str | None,
    **filters: Any,
) -> None:
    """Send rejected records again, each at most once.

    Says what would be sent; with --send it is sent. What would be rejected again, what is too long for
    cx.touchpoints and requests of cx.forget are not sent. A record that has been sent again is marked in
    the same transaction, and never sent a second time. Exit status 1 when a record that was asked for is
    not sent.

    \b
    Example:
      cxstream rejected resend --reason invalid --field data.channel --fix fix.toml
      cxstream rejected resend --reason invalid --field data.channel --fix fix.toml --send
    """  # noqa: D301
    import asyncio
    import functools

    from cxstream.rejected.fix import load as load_fix
    from cxstream.rejected.resend import Order, resend
    from cxstream.scoring.codec.vocabulary import vocabulary
    from cxstream.settings import load

    settings = load(config, kafka=kafka)
    wanted = _filters(settings, filters, places)
    if wanted.empty and not everything:
        raise click.UsageError("say which: places, a filter, or --everything")
    tell_compilation()
    order = Order(wanted, load_fix(fix) if fix else None, send, vocabulary(_own_kinds(settings)))
    counts: dict[str, int] = {}

    def tell(result: Result) -> None:
        counts[result.status] = counts.get(result.status, 0) + 1
        _tell(result, as_json)

    with log_bar("reading cx.rejected") as bar:
        planned = functools.partial(bar, said="looking at each record")
        asyncio.run(resend(settings, order, tell, bar, planned))
    said = ", ".join(f"{count:,} {status}" for status, count in counts.items()) or "nothing to send"
    click.echo(f"{said}{'' if send else '; a dry run: add --send'}", err=as_json)
    if any(counts.get(status) for status in ("refused", "not found")):
        raise SystemExit(1)


def _tell(result: Result, as_json: bool) -> None:
    if as_json:
        click.echo(_json({"place": str(result.place), "status": result.status, "message": result.message}))
    else:
        click.echo(f"{result.place}: {result.status}{': ' if result.message else ''}{result.message}")


def _filters(settings: Settings, given: dict[str, Any], places: tuple[str, ...] = ()) -> Filters:
    from cxstream.rejected.listing import Filters
    from cxstream.rejected.record import Place

    touchpoints = settings.topology.touchpoints.name
    return Filters(places=frozenset(Place.parse(place, touchpoints) for place in places), **given)


async def _scan(
    settings: Settings, filters: Filters, choose: Callable[[Listing], list[Rejection]]
) -> Listing:
    from cxstream.kafka.reader import reading
    from cxstream.rejected.listing import look_up, scan
    from cxstream.topology import REJECTED, TOUCHPOINTS

    async with reading(settings, [REJECTED, TOUCHPOINTS]) as reader:
        with log_bar("reading cx.rejected") as bar:
            listing = await scan(reader, filters, bar)
        await look_up(reader, listing, choose(listing))
        return listing


async def _one(settings: Settings, place: Any) -> tuple[Rejection | None, bool]:
    from cxstream.kafka.reader import reading
    from cxstream.rejected.listing import Filters, original, scan
    from cxstream.topology import REJECTED, TOUCHPOINTS

    async with reading(settings, [REJECTED, TOUCHPOINTS]) as reader:
        with log_bar("reading cx.rejected") as bar:
            listing = await scan(reader, Filters(places=frozenset({place})), bar)
        if not listing.found:
            return None, False
        return await original(reader, listing.found[0]), place in listing.resent


def _json(value: Any) -> str:
    import msgspec

    return msgspec.json.encode(value).decode()


def _row(rejection: Rejection, listing: Listing, pseudonyms: Pseudonyms | None) -> dict[str, Any]:
    from cxstream.model.rfc3339 import rfc3339

    known = listing.glimpses[rejection.place]
    key = _text(rejection.key)
    if pseudonyms is not None and key is not None and known.raw:
        key = pseudonyms.of(key)
    return {
        "place": str(rejection.place),
        "reason": rejection.reason,
        "field": rejection.field,
        "value": (known.value if pseudonyms is None else "") or None,
        "source": known.source or None,
        "kind": known.kind or None,
        "time": rfc3339(rejection.time_ms),
        "key": key,
        "reference": rejection.reference._asdict() if rejection.reference else None,
        "resent_from": rejection.resent_from or None,
        "resent": rejection.place in listing.resent,
    }


def _text(raw: bytes | None) -> str | None:
    return None if raw is None else raw.decode(errors="backslashreplace")


def _show_list(listing: Listing, rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    console = output()
    if not listing.found:
        console.print("no rejected record fits")
    else:
        told = ("place", "reason", "field", "value", "source", "kind", "key")
        table = Table("rejected at", *told, "remarks", title="Rejected, newest first")
        for row in rows:
            remarks = [f"repeats {row['resent_from']}"] if row["resent_from"] else []
            remarks += [f"a reference to {row['reference']['size']:,} bytes"] if row["reference"] else []
            remarks += ["sent again"] if row["resent"] else []
            cells = (row["time"], *(row[name] or "-" for name in told), "; ".join(remarks))
            table.add_row(*map(_plain, cells))
        console.print(table)
        counts = Table("reason", "field", "records", "sent again", title="By reason and field")
        for reason, field, count, again in listing.summary():
            counts.add_row(_plain(reason), _plain(field), f"{count:,}", f"{again:,}")
        console.print(counts)
    if listing.unreadable:
        console.print(
            f"cx.rejected has {counted(listing.unreadable, 'record')} without the place from which it came"
        )


def _plain(text: str) -> Any:
    """What others wrote, without markup and control characters."""
    from rich.text import Text

    from cxstream.logs.printable import printable

    return Text(printable(text))


def _whole(rejection: Rejection, explanation: Explanation, *, resent: bool) -> dict[str, Any]:
    from cxstream.model.rfc3339 import rfc3339

    where = explanation.where
    return {
        "place": str(rejection.place),
        "reason": rejection.reason,
        "field": rejection.field,
        "time": rfc3339(rejection.time_ms),
        "key": _text(rejection.key),
        "headers": [[name, _text(value)] for name, value in rejection.headers],
        "value": _text(rejection.value),
        "reference": rejection.reference._asdict() if rejection.reference else None,
        "message": explanation.message,
        "problems": [
            {"level": each.level, "field": each.field, "message": each.message, "meant": each.meant or None}
            for each in explanation.problems
        ],
        "fix": explanation.fix,
        "position": [where.start, where.end] if where else None,
        "wanted": explanation.wanted,
        "resent": resent,
    }


def _show_one(rejection: Rejection, explanation: Explanation, *, resent: bool) -> None:
    import msgspec
    from rich.text import Text

    from cxstream.model.rfc3339 import rfc3339

    field = f", field {rejection.field}" if rejection.field else ""
    lines = [
        f"place     {rejection.place}{', has been sent again' if resent else ''}",
        f"rejected  {rfc3339(rejection.time_ms)}, {rejection.reason}{field}",
        f"because   {explanation.message}",
        *_more_problems(explanation),
        f"key       {_text(rejection.key) if rejection.key is not None else 'none'}",
        *_reference_lines(rejection),
        *(
            f"header    {name}: {'null' if value is None else _text(value)}"
            for name, value in rejection.headers
        ),
    ]
    if explanation.where:
        line, carets = explanation.where.excerpt()
        lines += [f"position  {explanation.where.start} of the event's text", "", f"  {line}", f"  {carets}"]
    if explanation.wanted:
        wanted = msgspec.json.format(msgspec.json.encode(explanation.wanted), indent=2).decode()
        lines += ["", "the schema wants there", wanted]
    lines += ["", "value", _pretty(rejection.value)]
    from cxstream.logs.printable import printable

    output().print(Text(printable("\n".join(lines), lines=True)))
    if explanation.fix:
        _show_fix(explanation.fix, rejection)


def _more_problems(explanation: Explanation) -> list[str]:
    """What else is wrong with it, a line each."""
    first = explanation.problem
    return [
        f"{'also' if each.reason else 'warning':10}{each.sentence}"
        for each in explanation.problems
        if each is not first
    ]


def _show_fix(fix: str, rejection: Rejection) -> None:
    """A fix to be copied: its lines are not folded."""
    from cxstream.logs.printable import printable

    click.echo("\na fix that would make it valid; in a file, for 'cxstream rejected resend --fix FILE'\n")
    click.echo(printable(fix, lines=True))
    filters = f" --reason {rejection.reason}" + (f" --field {rejection.field}" if rejection.field else "")
    click.echo(printable(f"for all like it: cxstream rejected resend{filters} --fix FILE"))


def _reference_lines(rejection: Rejection) -> list[str]:
    if rejection.reference is None:
        return []
    size, sha256 = rejection.reference
    lines = [f"size      {size:,} bytes of key, value and headers; cx.rejected has a reference, no copy"]
    return [*lines, f"sha256    {sha256} of the value"] if sha256 else lines


def _pretty(value: bytes | None) -> str:
    import msgspec

    if value is None:
        return "none: it is kept nowhere any more, or there never was one"
    try:
        return msgspec.json.format(value, indent=2).decode()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _text(value) or ""
