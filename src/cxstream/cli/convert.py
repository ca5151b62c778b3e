"""`cxstream convert`: other data becomes touchpoint files."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cxstream.cli.interrupts import Interrupts
from cxstream.cli.options import tell_compilation
from cxstream.logs.counted import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from cxstream.convert.drafts import Draft
    from cxstream.convert.report import Report
    from cxstream.model.parameters import OwnKind

    Drafts = Callable[[Report], Iterator[Draft]]

F = TypeVar("F", bound="Callable[..., Any]")

_FILE = click.Path(dir_okay=False, readable=False, path_type=Path, allow_dash=True)
_INPUT = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path, allow_dash=True)
_MAPPING = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)
_RULES = click.Path(path_type=Path)


_NOT_WRITTEN = {
    ".bz2",
    ".xz",
    ".lz4",
    ".br",
    ".zip",
    ".7z",
    ".tar",
    ".tgz",
    ".parquet",
    ".csv",
    ".tsv",
    ".xlsx",
}

PARTLY = 3
"""Exit status where a part of the rows could not be converted."""


@dataclass(frozen=True, slots=True)
class _Targets:
    """What is written, and how it is taken.

    Attributes:
        out: takes the events.
        errors: takes the problems; None for standard error.
        allow_errors: whether rows that cannot be converted are no failure.
        mapping: the mapping file, which must not be written.
        rules: the file of rules, likewise.
    """

    out: Path
    errors: Path | None
    allow_errors: bool
    mapping: Path | None = None
    rules: Path | None = None


def _outputs(function: F) -> F:
    """Add the options that every kind has; the function gets them as `targets`."""

    @functools.wraps(function)
    def with_targets(out: Path, errors: Path | None, allow_errors: bool, **rest: Any) -> None:
        targets = _Targets(out, errors, allow_errors, rest.get("mapping"), rest.get("rules"))
        function(targets=targets, **rest)

    wrapped: Any = with_targets
    for option in (
        click.option(
            "--allow-errors",
            is_flag=True,
            help=f"End with 0, not {PARTLY}, where some rows could not be converted.",
        ),
        click.option(
            "--errors",
            type=_FILE,
            help="Write all problems there as NDJSON. Without it the first 20 are shown.",
        ),
        click.option(
            "--out",
            required=True,
            type=_FILE,
            help="Where to write; .gz and .zst are compressed, - is standard output.",
        ),
    ):
        wrapped = option(wrapped)
    result: F = wrapped
    return result


_inputs = click.argument("inputs", metavar="IN...", nargs=-1, required=True, type=_INPUT)


@click.group("convert")
def command() -> None:
    """Turn other data into a file of touchpoints, one CloudEvent a line.

    Each event is held against the decoder that will read it. A summary says how many rows were read, what they
    became, and what was left out and why; each row that cannot be converted is told as FILE:LINE: field: reason.

    The exit status is 0 when everything was converted, 3 when some rows could not be (0 with --allow-errors), and 1
    when nothing could.

    \b
    Example:
      cxstream convert mapping examples/cdnow/purchases.csv --mapping examples/cdnow/mapping.toml --out cdnow.ndjson
      cxstream replay cdnow.ndjson --out result
    """  # noqa: D301


@command.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@_outputs
def olist(folder: Path, targets: _Targets) -> None:
    """The Olist shop: FOLDER holds the CSV files of the Kaggle archive.

    Orders become purchases (BRL, the sum of the payments) and deliveries (late_days after the estimated date),
    answered reviews become reviews. Local times are those of America/Sao_Paulo. Sorted by event time.

    \b
    Example:
      cxstream convert olist brazilian-ecommerce --out olist.ndjson.zst
    """  # noqa: D301
    from cxstream.convert import olist as source

    files = [folder / name for name in source.FILES]
    _convert(lambda report: source.drafts(folder, report), files, targets, in_order=True)


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
def anonymous_bank(inputs: tuple[Path, ...], unidentified: Any, targets: _Targets) -> None:
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
        targets,
        in_order=True,
    )


_rules = click.option(
    "--rules",
    type=_RULES,
    help="Rules (TOML or JSON, see 'cxstream rules') with the kinds of your own.  [default: those of the settings]",
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
@_rules
@_sort
@_outputs
@click.pass_obj
def segment(
    config: str | None,
    inputs: tuple[Path, ...],
    mapping: Path | None,
    rules: Path | None,
    source: str | None,
    in_order: bool,
    targets: _Targets,
) -> None:
    """Track, page and screen records as Segment, RudderStack and Jitsu emit them, or keep them in a warehouse.

    The events of Segment's specifications have a built-in meaning; name your own in a mapping file. Records
    without a userId and identify records are counted, and are no touchpoints.

    \b
    Example:
      cxstream convert segment events.ndjson.gz --mapping ours.toml --sort --out touchpoints.ndjson
    """  # noqa: D301
    from cxstream.convert import segment as table

    own = _own_kinds(config, rules) if mapping is not None else {}
    _convert(
        lambda report: table.drafts(inputs, report, mapping=mapping, source=source, own=own),
        inputs,
        targets,
        in_order=in_order,
        own=own,
    )


@command.command()
@_inputs
@click.option("--kind", default="page_view", show_default=True, help="Kind of the touchpoints.")
@click.option("--channel", default="crm", show_default=True, help="Channel of the touchpoints.")
@click.option(
    "--lifecycle",
    multiple=True,
    metavar="TRANSITION",
    help="Keep events of this lifecycle:transition, such as complete; repeatable.  [default: all]",
)
@click.option("--zone", help="IANA time zone of times without an offset from UTC, such as Europe/Warsaw.")
@click.option("--source", help="CloudEvents source of the events.  [default: xes]")
@click.option(
    "--mapping", type=_MAPPING, help="Your own events, as a mapping file; they come before the built-in ones."
)
@_rules
@_outputs
@click.pass_obj
def xes(
    config: str | None, /, inputs: tuple[Path, ...], rules: Path | None, targets: _Targets, **options: Any
) -> None:
    """Event logs of process mining: XES (IEEE 1849), plain or compressed.

    A trace is the journey of one customer, whose id is the concept:name of the trace. An event is a touchpoint: its
    concept:name is the place, time:timestamp the time, org:resource the agent. Sorted by event time. The same event
    has the same id in every export of the log.

    \b
    Example:
      cxstream convert xes loans.xes.gz --lifecycle complete --out loans.ndjson
    """  # noqa: D301
    from cxstream.convert import xes as source

    own = _own_kinds(config, rules)
    _convert(
        lambda report: source.drafts(inputs, report, own=own, **options),
        inputs,
        targets,
        in_order=True,
        own=own,
    )


@command.command()
@_inputs
@click.option(
    "--mapping", required=True, type=_MAPPING, help="The mapping file: docs/convert.md explains it."
)
@_rules
@_sort
@_outputs
@click.pass_obj
def mapping(
    config: str | None,
    inputs: tuple[Path, ...],
    mapping: Path,
    rules: Path | None,
    in_order: bool,
    targets: _Targets,
) -> None:
    """Any CSV, JSON or Parquet, by a mapping file that says what its columns mean.

    `-` is standard input; the mapping says what it is (input.format).

    \b
    Example:
      cxstream convert mapping tickets.csv --mapping tickets.toml --sort --out tickets.ndjson
      unzip -p export.zip | cxstream convert mapping - --mapping export.toml --out export.ndjson
      cxstream convert mapping parcels.csv --mapping parcels.toml --rules rules.toml --out parcels.ndjson
    """  # noqa: D301
    from cxstream.convert.mapping import load
    from cxstream.convert.rules import drafts

    own = _own_kinds(config, rules)
    layers = [load(mapping, own=own)]
    _convert(lambda report: drafts(inputs, layers, report), inputs, targets, in_order=in_order, own=own)


def _own_kinds(config: str | None, rules: Path | None) -> Mapping[str, OwnKind]:
    """The kinds of the company's own that a mapping may name: those of a file of rules, else of the settings."""
    from cxstream.rules.file import read_file
    from cxstream.settings import load

    return read_file(rules).params.kinds if rules is not None else load(config).scoring.kinds


def _convert(
    drafts: Drafts,
    inputs: Sequence[Path],
    targets: _Targets,
    *,
    in_order: bool,
    own: Mapping[str, OwnKind] = MappingProxyType({}),
) -> None:
    """Write the events and their account; leave no file behind where there is none to write."""
    from cxstream.cli.account import summary
    from cxstream.convert.report import Report
    from cxstream.files.outputs import is_stdout

    _keep_apart(inputs, targets)
    tell_compilation()
    out, errors = targets.out, targets.errors
    report = Report()
    try:
        with Interrupts() as interrupts:
            written = _write(
                drafts, report, inputs, targets, in_order=in_order, own=own, check=interrupts.check
            )
    except KeyboardInterrupt:
        is_there = out.exists() and not out.is_file()
        left = (
            f"the events in {out} are not complete" if is_stdout(out) or is_there else f"{out} is not written"
        )
        click.echo(f"stopped; {left}", err=True)
        raise
    except Exception:
        summary(report)
        raise
    summary(report)
    told = sum(report.problems.values())
    where = f" (see {errors})" if errors and told else ""
    partly = bool(told) and not targets.allow_errors
    why = f"; exit status {PARTLY}: not all was converted (--allow-errors makes it 0)" if partly else ""
    taken = is_stdout(out) or (errors is not None and is_stdout(errors))
    click.echo(f"{counted(written, 'event')} written to {out}; {told:,} not converted{where}{why}", err=taken)
    if partly:
        raise SystemExit(PARTLY)


def _keep_apart(inputs: Sequence[Path], targets: _Targets) -> None:
    """Refuse to write what is read or what is not as it is named, two things to one place, and to read a file twice."""
    from cxstream.files.outputs import key_of, same

    for target in filter(None, (targets.out, targets.errors)):
        for path in inputs:
            if same(path, target):
                raise click.UsageError(f"{target} is an input, which it would overwrite; name another file")
        if targets.mapping is not None and same(targets.mapping, target):
            raise click.UsageError(f"{target} is the mapping, which it would overwrite; name another file")
        if targets.rules is not None and same(targets.rules, target):
            raise click.UsageError(f"{target} has the rules, which it would overwrite; name another file")
        if target.suffix.lower() in _NOT_WRITTEN:
            raise click.UsageError(
                f"{target}: what is written is NDJSON, plain, .gz or .zst, and never {target.suffix};"
                f" name it {target.with_suffix('.ndjson').name}, for example"
            )
    if targets.errors is not None and same(targets.errors, targets.out, both_written=True):
        raise click.UsageError("--errors and --out are the same file; name two")
    read: dict[tuple[int, int], Path] = {}
    for path in inputs:
        key = key_of(path)
        if key is not None and (before := read.setdefault(key, path)) is not path:
            raise click.UsageError(f"{before} and {path} are the same file; name it once")


def _write(
    drafts: Drafts,
    report: Report,
    inputs: Sequence[Path],
    targets: _Targets,
    *,
    in_order: bool,
    own: Mapping[str, OwnKind],
    check: Callable[[], None],
) -> int:
    from contextlib import ExitStack

    from cxstream.cli.account import Problems
    from cxstream.convert.run import write
    from cxstream.files.outputs import created
    from cxstream.logs.bars import bar
    from cxstream.model.errors import InputError
    from cxstream.scoring.codec.vocabulary import vocabulary

    with ExitStack() as stack:
        errors = targets.errors
        problems = Problems(stack.enter_context(created(errors, even_if_broken=True)) if errors else None)
        stack.callback(problems.end)
        progress = stack.enter_context(bar())
        task = progress.add_task("converting", total=_total(inputs))
        report.on_problem = problems.tell

        def show(taken: int) -> None:
            # What interrupts while an error is handled is not raised there.
            check()
            progress.advance(task, taken)

        report.on_bytes = show
        lines = stack.enter_context(created(targets.out))
        kinds = vocabulary(own)
        written = write(drafts(report), lines, report, in_order=in_order, vocabulary=kinds)
        check()
        if not written:
            raise InputError(f"{inputs[0]}: nothing could be converted; the account above says why")
    return written


def _total(inputs: Sequence[Path]) -> int | None:
    """Stored bytes of the inputs; None where one of them is not a file and nobody knows."""
    if not all(path.is_file() for path in inputs):
        return None
    return sum(path.stat().st_size for path in inputs)
