"""Shows the board: a live screen on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from cxstream.demo.board import Board, Line

_STATUS_SECONDS = 5.0
_COLOURS = {
    "none": "green",
    "elevated": "yellow",
    "high": "dark_orange",
    "critical": "bold red",
    "friction": "magenta",
}


class View(Protocol):
    """How the demo is shown."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *error: object) -> None: ...
    def note(self, text: str) -> None:
        """Say what is being done."""

    def tell(self, line: Line) -> None:
        """Show a signal that has just come."""

    def refresh(self) -> None:
        """Show how things are; called several times a second."""


class Screen:
    """A live screen.

    Args:
        board: what to show.
        console: the terminal.
    """

    def __init__(self, board: Board, console: Console) -> None:
        self._board = board
        self._note = ""
        self._live = Live(console=console, auto_refresh=False, get_renderable=self._render)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def note(self, text: str) -> None:
        """Put the text into the title."""
        self._note = text
        self.refresh()

    def tell(self, line: Line) -> None:
        """Leave it to the next refresh: the board has the newest signals."""

    def refresh(self) -> None:
        """Draw again."""
        self._live.refresh()

    def _render(self) -> Group:
        return Group(
            Panel(_numbers(self._board), title="cxstream demo", subtitle=self._note), _newest(self._board)
        )


class Plain:
    """Plain lines: one a signal, and now and then how things are.

    Args:
        board: what to show.
        console: where to.
    """

    def __init__(self, board: Board, console: Console) -> None:
        self._board = board
        self._console = console
        self._said = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def note(self, text: str) -> None:
        """Print the text."""
        self._print(text)

    def tell(self, line: Line) -> None:
        """Print the signal."""
        action = f" -> {line.action}" if line.action else ""
        self._print(f"{line.time}  {line.subject}  {line.what}: {line.why}{action}")

    def refresh(self) -> None:
        """Print how things are, if that was long ago."""
        if time.monotonic() - self._said >= _STATUS_SECONDS:
            self._said = time.monotonic()
            self._print(f"-- {_numbers(self._board).plain}".replace("\n", "; "))

    def _print(self, text: str) -> None:
        print(text, file=self._console.file, flush=True)


def _numbers(board: Board) -> Text:
    sent, scored = board.rates(time.monotonic())
    text = Text(
        f"{board.sent:,} touchpoints sent ({sent:,.0f}/s), {board.scored:,} scored ({scored:,.0f}/s), "
        f"{sum(board.rejected.values()):,} rejected\n{sum(board.signals.values()):,} signals; customers at risk: "
    )
    for position, (level, count) in enumerate(board.by_level().items()):
        text.append(", " if position else "")
        text.append(f"{count:,} {level}", style=_COLOURS[level])
    return text


def _newest(board: Board) -> Table:
    table = Table(expand=True, show_edge=False, pad_edge=False)
    for heading, ratio in (
        ("time", None),
        ("customer", None),
        ("what", 2),
        ("why", 5),
        ("suggested action", 2),
    ):
        table.add_column(heading, ratio=ratio, no_wrap=True, overflow="ellipsis")
    for line in board.newest:
        style = _COLOURS.get(line.level, "")
        table.add_row(line.time, line.subject, Text(line.what, style=style), line.why, line.action)
    return table
