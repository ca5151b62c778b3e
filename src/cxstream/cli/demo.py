"""`cxstream demo`: the whole system on this computer."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import click

from cxstream.cli.interrupts import BY_SIGNAL
from cxstream.cli.options import Number

if TYPE_CHECKING:
    from rich.console import Console

    from cxstream.demo.board import Board
    from cxstream.demo.run import Show
    from cxstream.demo.view import View
    from cxstream.local.broker import LocalKafka
    from cxstream.settings import Settings

_LAST = 8
_NEXT = (
    ("{program} replay examples/story.ndjson --out result", "score a file of yours, or this one"),
    ("{program} convert --help", "make touchpoints of what you have"),
    ("{program} broker", "the same step by step: docs/first-steps.md, 'Operate it'"),
    ("docs/scoring.md", "what the numbers mean"),
    ("{program} train churn --help", "make the risk the probability that your own customers leave"),
    ("docs/crm.md", "act on signals, and see what comes of it"),
    ("docs/README.md", "all pages, by reader"),
)


@click.command("demo")
@click.option(
    "--for",
    "seconds",
    type=Number(0, min_open=True),
    help="End after this many seconds of traffic. Default: with Ctrl-C.",
)
@click.option(
    "--customers",
    type=click.IntRange(1, 1_000_000),
    default=2_000,
    show_default=True,
    help="How many customers.",
)
@click.option(
    "--rate",
    type=Number(0, min_open=True),
    default=500.0,
    show_default=True,
    help="Touchpoints a second.",
)
@click.option(
    "--history",
    type=Number(0, 60),
    default=14.0,
    show_default=True,
    help="Days of the customers' lives to catch up with first, as fast as it goes.",
)
@click.option(
    "--console/--no-console",
    default=None,
    help="Run a warehouse and the console over it, too.  [default: if the extra 'console' is installed]",
)
@click.option(
    "--seed", type=click.IntRange(0), default=1, show_default=True, help="Another seed, other customers."
)
@click.pass_obj
def command(
    config: str | None,
    seconds: float | None,
    customers: int,
    rate: float,
    history: float,
    console: bool | None,
    seed: int,
) -> None:
    """Run a local Kafka, simulated traffic, a worker and the console, and show the signals as they come.

    On a terminal a live screen, elsewhere plain lines: one a signal, and now and then how things are. All of
    it is temporary and ends with the command. The first run fetches Kafka.

    By the default rules the churn risk is the probability to leave within 30 days: they are fitted to simulated customers,
    like these. 'cxstream train churn' fits them to yours.

    \b
    Example:
      cxstream demo
      cxstream demo --for 30 --rate 2000
    """  # noqa: D301
    from rich.console import Console

    from cxstream.demo import children
    from cxstream.demo.board import Board
    from cxstream.demo.run import Show
    from cxstream.demo.view import Plain, Screen
    from cxstream.settings import load

    with_console = _with_console(wanted=console)
    settings = load(config)
    # Its warnings while the cluster starts would disturb the screen; errors that matter are raised.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    board, terminal = Board(), Console()
    # A dumb terminal cannot move its cursor: it would show nothing.
    can_redraw = terminal.is_terminal and not terminal.is_dumb_terminal
    view: View = (Screen if can_redraw else Plain)(board, terminal)
    show = Show(customers, rate, seconds, history, seed, with_console)
    try:
        with view:
            view.note("starting Kafka ...")
            with children.kafka(settings, view.note) as broker:
                settings = settings.model_copy(
                    update={"kafka": broker.bootstrap, "security": type(settings.security)()}
                )
                interrupted: int = asyncio.run(_run(show, settings, config, broker, board, view))
    except KeyboardInterrupt:
        _summary(board, terminal)
        raise
    _summary(board, terminal)
    if interrupted:
        raise SystemExit(BY_SIGNAL + interrupted)


def _with_console(*, wanted: bool | None) -> bool:
    """Whether to run the console.

    Raises:
        InstallationError: it is wanted, and its packages are not there.
    """
    from cxstream.cli.options import require_console
    from cxstream.model.errors import InstallationError

    if wanted is False:
        return False
    try:
        require_console()
    except InstallationError:
        if wanted:
            raise
        return False
    return True


async def _run(
    show: Show, settings: Settings, config: str | None, broker: LocalKafka, board: Board, view: View
) -> int:
    """Run the demo; returns the number of the signal that ended it, 0 if none did."""
    from cxstream.demo.run import run
    from cxstream.simulate.stop import on_signals

    stop = asyncio.Event()
    asked = on_signals(stop)
    await run(show, settings, config, broker, board, view, stop)
    return asked[0] if asked else 0


def _summary(board: Board, console: Console) -> None:
    from cxstream.demo.view import program, table

    if console.is_terminal and board.newest:
        # The screen is gone; this text stays.
        console.print(table(list(board.newest)[:_LAST]))
        console.print()
    click.echo(
        f"{board.sent:,} touchpoints sent: {board.scored:,} scored, {sum(board.rejected.values()):,} rejected, "
        f"{board.duplicates:,} duplicates"
    )
    for title, counts in (("signals", board.signals), ("rejected", board.rejected)):
        parts = ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()))
        click.echo(f"{title}: {parts or 'none'}")
    if delay := board.delay():
        click.echo(
            f"from the log to the reader of a signal: {delay[0]:.2f} s (median), {delay[1]:.2f} s (95th percentile)"
        )
    steps = [(step.format(program=program()), what) for step, what in _NEXT]
    width = max(len(step) for step, _ in steps)
    click.echo("\nNext:")
    for step, what in steps:
        click.echo(f"  {step:{width}}  {what}")
