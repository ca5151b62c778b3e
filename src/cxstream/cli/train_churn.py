"""`cxstream train churn`: a churn risk that is a probability."""

from __future__ import annotations

import re
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
from cxstream.cli.training import (
    check_inputs,
    check_outputs,
    log_source,
    rules_before,
    show_table,
    source,
    warn,
    with_status,
    write_report,
    write_rules,
)

if TYPE_CHECKING:
    from cxstream.training.card import Check
    from cxstream.training.churn import TrainedChurn

_DAYS = re.compile(r"(\d{1,4})d?")
_MOST_DAYS = 366
_ASKED = ("horizon", "every", "warmup", "until", "definition", "cost", "success", "value")


class Days(click.ParamType):
    """A number of days: 30d or 30."""

    name = "DAYS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number of days."""
        found = _DAYS.fullmatch(str(value))
        if not found or not 1 <= int(found[1]) <= _MOST_DAYS:
            self.fail(f"{value!r} is not a number of days from 1 to {_MOST_DAYS}, like 30d", param, ctx)
        return int(found[1])


@click.command("churn")
@log_argument
@rules_out_option
@click.option(
    "--horizon", type=Days(), default=30, show_default="30d", help="Days within which customers leave."
)
@reports_option("the model card", "plots")
@rules_option("Rules (TOML or JSON) whose churn risk is replaced.  [default: those of the settings]")
@click.option(
    "--leaving",
    "definition",
    type=click.Choice(["events", "silence"]),
    help="What leaving is: a churned event, or no touch within the horizon of a customer with a touch in as many days before.  "
    "[default: events, if there are any]",
)
@click.option(
    "--test",
    "tests",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Touchpoint files that the model is not fitted to, to check it with; may be given several times.",
)
@click.option(
    "--truth",
    "truth_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Ground truth of the customers of --test, as 'cxstream simulate --truth' writes it: checks also with who really left.",
)
@click.option(
    "--until",
    type=Time(),
    help="End of the time of observation; later events are left out.  [default: the last event]",
)
@click.option("--sort", "in_order", is_flag=True, help="Merge all inputs by event time first.")
@click.option(
    "--every",
    type=Days(),
    default=7,
    show_default="7d",
    help="Days from one snapshot of all customers to the next.",
)
@click.option(
    "--warmup",
    type=Days(),
    default=28,
    show_default="28d",
    help="Days before the first one, which fill the scores.",
)
@click.option(
    "--contact-cost", "cost", type=Number(min=0), default=5.0, show_default=True,
    help="Cost of contacting a customer.",
)  # fmt: skip
@click.option(
    "--success-rate", "success", type=Number(0, 1), default=0.2, show_default=True,
    help="Share of those who would leave whom a contact keeps.",
)  # fmt: skip
@click.option(
    "--value",
    type=Number(min=0),
    default=200.0,
    show_default=True,
    help="What a customer who stays is worth.",
)
@click.option("--force", is_flag=True, help="Replace files that are there.")
@log_kafka_option
@click.pass_obj
@whole
def churn(config: str | None, /, **options: Any) -> None:
    """Fit the churn risk, so that it is the probability to leave within a horizon.

    IN is touchpoint files as 'cxstream replay' takes them, in the order of time (or with --sort). Without IN, cx.touchpoints is
    read from Kafka up to now; nobody's offsets change. The engine that scores live reads them; every few days its features of
    all customers are set against who leaves afterwards. A regularised logistic regression gives intercept, coefficients and
    thresholds; the levels hold as many customers as before.

    It is checked with customers and a time that it has not seen, and compared with the rules before, with recency and
    frequency, and with gradient boosting. Customers who were treated are left out where others were held out to stand for them.
    docs/training.md says how to read the result.

    \b
    Example:
      cxstream train churn touchpoints.ndjson --out rules.toml --report churn.html
      cxstream train churn touchpoints.ndjson --horizon 7d --out week.toml
      cxstream train churn 2024.parquet 2025.parquet --test 2026.parquet --out rules.toml
      cxstream train churn --kafka kafka-1:9092 --out rules.toml
    """  # noqa: D301
    require_models()
    from cxstream.model.errors import CxstreamError
    from cxstream.settings import load
    from cxstream.training.card import Asked
    from cxstream.training.churn import churn_rules, train_churn
    from cxstream.training.churn_report import as_html, as_json
    from cxstream.training.truth import read_truth

    if options["truth_file"] and not options["tests"]:
        raise click.UsageError("--truth tells who left of the customers of --test: name their files, too")
    truth = read_truth(options["truth_file"]) if options["truth_file"] else None
    check_inputs(options)
    tell_compilation()
    settings = load(config, kafka=options["kafka"])
    check_outputs(options | {"inputs": (*options["inputs"], *options["tests"])})
    before = rules_before(settings, options["rules_file"])
    settings = settings.with_rules(before)
    asked = Asked(**{name: options[name] for name in _ASKED})
    fresh = source(settings, options["tests"], in_order=options["in_order"]) if options["tests"] else None
    trained: TrainedChurn = with_status(
        lambda say: train_churn(log_source(settings, options, say), asked, fresh, say, truth)
    )
    _show(trained)
    for path in options["reports"]:
        write_report(path, lambda: as_html(trained), lambda: as_json(trained))
    try:
        rules = churn_rules(before, trained)
    except CxstreamError:
        warn(trained.warnings[1:])
        raise
    said = (
        f"# Churn risk within {asked.horizon} days, fitted to {trained.labelled.departures:,} departures among "
        f"{trained.labelled.customers:,} customers by 'cxstream train churn'.\n"
    )
    write_rules(options["out"], rules, said)
    warn(trained.warnings)
    click.echo(
        f"{options['out']}: {rules.label}; put it in force with 'cxstream rules apply {options['out']}'"
    )


def _show(trained: TrainedChurn) -> None:
    from cxstream.training.churn_report import (
        TRIED,
        about,
        level_rows,
        model_rows,
        of_calibration,
        tried_rows,
    )

    for line in about(trained):
        click.echo(line)
    if trained.model is None or trained.levels is None:
        return
    show_table(f"Churn risk within {trained.asked.horizon} days", model_rows(trained))
    click.echo(of_calibration(trained.model))
    show_table("Levels: customers at a cutoff, and the share of them who left", level_rows(trained.levels))
    if trained.check is not None:
        _show_check("Check with customers whom the model has not seen", trained.check, trained)
        show_table(TRIED, tried_rows(trained))
    if trained.fresh is not None:
        _show_check("Check with other inputs", trained.fresh, trained)
    if trained.true is not None:
        _show_check("Check with the ground truth of these", trained.true, trained)


def _show_check(title: str, check: Check, trained: TrainedChurn) -> None:
    from cxstream.training.acting_report import CHOICES, acting, choice_rows
    from cxstream.training.churn_report import linear_costs, score_rows

    show_table(title, score_rows(check))
    score, lost = check.scores[0], linear_costs(check)
    click.echo(
        f"{check.snapshots:,} snapshots, {check.departures:,} customers left; AUC {score.auc:.4f} ({check.auc[0]:.3f} to "
        f"{check.auc[1]:.3f}), expected calibration error {score.calibration_error:.4f} ({check.calibration_error[0]:.4f} to "
        f"{check.calibration_error[1]:.4f}), drift (PSI) {check.drift:.3f}"
        + ("" if lost is None else f"; linear costs {lost:.4f} AUC")
    )
    for line in acting(check, trained.asked):
        click.echo(line)
    show_table(CHOICES, choice_rows(check))
