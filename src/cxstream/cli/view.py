"""`cxstream view`: questions to the read model, and the customers behind the answers."""

from __future__ import annotations

import re
from contextlib import nullcontext
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from cxstream.cli.interrupts import whole
from cxstream.cli.options import Time, require_duckdb, tell_compilation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    import duckdb
    import pyarrow as pa

    from cxstream.warehouse.views.definition import View
    from cxstream.warehouse.views.selection import Selection

_DATE = re.compile(r"\d{4}-\d\d-\d\d")
# Times that can be compared with those a week, a month or a window before, ms UTC.
_EARLIEST, _LATEST = 31_536_000_000, 221_845_392_000_000
_MOST = 1_000_000_000
_FORMATS = ("table", "csv", "json", "parquet")
_SHOWN = 50
_NAMED = 20
# A line of a pipe or of a file has any length.
_WIDEST = 100_000


class _Day(Time):
    """A day (its start in UTC), a time, or how long ago; UTC without a zone."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The time as the read model has it."""
        if isinstance(value, datetime):
            return value
        day = _DATE.match(str(value))
        if day and not _is_day(day[0]):
            self.fail(f"{value!r}: there is no day {day[0]}", param, ctx)
        text = f"{value}T00:00:00Z" if _DATE.fullmatch(str(value)) else value
        moment = super().convert(text, param, ctx)
        if not _EARLIEST <= moment < _LATEST:
            self.fail(f"{value!r} is not between the years 1971 and 8999", param, ctx)
        return datetime.fromtimestamp(moment / 1000, UTC).replace(tzinfo=None)


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


@click.command("view")
@click.argument("name", required=False)
@click.option("--list", "list_", is_flag=True, help="List the views; with NAME, say what its columns mean.")
@click.option(
    "--warehouse",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The read model.  [default: warehouse.path of the settings]",
)
@click.option(
    "--since", type=_Day(), help="Start: 2026-03-01 (UTC), a time in RFC 3339, or 7d for 7 days before now."
)
@click.option("--until", type=_Day(), help="End, exclusive, in the same forms.")
@click.option("--by", help="Dimensions that get a row for each value, with commas between them.")
@click.option("--grain", type=click.Choice(["hour", "day", "week", "month"]), help="A row for each period.")
@click.option(
    "--where",
    multiple=True,
    metavar="DIMENSION=VALUE,...",
    help="Filter, also with !=; all must hold. An empty value: touchpoints without one.",
)
@click.option("--columns", help="Only these measures, with commas between them.")
@click.option("--set", "options", multiple=True, metavar="NAME=VALUE", help="An option of the view.")
@click.option(
    "--few",
    type=click.IntRange(0),
    help="Fewer answers than this give no figure.  [default: warehouse.few_answers of the settings]",
)
@click.option("--customers", is_flag=True, help="List the customers behind the number instead.")
@click.option("--of", "measure", metavar="MEASURE", help="With --customers: behind this measure.")
@click.option(
    "--cell",
    "cells",
    multiple=True,
    metavar="COLUMN=VALUE",
    help="Only the row of the result with this value.",
)
@click.option(
    "--limit", type=click.IntRange(1, _MOST), help=f"Most rows.  [default: {_SHOWN} in a table, else all]"
)
@click.option("--format", "form", type=click.Choice(_FORMATS), default="table", show_default=True)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write there; else standard output."
)
@click.pass_obj
@whole
def command(config: str | None, /, name: str | None, *, list_: bool, **options: Any) -> None:
    """Where experience is made and lost: a view of the read model.

    NAME is a view; --list says which there are, and docs/views.md what they mean. The read model is a file that
    `replay --warehouse` makes.

    \b
    Example:
      cxstream view touchpoints --warehouse cx.duckdb --by touchpoint --since 2026-03-01 --where channel=web,app
      cxstream view voice --warehouse cx.duckdb --grain week --format csv
      cxstream view voice --warehouse cx.duckdb --by product --customers --of detractors --cell product=p-5
    """  # noqa: D301
    from cxstream.warehouse.views import definition

    if list_ or name is None:
        if name is None and not list_:
            raise click.UsageError("name a view; --list says which there are")
        click.echo(_listing(name))
        return
    _show(definition.view(name), config, options)


def _listing(name: str | None) -> str:
    from cxstream.warehouse.views import definition

    if name is not None:
        return definition.view(name).header
    views = [definition.view(each) for each in definition.names()]
    width = max(len(view.name) for view in views)
    return "\n".join(f"{view.name:<{width}}  {view.summary}" for view in views)


def _show(view: View, config: str | None, options: dict[str, Any]) -> None:
    require_duckdb()
    from cxstream.logs.printable import printable
    from cxstream.settings import load
    from cxstream.warehouse.store import reading
    from cxstream.warehouse.views import query, steps

    tell_compilation()
    everything = load(config)
    settings = everything.warehouse
    selection = _selection(options, settings.few_answers, everything.insights.teams)
    if options["measure"] and not options["customers"]:
        raise click.UsageError("--of goes with --customers")
    if options["columns"] and options["customers"]:
        raise click.UsageError(
            "--columns chooses measures of the view; --customers lists customers: give one of them"
        )
    shown = options["form"] == "table" and options["out"] is None
    limit = options["limit"] or (_SHOWN + 1 if shown else None)
    path = options["warehouse"] or settings.path
    check_out(options["out"], path)

    def asked(chosen: Selection) -> query.Query:
        if options["customers"]:
            return query.customers(view, chosen, options["measure"] or query.CUSTOMERS, limit)
        return query.result(view, chosen, limit)

    # What the view does not have is said before the file is opened.
    asked(selection)
    with reading(path, settings, lambda said: click.echo(said, err=True)) as connection:
        selection, notes = steps.chosen(connection, view, selection)
        found = asked(selection)
        rows, table = partial(query.run, connection, found), partial(query.table, connection, found)
        if not write(rows, table, options):
            notes.append("no rows: nothing in the read model matches")
        for note in [*notes, *_unknown(connection, selection)]:
            click.echo(printable(note), err=True)


def _selection(options: dict[str, Any], few: int, teams: dict[str, list[str]]) -> Selection:
    from cxstream.warehouse.views.selection import Selection, parse_assignment, parse_filter

    cells = dict(parse_assignment(text, "--cell") for text in options["cells"])
    return Selection(
        since=options["since"],
        until=options["until"],
        by=tuple(_names(options["by"])),
        grain=options["grain"],
        where=tuple(parse_filter(text) for text in options["where"]),
        cell={name: value or None for name, value in cells.items()},
        columns=tuple(_names(options["columns"])),
        options=dict(parse_assignment(text, "--set") for text in options["options"]),
        few=few if options["few"] is None else options["few"],
        teams=teams,
    )


def check_out(out: Path | None, warehouse: Path) -> None:
    """Check that the rows are not written over the read model.

    Raises:
        OutputError: they would be.
    """
    from cxstream.files.outputs import same
    from cxstream.model.errors import OutputError
    from cxstream.warehouse.store import copy_of

    if out is not None and any(same(each, out) for each in (warehouse, copy_of(warehouse))):
        raise OutputError(f"{out}: is the read model; name another file")


def _names(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def write(
    rows: Callable[[], duckdb.DuckDBPyConnection], columns: Callable[[], pa.Table], options: dict[str, Any]
) -> bool:
    """Write the rows; whether there are any, as far as a table knows.

    Args:
        rows: the rows, as a cursor.
        columns: the same, as columns.
        options: `form`, `out` and `limit` of the command.
    """
    from cxstream.files.outputs import created
    from cxstream.warehouse.views import output

    form, out = options["form"], options["out"]
    if form == "table" and out is None:
        return _table(rows(), options["limit"], options.get("grain"))
    target: AbstractContextManager[IO[bytes]] = (
        created(out) if out is not None else nullcontext(click.get_binary_stream("stdout"))
    )
    with target as sink:
        if form == "parquet" and out is None and sink.isatty():
            raise click.UsageError("Parquet is no text for a terminal; name a file with --out")
        if form == "parquet":
            output.write_parquet(columns(), sink)
        elif form == "json":
            output.write_json(rows(), sink)
        else:
            output.write_csv(rows(), sink)
    return True


def _table(cursor: duckdb.DuckDBPyConnection, limit: int | None, grain: str | None) -> bool:
    """Show the rows, as a list of their values where a line of the terminal has no room for them."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from cxstream.logs.printable import printable
    from cxstream.warehouse.views import output
    from cxstream.warehouse.views.selection import PERIOD

    rows = cursor.fetchall()
    cut = limit is None and len(rows) > _SHOWN
    rows = rows[:_SHOWN] if cut else rows
    names = output.names(cursor)
    table = Table(box=None, pad_edge=False, header_style="bold")
    cells = []
    for place, name in enumerate(names):
        values = [row[place] for row in rows]
        right = any(map(output.is_number, values))
        table.add_column(name, justify="right" if right else "left", no_wrap=True)
        days = name != PERIOD or grain != "hour"
        cells.append([Text(printable(text)) for text in output.column(values, days=days)])
    shown = list(zip(*cells, strict=True)) if rows else []
    for row in shown:
        table.add_row(*row)
    console = Console()
    wide = Console(width=_WIDEST)
    if console.is_terminal and wide.measure(table).maximum > console.width:
        for row in shown:
            for name, text in zip(names, row, strict=True):
                console.print(Text(f"{name:<24} {text}".rstrip()))
            console.print()
    elif rows:
        wide.print(table)
    if cut:
        click.echo(f"... more than {_SHOWN} rows; --limit N shows more, --format csv all", err=True)
    return bool(rows)


def _unknown(connection: duckdb.DuckDBPyConnection, selection: Selection) -> Iterator[str]:
    """Say which values there are, where a filter names one that nothing has."""
    from cxstream.warehouse.views.selection import TEAM
    from cxstream.warehouse.views.values import known_values, unknown_values

    for one in selection.where:
        if one.dimension == TEAM:
            strange = [team for team in one.values if team is not None and team not in selection.teams]
            if strange:
                yield f"team={','.join(strange)}: the setting insights.teams has {', '.join(selection.teams)}"
            continue
        strange = unknown_values(connection, one.dimension, one.values)
        if strange:
            known = known_values(connection, one.dimension, _NAMED + 1)
            names = ", ".join(known[:_NAMED]) or "no values"
            more = " and others" if len(known) > _NAMED else ""
            yield f"{one.dimension}={','.join(strange)}: touchpoints have {names}{more}"
