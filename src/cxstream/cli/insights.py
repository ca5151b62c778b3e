"""`cxstream insights`: places that left their own range."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cxstream.cli.interrupts import whole
from cxstream.cli.options import tell_compilation

if TYPE_CHECKING:
    from datetime import date

    from cxstream.insights.places import Insight, Rules

_FORMATS = ("table", "csv", "json", "parquet", "ndjson")


@click.command("insights")
@click.option(
    "--warehouse",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The read model.  [default: warehouse.path of the settings]",
)
@click.option("--measure", type=click.Choice(["failure", "effort", "wait", "nps"]), help="Only this measure.")
@click.option(
    "--dimension",
    type=click.Choice(["touchpoint", "channel", "topic", "team"]),
    help="Only places of this kind.",
)
@click.option("--raised", is_flag=True, help="Leave out when a place came back into its range.")
@click.option(
    "--limit", type=click.IntRange(1, 1_000_000_000), help="Most rows.  [default: 50 in a table, else all]"
)
@click.option("--format", "form", type=click.Choice(_FORMATS), default="table", show_default=True)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write there; else standard output."
)
@click.pass_obj
@whole
def command(config: str | None, /, **options: Any) -> None:
    """Places that left their own range: when, how far, since when, and how many customers it hit.

    A touchpoint, channel, topic or team is watched once a week of it is known. Its share of failed visits, hard visits,
    long waits or detractors is compared with the usual one at this hour of the week; docs/insights.md has the method. The
    read model is a file that `replay --warehouse` or `warehouse follow` makes. The format ndjson has the signals that
    `warehouse follow` sends to cx.insights.

    \b
    Example:
      cxstream insights --warehouse cx.duckdb --raised
      cxstream insights --warehouse cx.duckdb --measure failure --dimension touchpoint --format json
    """  # noqa: D301
    from cxstream.cli.options import require_duckdb
    from cxstream.cli.view import check_out, write

    require_duckdb()
    from cxstream.settings import load
    from cxstream.warehouse.insights import as_table, rules_of
    from cxstream.warehouse.store import reading

    tell_compilation()
    settings = load(config)
    path = options["warehouse"] or settings.warehouse.path
    check_out(options["out"], path)
    with reading(path, settings.warehouse, lambda said: click.echo(said, err=True)) as connection:
        found = [
            each for each in _found(connection, rules_of(settings.insights)) if _is_wanted(each, options)
        ]
        if options["form"] == "ndjson":
            _write_signals(connection, found, rules_of(settings.insights), options)
            return
        connection.register("found", as_table(found))
        sql, values = "SELECT * FROM found ORDER BY ALL LIMIT $limit", {"limit": options["limit"]}
        rows = partial(connection.execute, sql, values)
        if not write(rows, lambda: connection.sql(sql, params=values).to_arrow_table(), options):
            click.echo("no place left its range, or none has been known for a week", err=True)


def _write_signals(connection: Any, found: list[Insight], rules: Rules, options: dict[str, Any]) -> None:
    """One record of cx.insights a line."""
    from cxstream.files.outputs import created
    from cxstream.warehouse.place_events import signals

    some = found if options["limit"] is None else found[: options["limit"]]
    lines = b"".join(each.value + b"\n" for each in signals(connection, some, rules))
    if options["out"] is None:
        click.echo(lines, nl=False)
        return
    with created(options["out"]) as file:
        file.write(lines)


def _found(connection: Any, rules: Rules) -> list[Insight]:
    from cxstream.logs.bars import bar as shown
    from cxstream.warehouse.insights import insights

    [(days,)] = connection.execute("SELECT count(DISTINCT day) FROM touchpoints").fetchall()
    with shown() as bar:
        task = bar.add_task("days", total=days)

        def done(_: date) -> None:
            bar.advance(task)

        return list(insights(connection, rules, done))


def _is_wanted(insight: Insight, options: dict[str, Any]) -> bool:
    from cxstream.insights.detector import Change

    return (
        options["measure"] in (None, insight.measure)
        and options["dimension"] in (None, insight.place.dimension)
        and not (options["raised"] and insight.alarm.change is not Change.raised)
    )
