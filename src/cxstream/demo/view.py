"""Shows the board: a live screen on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rich.console import RenderableType

    from cxstream.demo.board import Board, Line

_STATUS_SECONDS = 5.0
# Where nothing changes, plain lines say so no more often than that.
_SAME_SECONDS = 30.0
# A screen says after so long how long it has been waiting.
_WAIT_SECONDS = 2.0
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
        clock: seconds, of any clock that only goes forward.
    """

    def __init__(self, board: Board, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._board = board
        self._note = ""
        self._clock = clock
        self._noted = clock()
        self._console = console
        # The whole terminal, which has what it had when the demo ends.
        self._live = Live(console=console, screen=True, auto_refresh=False, get_renderable=self.render)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def note(self, text: str) -> None:
        """Put the text into the frame."""
        if text != self._note:
            self._note, self._noted = text, self._clock()
        self.refresh()

    def tell(self, line: Line) -> None:
        """Leave it to the next refresh: the board has the newest signals."""

    def refresh(self) -> None:
        """Draw again."""
        self._live.refresh()

    def render(self) -> Group:
        """What the terminal shows now."""
        head = Panel(
            Group(_numbers(self._board, self._clock()), *_places(self._board)),
            title="cxstream demo",
            subtitle=self._doing(),
        )
        rows = self._console.height - self._lines(head)
        return Group(head, self._newest(rows))

    def _doing(self) -> str:
        """What is being done; of what takes its time, for how long already, so that nobody takes it for stuck."""
        seconds = self._clock() - self._noted
        waits = self._note.endswith("...") and seconds >= _WAIT_SECONDS
        return f"{self._note} {seconds:.0f} s" if waits else self._note

    def _newest(self, rows: int) -> Table:
        """As many of the newest signals as have room, each of them whole."""
        newest = list(self._board.newest)[: max(1, rows)]
        while len(newest) > 1 and self._lines(table(newest)) > rows:
            del newest[-max(1, len(newest) // 8) :]
        return table(newest)

    def _lines(self, part: RenderableType) -> int:
        return len(self._console.render_lines(part, pad=False))


class Plain:
    """Plain lines: one a signal, and now and then how things are, where that has changed.

    Args:
        board: what to show.
        console: where to.
        clock: seconds, of any clock that only goes forward.
    """

    def __init__(self, board: Board, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._board = board
        self._console = console
        self._clock = clock
        self._note = ""
        self._noted = self._said = clock()
        self._shown = _counts(board)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def note(self, text: str) -> None:
        """Print the text, unless it is the one before."""
        if text == self._note:
            return
        self._note = text
        self._noted = self._said = self._clock()
        self._print(text)

    def tell(self, line: Line) -> None:
        """Print the signal."""
        action = f" -> {line.action}" if line.action else ""
        self._print(f"{line.time}  {line.subject}  {line.what}: {line.why}{action}")

    def refresh(self) -> None:
        """Print how things are, if that was long ago and has changed; much more seldom, that it has not."""
        now, counts = self._clock(), _counts(self._board)
        changed = counts != self._shown
        if now - self._said < (_STATUS_SECONDS if changed else _SAME_SECONDS):
            return
        self._said, self._shown = now, counts
        numbers = f"{_numbers(self._board, now).plain}".replace("\n", "; ")
        self._print(f"-- {numbers}" if changed else f"-- {now - self._noted:.0f} s: {self._note}")

    def _print(self, text: str) -> None:
        print(text, file=self._console.file, flush=True)


def _counts(board: Board) -> tuple[int, ...]:
    """What a line of numbers says, apart from rates."""
    return (
        board.sent,
        board.done,
        board.duplicates,
        *(sum(each.values()) for each in (board.rejected, board.signals)),
    )


def _numbers(board: Board, now: float) -> Text:
    sent, done = board.rates(now)
    text = Text(
        f"{board.sent:,} touchpoints sent ({sent:,.0f}/s), {board.scored:,} scored ({done:,.0f}/s), "
        f"{sum(board.rejected.values()):,} rejected, {board.duplicates:,} duplicates\n"
        f"{sum(board.signals.values()):,} signals; customers at risk: "
    )
    for position, (level, count) in enumerate(board.by_level().items()):
        text.append(", " if position else "")
        text.append(f"{count:,} {level}", style=_COLOURS[level])
    return text


def _places(board: Board) -> list[Text]:
    """Where to look further, from another terminal."""
    if board.kafka is None:
        return []
    lines = [f"console  {board.console}"] if board.console else []
    lines.append(f"Kafka    {board.kafka}")
    if board.metrics:
        lines.append(f"metrics  {board.metrics}")
    if board.newest:
        lines.append(f"why      {customer(board)}")
    lines.append("end      Ctrl-C")
    return [Text(line, style="dim", overflow="fold") for line in lines]


def customer(board: Board) -> str:
    """The command that explains a customer whose risk has risen."""
    return f"{program()} customer {board.example} --kafka {board.kafka}"


def program() -> str:
    """What to type for `cxstream` here: in an environment that is not activated, the path it was called by."""
    called = Path(sys.argv[0])
    found = shutil.which("cxstream")
    if called.name != "cxstream" or (found is not None and called.samefile(found)):
        return "cxstream"
    return str(called)


def table(lines: Iterable[Line]) -> Table:
    """Signals as a table that cuts nothing off."""
    found = Table(expand=True, show_edge=False, pad_edge=False)
    for heading, ratio in (
        ("time", None),
        ("customer", None),
        ("what", 3),
        ("why", 7),
        ("suggested action", 2),
    ):
        found.add_column(heading, ratio=ratio, no_wrap=ratio is None, overflow="fold")
    for line in lines:
        style = _COLOURS.get(line.level, "")
        # In words, which can be wrapped.
        action = line.action.replace("_", " ")
        found.add_row(line.time, line.subject, Text(line.what, style=style), line.why, action)
    return found
