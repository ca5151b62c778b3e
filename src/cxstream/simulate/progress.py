"""A progress bar on standard error for records that are made."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def progress(expected: float | None, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Show a bar while the block runs; yields what to call with the number of records just made.

    Args:
        expected: about how many there will be; None where there is no end.
        quiet: show nothing.
    """
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

    from cxstream.logs.bars import bar as shown

    columns = (
        TextColumn("{task.completed:,.0f} records"),
        BarColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with shown(*columns, quiet=quiet) as bar:
        task = bar.add_task("", total=expected, rate="")

        def advance(records: int) -> None:
            speed = bar.tasks[0].speed
            bar.update(task, advance=records, rate=f"{speed:,.0f}/s" if speed else "")

        yield advance
