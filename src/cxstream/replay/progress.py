"""The progress bar: stored bytes read, records a second, time left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, DownloadColumn, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from cxstream.logs.bars import bar

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Task

    from cxstream.files.readers import Chunk


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        records: int = task.fields["records"]
        elapsed = task.finished_time or task.elapsed
        return Text(f"{records / elapsed:,.0f} events/s" if elapsed and records else "")


class Bar:
    """Shows how far a replay is; on anything but a terminal it shows nothing.

    Args:
        console: where to.
        total_bytes: stored bytes of all inputs; None where nobody knows.
    """

    def __init__(self, console: Console, total_bytes: int | None) -> None:
        self._progress = bar(
            TextColumn("{task.fields[name]}", markup=False),
            BarColumn(),
            DownloadColumn(binary_units=True),
            _Rate(),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._progress.add_task("", total=total_bytes, name="", records=0)
        self._records = 0
        self._verb = ""

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin_scoring(self, total_bytes: int) -> None:
        """All records are sorted; those of `total_bytes` are to be scored."""
        self._progress.reset(self._task, total=total_bytes, name="", records=0)
        self._verb, self._records = "", 0

    def show_reading(self, chunk: Chunk) -> None:
        """A chunk is read for sorting."""
        self._verb = "sorting "
        self.show(chunk)

    def show(self, chunk: Chunk) -> None:
        """A chunk is done."""
        self._records += len(chunk.lines)
        self._progress.update(
            self._task,
            completed=chunk.consumed_bytes,
            records=self._records,
            name=f"{self._verb}{chunk.path.name}",
        )
