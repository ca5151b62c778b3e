"""The messages of `cxstream convert` about its rows: the first problems as they occur, and a summary at the end."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.table import Table

    from cxstream.convert.report import Problem, Report

SHOWN = 20
"""Problems, and lines of each part of the summary, that are shown; the others are counted."""

_ID_SHOWN = 60


class Problems:
    """Writes problems: all of them to a file, or the first ones to standard error.

    Args:
        log: takes all of them as NDJSON; None for standard error.
    """

    def __init__(self, log: IO[bytes] | None) -> None:
        self._log = log
        self._told = 0

    def tell(self, problem: Problem) -> None:
        """Write a problem to the file, or show it if few were shown before."""
        self._told += 1
        if self._log is not None:
            self._log.write(problem.encode() + b"\n")
        elif self._told <= SHOWN:
            click.echo(str(problem), err=True)

    def end(self) -> None:
        """Say how many were not shown."""
        more = self._told - SHOWN
        if self._log is None and more > 0:
            click.echo(f"... and {more:,} more; --errors FILE writes all of them to a file", err=True)


def summary(report: Report) -> None:
    """Show the results of the conversion on standard error, if any row was read."""
    if not report.rows:
        return
    import time

    from rich.console import Console

    from cxstream.model.rfc3339 import rfc3339

    table = _table()
    for title, counts in (
        ("rows read", report.rows),
        ("events written", report.events),
        ("left out on purpose", report.skipped),
        ("not converted", report.problems),
        ("good to know", report.notes),
        ("doubtful ids", _doubts(report)),
    ):
        _part(table, title, counts)
    if report.span is not None:
        for name, ms in zip(("first", "last"), report.span, strict=True):
            table.add_row("event times" if name == "first" else "", f"{name:5} {rfc3339(ms)}", "")
    Console(stderr=True).print(table)
    for hint in report.hints():
        # Click removes the colour if standard error is not a terminal.
        click.secho(f"hint: {hint}", fg="yellow", err=True)
    if report.span is not None and report.span[1] > time.time() * 1000:
        click.secho(
            "hint: the last event lies in the future; replay rejects such events", fg="yellow", err=True
        )


def _doubts(report: Report) -> dict[str, int]:
    return {
        f"{attribute} {_short(found.text)!r} {found.why} (first: {found.file}:{found.line})": found.count
        for (attribute, _), found in report.doubts.items()
    }


def _short(text: str) -> str:
    return text if len(text) <= _ID_SHOWN else f"{text[:_ID_SHOWN]}..."


def _part(table: Table, title: str, counts: Mapping[str, int]) -> None:
    """The largest counts of a part of the summary, and the others as one."""
    from rich.text import Text

    from cxstream.logs.printable import printable

    ordered = sorted(counts.items(), key=lambda item: -item[1])
    shown, others = (ordered, []) if len(ordered) <= SHOWN else (ordered[: SHOWN - 1], ordered[SHOWN - 1 :])
    if others:
        shown = [*shown, (f"{len(others):,} others", sum(count for _, count in others))]
    for number, (name, count) in enumerate(shown):
        table.add_row("" if number else title, Text(printable(name)), f"{count:,}")
    if counts:
        table.add_section()


def _table() -> Table:
    from rich.table import Table

    table = Table(show_header=False)
    for column in ("", "what"):
        table.add_column(column, overflow="fold")
    table.add_column("how many", justify="right", no_wrap=True)
    return table
