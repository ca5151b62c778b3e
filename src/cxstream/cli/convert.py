"""`cxstream convert`: other data becomes touchpoint files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.table import Table

    from cxstream.convert.drafts import Draft
    from cxstream.convert.report import Problem, Report

    Drafts = Callable[[Report], Iterator[Draft]]

F = TypeVar("F", bound="Callable[..., Any]")

_FILE = click.Path(dir_okay=False, path_type=Path)
_INPUT = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path, allow_dash=True)
_MAPPING = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)


def _outputs(function: F) -> F:
    """Add the options that every kind has."""
    for option in (
        click.option(
            "--errors", type=_FILE, help="Write problems there as NDJSON instead of to standard error."
        ),
        click.option("--out", required=True, type=_FILE, help="Where to write; .gz and .zst are compressed."),
    ):
        function = option(function)
    return function


_inputs = click.argument("inputs", metavar="IN...", nargs=-1, required=True, type=_INPUT)


@click.group("convert")
def command() -> None:
    """Turn other data into a file of touchpoints, one CloudEvent a line.

    Each event is held against the decoder that will read it. A summary says how many rows were read, what they
    became, and what was left out and why; each row that cannot be converted is told as FILE:LINE: field: reason.
    Exits with status 1 when nothing could be converted.

    \b
    Example:
      cxstream convert mapping examples/cdnow/purchases.csv --mapping examples/cdnow/mapping.toml --out cdnow.ndjson
      cxstream replay cdnow.ndjson --out result
    """  # noqa: D301


@command.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@_outputs
def olist(folder: Path, out: Path, errors: Path | None) -> None:
    """The Olist shop: FOLDER holds the CSV files of the Kaggle archive.

    Orders become purchases (BRL, the sum of the payments) and deliveries (late_days after the estimated date),
    answered reviews become reviews. Local times are those of America/Sao_Paulo. Sorted by event time.

    \b
    Example:
      cxstream convert olist brazilian-ecommerce --out olist.ndjson.zst
    """  # noqa: D301
    from cxstream.convert import olist as source

    files = [folder / name for name in source.FILES]
    _convert(lambda report: source.drafts(folder, report), files, out, errors, in_order=True)


@command.command("anonymous-bank")
@_inputs
@click.option(
    "--unidentified",
    type=click.Choice(["skip", "per-call"]),
    default="skip",
    show_default=True,
    help="Calls without a customer id: leave them out, or make each a customer of its own.",
)
@_outputs
def anonymous_bank(inputs: tuple[Path, ...], unidentified: Any, out: Path, errors: Path | None) -> None:
    """The call log of the Technion's "Anonymous Bank", tab separated.

    Calls become contacts: wait_s from the queue, handle_s from the service, abandoned where the caller hung up
    (also in the voice menu). PHANTOM calls are left out. Local times are those of Asia/Jerusalem. Sorted by event
    time.

    \b
    Example:
      cxstream convert anonymous-bank february.txt --unidentified per-call --out calls.ndjson
    """  # noqa: D301
    from cxstream.convert import anonymous_bank as source

    _convert(
        lambda report: source.drafts(inputs, report, unidentified=unidentified),
        inputs,
        out,
        errors,
        in_order=True,
    )


_sort = click.option(
    "--sort",
    "in_order",
    is_flag=True,
    help="Sort by event time, in bounded memory and with temporary files in $TMPDIR; else as they come.",
)


@command.command()
@_inputs
@click.option(
    "--mapping", type=_MAPPING, help="Your own events, as a mapping file; they come before the built-in ones."
)
@click.option("--source", help="CloudEvents source of the events.  [default: segment]")
@_sort
@_outputs
def segment(
    inputs: tuple[Path, ...],
    mapping: Path | None,
    source: str | None,
    in_order: bool,
    out: Path,
    errors: Path | None,
) -> None:
    """Track, page and screen records as Segment, RudderStack and Jitsu emit them, as NDJSON.

    The events of Segment's specifications have a built-in meaning; name your own in a mapping file. Records
    without a userId and identify records are counted, and are no touchpoints.

    \b
    Example:
      cxstream convert segment events.ndjson.gz --mapping ours.toml --sort --out touchpoints.ndjson
    """  # noqa: D301
    from cxstream.convert import segment as table

    _convert(
        lambda report: table.drafts(inputs, report, mapping=mapping, source=source),
        inputs,
        out,
        errors,
        in_order=in_order,
    )


@command.command()
@_inputs
@click.option(
    "--mapping", required=True, type=_MAPPING, help="The mapping file: docs/convert.md explains it."
)
@_sort
@_outputs
def mapping(inputs: tuple[Path, ...], mapping: Path, in_order: bool, out: Path, errors: Path | None) -> None:
    """Any CSV or NDJSON, by a mapping file that says what its columns mean.

    `-` is standard input; the mapping says what it is (input.format).

    \b
    Example:
      cxstream convert mapping tickets.csv --mapping tickets.toml --sort --out tickets.ndjson
      unzip -p export.zip | cxstream convert mapping - --mapping export.toml --out export.ndjson
    """  # noqa: D301
    from cxstream.convert.mapping import load
    from cxstream.convert.rules import drafts

    layers = [load(mapping)]
    _convert(lambda report: drafts(inputs, layers, report), inputs, out, errors, in_order=in_order)


def _convert(
    drafts: Drafts, inputs: Sequence[Path], out: Path, errors: Path | None, *, in_order: bool
) -> None:
    """Write the events and their account; leave no file behind where there is none to write."""
    from cxstream.convert.report import Report

    _keep_apart(inputs, out, errors)
    report = Report()
    try:
        written = _write(drafts, report, inputs, out, errors, in_order=in_order)
    except KeyboardInterrupt:
        click.echo("stopped; nothing was written", err=True)
        raise SystemExit(130) from None
    finally:
        if report.rows:
            _summary(report)
    told = sum(report.problems.values())
    where = f" (see {errors})" if errors and told else ""
    click.echo(f"{written:,} events written to {out}; {told:,} not converted{where}")


def _keep_apart(inputs: Sequence[Path], out: Path, errors: Path | None) -> None:
    for path in inputs:
        for target in (out, errors):
            if target is not None and target.exists() and path.exists() and target.samefile(path):
                raise click.UsageError(f"{target} is an input, which it would overwrite; name another file")
    if errors is not None and errors.absolute() == out.absolute():
        raise click.UsageError("--errors and --out are the same file; name two")


def _write(
    drafts: Drafts, report: Report, inputs: Sequence[Path], out: Path, errors: Path | None, *, in_order: bool
) -> int:
    import sys
    from contextlib import ExitStack

    import msgspec
    from rich.console import Console
    from rich.progress import Progress

    from cxstream.convert.output import created
    from cxstream.convert.run import write
    from cxstream.model.errors import InputError

    with ExitStack() as stack:
        log = stack.enter_context(created(errors, even_if_broken=True)) if errors else None

        def tell(problem: Problem) -> None:
            if log is not None:
                log.write(msgspec.json.encode(problem) + b"\n")
            else:
                click.echo(str(problem), err=True)

        quiet = not sys.stderr.isatty()
        progress = stack.enter_context(Progress(console=Console(stderr=True), transient=True, disable=quiet))
        task = progress.add_task("converting", total=_total(inputs))
        report.on_problem = tell
        report.on_bytes = lambda taken: progress.advance(task, taken)
        lines = stack.enter_context(created(out))
        written = write(drafts(report), lines, report, in_order=in_order)
        if not written:
            raise InputError(f"{inputs[0]}: nothing could be converted; the account above says why")
    return written


def _total(inputs: Sequence[Path]) -> int | None:
    """Stored bytes of the inputs; None where one of them is not a file and nobody knows."""
    if not all(path.is_file() for path in inputs):
        return None
    return sum(path.stat().st_size for path in inputs)


def _summary(report: Report) -> None:
    import time

    from rich.console import Console

    from cxstream.convert.times import rfc3339

    files = {Path(name).name: count for name, count in report.rows.items()}
    table = _table()
    for title, counts in (
        ("rows read", files),
        ("events written", report.events),
        ("left out on purpose", report.skipped),
        ("not converted", report.problems),
        ("good to know", report.notes),
    ):
        for number, (name, count) in enumerate(sorted(counts.items(), key=lambda item: -item[1])):
            table.add_row("" if number else title, name, f"{count:,}")
        if counts:
            table.add_section()
    if report.span is not None:
        for name, ms in zip(("first", "last"), report.span, strict=True):
            table.add_row("event times" if name == "first" else "", f"{name:5} {rfc3339(ms)}", "")
    Console(stderr=True).print(table)
    for hint in report.hints():
        # Click takes the colour away where standard error is no terminal.
        click.secho(f"hint: {hint}", fg="yellow", err=True)
    if report.span is not None and report.span[1] > time.time() * 1000:
        click.secho(
            "hint: the last event lies in the future; replay rejects such events", fg="yellow", err=True
        )


def _table() -> Table:
    from rich.table import Table

    table = Table(show_header=False)
    for column in ("", "what"):
        table.add_column(column, overflow="fold")
    table.add_column("how many", justify="right", no_wrap=True)
    return table
