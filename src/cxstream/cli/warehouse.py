"""`cxstream warehouse`: compare warehouses, export one, rewrite one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cxstream.settings import Settings
    from cxstream.warehouse.verify import Difference

_FILE = click.option(
    "--warehouse",
    "file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The warehouse.  [default: the setting warehouse.path]",
)
_SHOWN = 20


@click.group("warehouse")
def command() -> None:
    """The warehouse: scored touchpoints, score cards and signals in a DuckDB file, for 'cxstream view' and BI.

    It is a function of the log: each record counts exactly once, late events correct the past, and erased customers are
    erased here, too. One process writes the file, or several read it.

    \b
    Example:
      cxstream warehouse verify --warehouse cx.duckdb --against other.duckdb
      cxstream warehouse export --warehouse cx.duckdb --out parquet
    """  # noqa: D301


@command.command("verify")
@_FILE
@click.option(
    "--against",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Compare with this warehouse; `arrived` does not count, which files do not have.",
)
@click.pass_obj
def verify_(config: str | None, file: Path | None, against: Path) -> None:
    """Compare two warehouses, and the aggregates of the first with its touchpoints.

    Digests are compared by table and day; where they differ, rows are shown. The exit status is 1 if anything differs.

    \b
    Example:
      cxstream warehouse verify --warehouse cx.duckdb --against other.duckdb
    """  # noqa: D301
    settings, path = _load(config, file)
    _require(path)
    from cxstream.warehouse.store import reading
    from cxstream.warehouse.verify import check_aggregates, compare

    for each in (path, against):
        with reading(each, settings.warehouse):
            pass
    found = compare(path, against, settings.warehouse, ignore=("arrived",))
    found += check_aggregates(path, settings.warehouse)
    _show(found, path)


@command.command("export")
@_FILE
@click.option(
    "--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for the files."
)
@click.pass_obj
def export_(config: str | None, file: Path | None, out: Path) -> None:
    """Write Parquet files by day: OUT/touchpoints/day=2026-01-31/touchpoints.parquet, and so on.

    Exporting again replaces the files, and deletes those of days that are no longer there.

    \b
    Example:
      cxstream warehouse export --warehouse cx.duckdb --out parquet
    """  # noqa: D301
    settings, path = _load(config, file)
    from cxstream.warehouse.export import export
    from cxstream.warehouse.store import reading

    with reading(path, settings.warehouse, lambda text: click.echo(text, err=True)) as connection:
        count = export(connection, out)
    click.echo(f"{out}: {count} files")


@command.command("compact")
@_FILE
@click.pass_obj
def compact_(config: str | None, file: Path | None) -> None:
    """Rewrite the file, so that nothing of what was deleted is left in it.

    \b
    Example:
      cxstream warehouse compact --warehouse cx.duckdb
    """  # noqa: D301
    settings, path = _load(config, file)
    _require(path)
    from cxstream.warehouse.store import Store

    before = path.stat().st_size
    with Store(path, settings.warehouse) as store:
        store.compact()
    click.echo(f"{path}: {before:,} bytes before, {path.stat().st_size:,} now")


def _load(config: str | None, file: Path | None) -> tuple[Settings, Path]:
    from cxstream.cli.options import require_duckdb
    from cxstream.settings import load

    require_duckdb()
    settings = load(config)
    return settings, file or settings.warehouse.path


def _require(path: Path) -> None:
    from cxstream.model.errors import WarehouseError

    if not path.exists():
        raise WarehouseError(
            f"{path}: no such warehouse: name one with --warehouse, or build it with 'cxstream replay IN... --warehouse'"
        )


def _show(found: Sequence[Difference], path: Path) -> None:
    """Print the differences.

    Raises:
        click.ClickException: there are some.
    """
    for each in found[:_SHOWN]:
        day = "" if each.day is None else f" {each.day}"
        click.echo(f"{each.table}{day}: {each.here:,} rows here, {each.there:,} expected")
        for sign, rows in (("+", each.only_here), ("-", each.only_there)):
            for row in rows:
                click.echo(f"  {sign} {_plain(row)}")
    if found:
        places = "1 table and day differs" if len(found) == 1 else f"{len(found)} tables and days differ"
        raise click.ClickException(f"{path}: {places}")
    click.echo(f"{path}: equal")


def _plain(row: dict[str, Any]) -> str:
    """A row without what is null."""
    return ", ".join(f"{name}={value}" for name, value in row.items() if value is not None)
