"""`cxstream assign`: which customers an experiment treats and which it holds out."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cxstream.cli.options import output, rules_option

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cxstream.model.experiments import Experiment
    from cxstream.model.rules import Rules

_FORMATS = ("table", "csv", "ndjson")
# The most rows that a table shows.
_SHOWN = 50
# As the contract has it for `subject`.
_LONGEST = 128


@click.command("assign")
@click.argument("experiment")
@click.argument("customers", nargs=-1, metavar="[CUSTOMER...]")
@click.option(
    "--file",
    "path",
    metavar="FILE",
    type=click.Path(path_type=Path, allow_dash=True),
    help="A file with one customer id a line, UTF-8; - is standard input.",
)
@rules_option("Rules (TOML or JSON) with the experiment.  [default: those of the settings]")
@click.option("--format", "form", type=click.Choice(_FORMATS), default="table", show_default=True)
@click.pass_obj
def command(
    config: str | None,
    experiment: str,
    customers: tuple[str, ...],
    path: Path | None,
    rules_file: Path | None,
    form: str,
) -> None:
    """Say who is treated and who is held out in EXPERIMENT, as churn-risk signals do in `arm`.

    The arm is a keyed hash of the customer id, so the same customer always has the same one. docs/experiments.md has the
    function, for programs that compute it themselves. No broker is needed.

    \b
    Example:
      cxstream assign retention c-000087 c-000088 --rules rules.toml
      cxstream assign retention --file customers.txt --rules rules.toml --format csv > arms.csv
    """  # noqa: D301
    from cxstream.model.rules import rules_of
    from cxstream.rules.file import read_file
    from cxstream.settings import load

    settings = load(config)
    rules = rules_of(settings.scoring, settings.actions) if rules_file is None else read_file(rules_file)
    chosen = _experiment(rules, experiment)
    if bool(customers) == (path is not None):
        raise click.UsageError("name customers, or a file of them with --file; one of the two")
    _write(form, experiment, chosen, customers if path is None else _lines(path))


def _experiment(rules: Rules, name: str) -> Experiment:
    known = rules.params.experiments or {}
    if name not in known:
        said = f"there are {', '.join(known)}" if known else "they have none: add [scoring.experiments.NAME]"
        raise click.ClickException(f"the rules {rules.label} have no experiment {name!r}; {said}")
    return known[name]


def _lines(path: Path) -> Iterator[str]:
    """The customers of a file, without empty lines.

    Raises:
        InputError: it cannot be read, or a line is no customer id.
    """
    from cxstream.model.errors import InputError

    source = "standard input" if str(path) == "-" else str(path)
    try:
        with sys.stdin.buffer if str(path) == "-" else path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                try:
                    line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                except UnicodeDecodeError as error:
                    raise InputError(f"{source}:{number}: not UTF-8; save the file as UTF-8") from error
                if len(line) > _LONGEST:
                    raise InputError(
                        f"{source}:{number}: {len(line):,} characters, and a customer id has at most {_LONGEST}: one id a "
                        "line"
                    )
                if line:
                    yield line
    except OSError as error:
        raise InputError(f"{source}: cannot be read: {error.strerror or error}") from error


def _write(form: str, name: str, experiment: Experiment, customers: Iterable[str]) -> None:
    from cxstream.model.experiments import arm_of

    rows = ((customer, arm_of(name, experiment, customer)) for customer in customers)
    if form == "table":
        _table(name, experiment, rows)
        return
    if form == "csv":
        import csv

        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(("customer", "experiment", "arm"))
        writer.writerows((customer, name, arm) for customer, arm in rows)
        return
    for customer, arm in rows:
        sys.stdout.write(
            json.dumps({"customer": customer, "experiment": name, "arm": arm}, ensure_ascii=False) + "\n"
        )


def _table(name: str, experiment: Experiment, rows: Iterable[tuple[str, str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from cxstream.logs.printable import printable

    table, counts = Table("customer", "arm"), {"treated": 0, "holdout": 0}
    for customer, arm in rows:
        counts[arm] += 1
        if sum(counts.values()) <= _SHOWN:
            table.add_row(Text(printable(customer)), arm)
    output().print(table)
    total = sum(counts.values())
    if total > _SHOWN:
        click.echo(f"... and {total - _SHOWN:,} more; --format csv or ndjson shows all of them")
    click.echo(
        f"{name}: {counts['treated']:,} treated, {counts['holdout']:,} held out of {total:,}; "
        f"the rules hold out {experiment.holdout:.4g}"
    )
