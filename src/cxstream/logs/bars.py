"""Progress bars for somebody who watches."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn


def bar(*columns: ProgressColumn, console: Console | None = None, quiet: bool = False) -> Progress:
    """A bar on standard error that is gone at its end; where that is no terminal, nothing at all is written.

    Args:
        columns: of the bar; Rich's if there are none.
        console: in the place of standard error.
        quiet: write nothing to a terminal either.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = console or Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=quiet or not is_watched(console))


def is_watched(console: Console) -> bool:
    """Whether what moves can be shown: FORCE_COLOR, which Rich takes for a terminal, asks for colours, not for bars in a file."""
    # A dumb terminal cannot move its cursor: Rich would write an empty line.
    return console.file.isatty() and not console.is_dumb_terminal
