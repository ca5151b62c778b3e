"""`cxstream validate`: check records against the contract, as a producer's own test."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cxstream.cli.options import output, rules_option, tell_compilation
from cxstream.logs.counted import counted

if TYPE_CHECKING:
    from cxstream.settings import Settings
    from cxstream.validate.run import Finding, ProblemCounts

_SHOWN = 20
_LONGEST = 200  # characters of a field's path, and of a value


@dataclass(slots=True)
class _Teller:
    """Shows the first problems of each level, one per line; with JSON all of them.

    Attributes:
        limit: the most to show of each level; None for all.
        as_json: a JSON object a line.
        shown: how many were shown, by level.
        hidden: how many were not.
    """

    limit: int | None
    as_json: bool
    shown: dict[str, int] = field(default_factory=dict)
    hidden: int = 0

    def tell(self, finding: Finding) -> None:
        """Show a problem, if few were shown before."""
        level = finding.problem.level
        count = self.shown.get(level, 0)
        if self.limit is not None and count >= self.limit:
            self.hidden += 1
            return
        self.shown[level] = count + 1
        click.echo(_json(finding) if self.as_json else _line(finding))


@click.command("validate")
@click.argument(
    "inputs", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path, allow_dash=True)
)
@click.option(
    "--limit",
    type=click.IntRange(0),
    help=f"Most errors, and most warnings, to show.  [default: {_SHOWN}; all with --json]",
)
@click.option("--json", "as_json", is_flag=True, help="A JSON object for each problem, on a line of its own.")
@rules_option(
    "Rules (TOML or JSON, see 'cxstream rules') whose kinds are valid.  [default: those of the settings]"
)
@click.option("--strict", is_flag=True, help="Warnings count, too: exit status 1 where there is one.")
@click.pass_obj
def command(
    config: str | None,
    inputs: tuple[Path, ...],
    limit: int | None,
    as_json: bool,
    rules_file: Path | None,
    strict: bool,
) -> None:
    """Check touchpoint records before they are sent.

    FILE is what `replay` and `produce` read: JSON (lines or arrays, also packed), Parquet or Arrow; `-` is standard input.
    Every problem is told with file, line and field, and with what was probably meant. What is valid here, a worker
    accepts; that it may come too late, or twice, only a worker knows.

    Warnings are about records that are valid and probably not as they were meant: unknown fields of data, attributes in
    the wrong place, an id that comes again.

    The exit status is 0 where every record is valid, 1 where one is not or a file cannot be read, and 2 where the
    command line is wrong.

    \b
    Example:
      cxstream validate touchpoints.ndjson
      my-exporter --sample | cxstream validate - --strict
      cxstream validate touchpoints.ndjson --rules rules.toml
      cxstream validate touchpoints.ndjson --json | jq -r .field | sort | uniq -c
    """  # noqa: D301
    import time

    from rich.console import Console

    from cxstream.files.readers import total_bytes
    from cxstream.replay.progress import Bar
    from cxstream.rules.file import read_file
    from cxstream.scoring.engine import Engine
    from cxstream.settings import load
    from cxstream.validate.run import check

    tell_compilation()
    settings = load(config)
    if rules_file is not None:
        settings = settings.with_rules(read_file(rules_file))

    def engine(settings: Settings) -> Engine:
        return Engine(settings.scoring, settings.actions, authority=settings.control.authority())

    teller = _Teller(_SHOWN if limit is None and not as_json else limit, as_json)
    with Bar(Console(stderr=True), total_bytes(inputs)) as bar:
        tally = check(
            inputs,
            engine(settings),
            lambda: round(time.time() * 1000),
            teller.tell,
            grace=round(settings.scoring.future_minutes * 60_000),
            on_chunk=bar.show,
            following=lambda rules: engine(settings.with_rules(rules)),
        )
    if teller.hidden and not as_json:
        _show_counts(tally, teller.hidden)
    click.echo(_summary(tally), err=as_json)
    _advise(tally)
    if tally.bad or (strict and tally.warnings):
        raise SystemExit(1)


def _line(finding: Finding) -> str:
    from cxstream.logs.printable import printable

    path, line, problem = finding
    level = "" if problem.reason else "warning: "
    return printable(
        f"{path}:{line}: {level}{_clipped(problem.field)}{problem.sentence[len(problem.field) :]}"
    )


def _json(finding: Finding) -> str:
    import msgspec

    path, line, problem = finding
    said = {
        "file": _text(str(path)),
        "line": line,
        "level": problem.level,
        "reason": problem.reason or None,
        "field": _text(_clipped(problem.field)),
        "message": _text("; ".join(filter(None, (problem.message, problem.advice)))),
        "meant": problem.meant or None,
        "value": None if problem.value is None else _text(_clipped(problem.value)),
    }
    return msgspec.json.encode(said).decode()


def _text(text: str) -> str:
    """Text that can be encoded: bytes that were not UTF-8 become replacement characters."""
    return text.encode(errors="surrogateescape").decode(errors="replace")


def _clipped(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _show_counts(tally: ProblemCounts, hidden: int) -> None:
    from rich.table import Table
    from rich.text import Text

    from cxstream.logs.printable import printable

    click.echo(f"... and {hidden:,} more; --limit shows more of them")
    table = Table("level", "reason", "field", "problems", title="By field")
    rows: list[tuple[str, str, str, int]] = [
        (level, reason, name, count)
        for level, counts in (("error", tally.errors), ("warning", tally.warnings))
        for (reason, name), count in counts.most_common(_SHOWN)
    ]
    for level, reason, name, count in rows:
        table.add_row(level, reason, Text(printable(_clipped(name))), f"{count:,}")
    console: Any = output()
    console.print(table)


def _summary(tally: ProblemCounts) -> str:
    errors, warnings = tally.errors.total(), tally.warnings.total()
    good = tally.records - tally.bad
    of = f" ({counted(errors, 'error')})" if errors else ""
    records = counted(tally.records, "record")
    return f"{records}: {good:,} valid, {tally.bad:,} not valid{of}, {counted(warnings, 'warning')}"


def _advise(tally: ProblemCounts) -> None:
    """What to do if no record of a file is valid."""
    if not tally.records:
        # Click takes the colour away where standard error is no terminal.
        click.secho("cxstream: there was no record to check", fg="yellow", err=True)
    elif tally.bad == tally.records:
        click.secho(
            "cxstream: no record is valid; 'cxstream convert' turns other data into touchpoints (docs/convert.md), and "
            "docs/events.md has events to copy",
            fg="red",
            err=True,
        )
