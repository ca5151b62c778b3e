"""`cxstream train`: models fitted to a company's own history."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cxstream.cli.options import Time, output, require_models

if TYPE_CHECKING:
    from collections.abc import Callable

    from cxstream.settings import Settings
    from cxstream.training.log import Source
    from cxstream.training.report import Rows
    from cxstream.training.run import Trained, Wanted

_REPORTS = (".html", ".json")
_DAYS = click.FloatRange(1, 1830)


@click.group("train")
def command() -> None:
    """Fit models to your own history, and write them as rules.

    \b
    Example:
      cxstream train purchases touchpoints.ndjson --out rules.toml
      cxstream rules check rules.toml
      cxstream rules apply rules.toml
    """  # noqa: D301


@command.command("purchases")
@click.argument("inputs", nargs=-1, required=True, metavar="IN...", type=click.Path(path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="File for the rules (TOML)."
)
@click.option(
    "--report",
    "reports",
    multiple=True,
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write what was found: .html (one page with a plot) or .json; may be given twice.",
)
@click.option(
    "--rules",
    "rules_file",
    type=click.Path(path_type=Path),
    help="Rules (TOML or JSON) that the models are added to.  [default: those of the settings]",
)
@click.option(
    "--until",
    type=Time(),
    help="End of the time of observation; later events are left out.  [default: the last event]",
)
@click.option("--sort", "in_order", is_flag=True, help="Merge all inputs by event time first.")
@click.option(
    "--holdout-days",
    type=click.IntRange(0),
    help="Days at the end that the check leaves out; 0: no check.  [default: a quarter of the time]",
)
@click.option(
    "--unit-days",
    type=click.FloatRange(min=0, min_open=True, max=366),
    default=7.0,
    show_default=True,
    help="Unit of time of the models, in days, and of the times in a CSV file of customers.",
)
@click.option(
    "--margin",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="What is left of a purchase, as a share of it.",
)
@click.option(
    "--horizon-days", type=_DAYS, default=365.0, show_default=True, help="How far clv looks ahead, in days."
)
@click.option(
    "--discount",
    type=click.FloatRange(0, 10),
    default=0.1,
    show_default=True,
    help="Rate a year at which later purchases count less.",
)
@click.option("--force", is_flag=True, help="Replace files that are there.")
@click.pass_obj
def purchases(config: str | None, /, **options: Any) -> None:
    """Fit when customers buy, when they stop, and what they spend.

    IN is touchpoint files as 'cxstream replay' takes them, with purchase, return and purchase_history, or one CSV file of
    customers with the columns frequency, recency, T and, if known, monetary_value (or x, t_x, T, zbar).

    BG/NBD, MBG/NBD and Pareto/NBD are fitted by maximum likelihood, with standard errors, and Gamma-Gamma to the amounts.
    MBG/NBD and Gamma-Gamma go into the rules. Touchpoint files are also cut in two: the model of the first part foretells
    the purchases of the rest. docs/training.md says how to read the result.

    \b
    Example:
      cxstream train purchases touchpoints.ndjson --out rules.toml --report purchases.html
      cxstream train purchases orders.parquet --sort --margin 0.3 --out rules.toml
      cxstream train purchases customers.csv --unit-days 7 --out rules.toml
    """  # noqa: D301
    require_models()
    from cxstream.model.errors import CxstreamError
    from cxstream.model.rules import rules_of
    from cxstream.rules.file import read_file
    from cxstream.settings import load
    from cxstream.training.run import Wanted, rules_with, train

    settings = load(config)
    _check_inputs(options)
    _check_outputs(options)
    before = (
        rules_of(settings.scoring, settings.actions)
        if options["rules_file"] is None
        else read_file(options["rules_file"])
    )
    names = ("unit_days", "holdout_days", "until", "margin", "horizon_days", "discount")
    wanted = Wanted(**{name: options[name] for name in names})
    trained = _trained(train, _source(settings.with_rules(before), options), wanted)
    _show(trained)
    for path in options["reports"]:
        _report(path, trained)
    try:
        rules = rules_with(before, trained)
    except CxstreamError:
        _warn(trained)
        raise
    _write_rules(options["out"], rules, trained)
    _warn(trained)
    click.echo(
        f"{options['out']}: {rules.label}; put it in force with 'cxstream rules apply {options['out']}'"
    )


def _source(settings: Settings, options: dict[str, Any]) -> Source:
    from cxstream.training.log import Source

    return Source(
        options["inputs"],
        settings.scoring,
        settings.actions,
        options["in_order"],
        settings.replay.batch_bytes,
        round(time.time() * 1000),
        settings.control.authority(),
    )


def _check_inputs(options: dict[str, Any]) -> None:
    """Refuse options that say nothing to a file of customers.

    Raises:
        UsageError: there are some.
    """
    from cxstream.training.rfm import is_rfm

    given = [
        name
        for name, value in (
            ("--until", options["until"] is not None),
            ("--sort", options["in_order"]),
            ("--holdout-days", options["holdout_days"]),
        )
        if value
    ]
    if given and any(map(is_rfm, options["inputs"])):
        raise click.UsageError(f"{given[0]} is for touchpoint files, not for a CSV file of customers")


def _check_outputs(options: dict[str, Any]) -> None:
    """Refuse outputs that would be lost, before the work begins.

    Raises:
        OutputError: an output is there already, or is an input, or is named twice.
        UsageError: a report is neither HTML nor JSON.
    """
    from cxstream.files.outputs import same
    from cxstream.model.errors import OutputError

    outputs = [options["out"], *options["reports"]]
    for path in options["reports"]:
        if path.suffix.lower() not in _REPORTS:
            raise click.UsageError(f"--report {path}: name a file that ends with .html or .json")
    for i, path in enumerate(outputs):
        if any(same(path, each) for each in options["inputs"]):
            raise OutputError(f"{path}: is an input; name another file")
        if any(same(path, each) for each in outputs[:i]):
            raise OutputError(f"{path}: is named for two outputs; name two files")
        if path.exists() and not options["force"]:
            raise OutputError(f"{path}: is there already; name another file, or replace it with --force")
        if not path.parent.is_dir():
            raise OutputError(f"{path}: there is no folder {path.parent}; create it first")


def _trained(train: Callable[..., Trained], source: Source, wanted: Wanted) -> Trained:
    from rich.console import Console
    from rich.status import Status

    console = Console(stderr=True)
    if not console.is_terminal:
        return train(source, wanted)
    with Status("reading", console=console) as status:
        return train(source, wanted, status.update)


def _show(trained: Trained) -> None:
    from cxstream.training.report import fit_rows, holdout_rows, spend_rows

    fitted, holdout = trained.fitted, trained.holdout
    click.echo(
        f"{fitted.customers:,} customers, {fitted.repeaters:,} of whom have bought on more than one day"
    )
    _table("When customers buy", fit_rows(trained))
    if fitted.spend is not None:
        _table("What they spend", spend_rows(trained))
    if holdout is None:
        return
    from cxstream.model.rfc3339 import date

    _table(
        f"Purchases after {date(holdout.cut)}, by the model of the purchases before",
        holdout_rows(holdout),
    )
    click.echo(f"holdout: {holdout.ratio:.2f} purchases expected for each that came")


def _table(title: str, rows: Rows) -> None:
    from rich.table import Table

    head, *body = rows
    table = Table(title=title)
    for i, name in enumerate(head):
        table.add_column(name, justify="left" if i == 0 else "right")
    for row in body:
        table.add_row(*row)
    output().print(table)


def _report(path: Path, trained: Trained) -> None:
    from cxstream.files.outputs import created
    from cxstream.training.report import as_html, as_json

    is_page = path.suffix.lower() == ".html"
    with created(path) as file:
        file.write(as_html(trained).encode() if is_page else as_json(trained))
    click.echo(f"{path}: the report")


def _write_rules(path: Path, rules: Any, trained: Trained) -> None:
    from cxstream.files.outputs import created
    from cxstream.rules.show import as_toml

    fitted = trained.fitted
    said = (
        f"# Models of purchases of {fitted.customers:,} customers, written by 'cxstream train purchases'.\n"
    )
    with created(path) as file:
        file.write((said + as_toml(rules)).encode())


def _warn(trained: Trained) -> None:
    for said in trained.fitted.warnings:
        click.secho(f"warning: {said}", fg="yellow", err=True)
