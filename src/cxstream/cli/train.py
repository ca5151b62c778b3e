"""`cxstream train`: models fitted to a company's own history."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cxstream.cli.interrupts import whole
from cxstream.cli.options import (
    Number,
    Time,
    log_argument,
    log_kafka_option,
    reports_option,
    require_models,
    rules_option,
    rules_out_option,
    tell_compilation,
)
from cxstream.cli.train_churn import churn
from cxstream.cli.train_foretell import foretell
from cxstream.cli.training import (
    check_inputs,
    check_outputs,
    log_source,
    rules_before,
    show_table,
    warn,
    with_status,
    write_report,
    write_rules,
    write_track,
)

if TYPE_CHECKING:
    from cxstream.training.run import Trained

_DAYS = Number(1, 1830)


@click.group("train")
def command() -> None:
    """Fit models to your own history, and write them as rules.

    \b
    Example:
      cxstream train purchases touchpoints.ndjson --out rules.toml
      cxstream train churn touchpoints.ndjson --rules rules.toml --out rules-2.toml
      cxstream rules check rules-2.toml
      cxstream rules apply rules-2.toml
    """  # noqa: D301


command.add_command(churn)
command.add_command(foretell)


@command.command("purchases")
@log_argument
@rules_out_option
@reports_option("what was found", "a plot")
@click.option(
    "--track",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the plot of the holdout as CSV: days since the cut, purchases that came, and expected ones.",
)
@rules_option("Rules (TOML or JSON) that the models are added to.  [default: those of the settings]")
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
    type=Number(min=0, min_open=True, max=366),
    default=7.0,
    show_default=True,
    help="Unit of time of the models, in days, and of the times in a CSV file of customers.",
)
@click.option(
    "--margin",
    type=Number(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="What is left of a purchase, as a share of it.",
)
@click.option(
    "--horizon-days", type=_DAYS, default=365.0, show_default=True, help="How far clv looks ahead, in days."
)
@click.option(
    "--discount",
    type=Number(0, 10),
    default=0.1,
    show_default=True,
    help="Rate a year at which later purchases count less.",
)
@click.option("--force", is_flag=True, help="Replace files that are there.")
@log_kafka_option
@click.pass_obj
@whole
def purchases(config: str | None, /, **options: Any) -> None:
    """Fit when customers buy, when they stop, and what they spend.

    IN is touchpoint files as 'cxstream replay' takes them, with purchase, return and purchase_history, or one CSV file of
    customers with the columns frequency, recency, T and, if known, monetary_value (or x, t_x, T, zbar). Without IN,
    cx.touchpoints is read from Kafka up to now; nobody's offsets change.

    BG/NBD, MBG/NBD and Pareto/NBD are fitted by maximum likelihood, with standard errors, and Gamma-Gamma to the amounts.
    MBG/NBD and Gamma-Gamma go into the rules. Touchpoint files are also cut in two: the model of the first part foretells
    the purchases of the rest. docs/training.md says how to read the result.

    \b
    Example:
      cxstream train purchases touchpoints.ndjson --out rules.toml --report purchases.html
      cxstream train purchases orders.parquet --sort --margin 0.3 --out rules.toml
      cxstream train purchases customers.csv --unit-days 7 --out rules.toml
      cxstream train purchases --kafka kafka-1:9092 --margin 0.3 --out rules.toml
    """  # noqa: D301
    require_models()
    from cxstream.model.errors import CxstreamError
    from cxstream.settings import load
    from cxstream.training.report import as_html, as_json, track_csv
    from cxstream.training.run import Wanted, rules_with, train

    check_inputs(options)
    _check_rfm(options)
    tell_compilation()
    settings = load(config, kafka=options["kafka"])
    check_outputs(options)
    before = rules_before(settings, options["rules_file"])
    names = ("unit_days", "holdout_days", "until", "margin", "horizon_days", "discount")
    wanted = Wanted(**{name: options[name] for name in names})
    settings = settings.with_rules(before)
    trained = with_status(lambda say: train(log_source(settings, options, say), wanted, say))
    _show(trained)
    for path in options["reports"]:
        write_report(path, lambda: as_html(trained), lambda: as_json(trained))
    if options["track"] is not None:
        write_track(options["track"], track_csv(trained.holdout))
    try:
        rules = rules_with(before, trained)
    except CxstreamError:
        warn(trained.fitted.warnings)
        raise
    count = trained.fitted.customers
    write_rules(
        options["out"],
        rules,
        f"# Models of purchases of {count:,} customers, written by 'cxstream train purchases'.\n",
    )
    warn(trained.fitted.warnings)
    click.echo(
        f"{options['out']}: {rules.label}; put it in force with 'cxstream rules apply {options['out']}'"
    )


def _check_rfm(options: dict[str, Any]) -> None:
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
            ("--track", options["track"]),
        )
        if value
    ]
    if given and any(map(is_rfm, options["inputs"])):
        raise click.UsageError(f"{given[0]} is for touchpoint files, not for a CSV file of customers")


def _show(trained: Trained) -> None:
    from cxstream.training.report import fit_rows, holdout_rows, spend_rows

    fitted, holdout = trained.fitted, trained.holdout
    click.echo(
        f"{fitted.customers:,} customers, {fitted.repeaters:,} of whom have bought on more than one day"
    )
    show_table("When customers buy", fit_rows(trained))
    if fitted.spend is not None:
        show_table("What they spend", spend_rows(trained))
    if holdout is None:
        return
    from cxstream.model.rfc3339 import date

    show_table(
        f"Purchases after {date(holdout.cut)}, by the model of the purchases before",
        holdout_rows(holdout),
    )
    click.echo(f"holdout: {holdout.ratio:.2f} purchases expected for each that came")
