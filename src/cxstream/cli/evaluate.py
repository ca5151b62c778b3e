"""`cxstream evaluate`: whether acting on customers helped, and what it brought."""

from __future__ import annotations

import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from cxstream.cli.interrupts import whole
from cxstream.cli.options import (
    Number,
    Time,
    inputs_argument,
    reports_option,
    require_duckdb,
    require_models,
    rules_option,
    tell_compilation,
)
from cxstream.cli.training import rules_before, show_table, warn, with_status, write_report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import duckdb

    from cxstream.model.rules import Rules
    from cxstream.settings import Settings
    from cxstream.trials.evaluate import Result, Wanted
    from cxstream.trials.gather import Daily
    from cxstream.trials.statistics import Trend

_WAREHOUSES = {".duckdb", ".db"}
_MAGIC, _MAGIC_AT = b"DUCK", 8


@click.command("evaluate")
@inputs_argument
@reports_option("what was found", "plots")
@rules_option("Rules (TOML or JSON) with the experiments.  [default: those of the settings]")
@click.option(
    "--days",
    type=click.IntRange(1, 730),
    default=30,
    show_default=True,
    help="Days each customer is followed.",
)
@click.option("--since", type=Time(), help="Only customers who entered at this time or later.")
@click.option("--until", type=Time(), help="Only customers who entered before this time.")
@click.option(
    "--share",
    type=Number(0, 1, min_open=True, max_open=True),
    help="Share that the CRM holds out, to test the ratio of actions; with --plan, to plan with.",
)
@click.option("--cost", type=Number(0), help="Cost of acting on one customer, in the base currency.")
@click.option(
    "--value",
    type=Number(0, min_open=True),
    help="Value of a customer who stays, in the base currency.  [default: the gain is what they spend]",
)
@click.option(
    "--margin",
    type=Number(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="What is left of spend, as a share of it.",
)
@click.option(
    "--power",
    type=Number(0.05, 1, min_open=True, max_open=True),
    default=0.8,
    show_default=True,
    help="Chance with which an effect should be found.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the bootstrap.")
@click.option(
    "--plan", "planned", is_flag=True, help="Say what an experiment could find, before there is one."
)
@click.option("--change", metavar="NAME", help="Also evaluate a change of the experience (cx.change).")
@click.option("--control", metavar="CHANNEL", help="With --change: a channel that did not change.")
@click.option(
    "--measure",
    type=click.Choice(["effort", "mood", "effort_after", "satisfaction_after", "wait_s", "spend", "churn"]),
    default="effort",
    show_default=True,
    help="With --change: what is compared, by day; spend is by customer who was there, churn the share of them who left within 7 "
    "days.",
)
@click.option("--force", is_flag=True, help="Replace files that are there.")
@click.pass_obj
@whole
def command(config: str | None, /, **options: Any) -> None:
    """Compare the treated with the holdout: effort, satisfaction, NPS, churn, spend, and what it brought.

    IN is a warehouse (a file of 'replay --warehouse' or 'warehouse follow'), or touchpoint files as 'cxstream replay' takes
    them. Experiments are those of the rules, by the `arm` of churn-risk signals; actions are those whose `action_taken` have
    an arm. docs/experiments.md says how to read the result.

    \b
    Example:
      cxstream evaluate cx.duckdb --rules rules.toml --cost 4 --value 120 --report effect.html
      cxstream evaluate touchpoints.ndjson --rules rules.toml --plan --share 0.2
      cxstream evaluate cx.duckdb --change "new checkout" --control store
    """  # noqa: D301
    require_duckdb()
    require_models()
    from cxstream.cli.training import check_outputs
    from cxstream.settings import load
    from cxstream.trials.evaluate import Wanted

    tell_compilation()
    settings = load(config)
    if (options["change"] is None) != (options["control"] is None):
        raise click.UsageError(
            "--change and --control go together: name the change, and a channel that did not change"
        )
    # There is no other output than the reports.
    check_outputs({**options, "out": options["reports"][0], "reports": options["reports"][1:]}) if options[
        "reports"
    ] else None
    rules = rules_before(settings, options["rules_file"])
    names = ("days", "cost", "value", "margin", "power", "seed")
    wanted = Wanted(**{name: options[name] for name in names})
    with _warehouse(settings.with_rules(rules), options["inputs"]) as connection:
        if options["planned"]:
            _plan(connection, wanted, options)
            return
        results = with_status(lambda say: _results(connection, rules, wanted, options, say))
        change = None if options["change"] is None else _change(connection, wanted, options)
    _show(results, wanted, options["reports"], change)


@contextmanager
def _warehouse(settings: Settings, inputs: tuple[Path, ...]) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to the warehouse that is given, or to one of the files that are given."""
    from cxstream.warehouse.store import reading

    if len(inputs) == 1 and _is_warehouse(inputs[0]):
        with reading(inputs[0], settings.warehouse, lambda said: click.echo(said, err=True)) as connection:
            yield connection
        return
    with TemporaryDirectory(prefix="cxstream-") as folder:
        path = Path(folder) / "warehouse"
        with_status(lambda say: _built(settings, inputs, Path(folder), path, say))
        with reading(path, settings.warehouse) as connection:
            yield connection


def _is_warehouse(path: Path) -> bool:
    if not path.is_file():
        return path.suffix in _WAREHOUSES
    with path.open("rb") as file:
        return file.read(_MAGIC_AT + len(_MAGIC))[_MAGIC_AT:] == _MAGIC


def _built(
    settings: Settings, inputs: Sequence[Path], folder: Path, path: Path, say: Callable[[str], None]
) -> None:
    from cxstream.replay.results import Results
    from cxstream.replay.run import replay
    from cxstream.scoring.router import Router
    from cxstream.warehouse.files import FileWarehouse

    say("scoring")
    with Results(folder / "results") as results, FileWarehouse(path, settings.warehouse) as warehouse:
        replay(
            Router(
                settings.scoring,
                settings.actions,
                partitions=1,
                topic=settings.topology.touchpoints.name,
                authority=settings.control.authority(),
                scored=True,
            ),
            inputs,
            results,
            limit=round(time.time() * 1000),
            batch_bytes=settings.replay.batch_bytes,
            sinks=[warehouse],
        )


def _moments(options: dict[str, Any]) -> tuple[Any, Any]:
    """--since and --until as the warehouse has times."""
    from datetime import UTC, datetime

    since, until = (
        None
        if options[name] is None
        else datetime.fromtimestamp(options[name] / 1000, UTC).replace(tzinfo=None)
        for name in ("since", "until")
    )
    return since, until


def _results(
    connection: duckdb.DuckDBPyConnection,
    rules: Rules,
    wanted: Wanted,
    options: dict[str, Any],
    say: Callable[[str], None],
) -> list[Result]:
    from cxstream.trials.evaluate import evaluate
    from cxstream.trials.gather import subjects

    say("reading")
    experiments, results = rules.params.experiments or {}, []
    for each in subjects(connection, wanted.days, *_moments(options)):
        say(f"evaluating {each.name}")
        share = options["share"]
        if each.what == "experiment":
            share = experiments[each.name].holdout if each.name in experiments else None
        results.append(evaluate(each, wanted, share))
    return results


def _plan(connection: duckdb.DuckDBPyConnection, wanted: Wanted, options: dict[str, Any]) -> None:
    from cxstream.trials.evaluate import plan
    from cxstream.trials.gather import at_risk
    from cxstream.trials.report import plan_rows

    share = 0.2 if options["share"] is None else options["share"]
    found = at_risk(connection, wanted.days, *_moments(options))
    count = 0 if found is None else len(found.treated)
    plans = [] if found is None else plan(found, share, wanted)
    if not plans:
        raise click.ClickException(
            f"not enough data to plan with: {count:,} customers were signalled and then followed for {wanted.days} days"
        )
    show_table(f"What {count:,} customers at risk show, {share:.4g} of them held out", plan_rows(plans))
    click.echo(f"detectable: the least difference that is found with a chance of {wanted.power:.0%}, at 5%")


def _change(
    connection: duckdb.DuckDBPyConnection, wanted: Wanted, options: dict[str, Any]
) -> tuple[Trend, Daily]:
    from cxstream.trials.gather import daily

    name = options["change"]
    found = connection.execute(
        "SELECT time, channel FROM changes WHERE name = ? ORDER BY time DESC LIMIT 1", [name]
    ).fetchone()
    if found is None:
        known = [
            row[0]
            for row in connection.execute("SELECT DISTINCT name FROM changes ORDER BY 1 LIMIT 10").fetchall()
        ]
        raise click.ClickException(
            f"there is no change {name!r}; there are {', '.join(known)}"
            if known
            else f"there is no change {name!r}, nor any other"
        )
    if found[1] is None or found[1] == options["control"]:
        raise click.ClickException(
            f"the change {name!r} is not limited to a channel other than {options['control']}, so nothing is left to compare it "
            "with: name another control, or record changes with --channel"
        )
    days = daily(connection, options["measure"], found[0], (found[1], options["control"]), wanted.days)
    if (trend := days.compared()) is None:
        raise click.ClickException(
            f"not enough data around the change {name!r}: three days before and after it need touchpoints in {found[1]} and "
            f"in {options['control']}"
        )
    return trend, days


def _show(
    results: list[Result], wanted: Wanted, reports: Sequence[Path], change: tuple[Trend, Daily] | None
) -> None:
    from cxstream.trials import report

    if not results:
        click.echo(
            "no experiment and no action with an arm: add [scoring.experiments.NAME] to the rules (docs/experiments.md), and "
            "write action_taken with an arm"
        )
    for each in results:
        click.echo(f"\n{report.title(each)}: {report.size(each)}")
        if each.metrics:
            show_table(f"{report.title(each)}, {wanted.days} days", report.metric_rows(each))
        for line in (*each.left_out, *report.money_lines(each.money)):
            click.echo(line)
        warn(each.warnings)
    trend, daily = change or (None, None)
    lines = [] if trend is None else report.trend_lines(trend)
    for line in lines:
        click.echo(line)
    for path in reports:
        write_report(
            path,
            lambda: report.as_html(results, wanted, lines, daily),
            lambda: report.as_json(results, wanted, trend, daily),
        )
