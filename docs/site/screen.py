"""Draws docs/images/demo.svg: the screen of `cxstream demo`, as an SVG.

Traffic, scoring and screen are those of the demo. Kafka and the worker process are left out, and the clock is
simulated: the same sources give the same picture.

python docs/site/screen.py [--check]
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

from cxstream.demo.board import Board
from cxstream.demo.view import Screen
from cxstream.model.outputs import read_signal
from cxstream.scoring.router import Router
from cxstream.settings import Settings
from cxstream.simulate.faults import Rates
from cxstream.simulate.stream import Plan, Simulation

PICTURE = Path(__file__).parents[1] / "images" / "demo.svg"
COMMAND = "python docs/site/screen.py"
START = 1_741_600_000_000  # 10 March 2025, ms UTC
PARTITIONS = 4
CUSTOMERS = 2_000
RECORDS = 40_000
RATE = 500.0
WIDTH, HEIGHT = 132, 30


class Clock:
    """Seconds, as the simulated traffic has them."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """The time now."""
        return self.now


def filled(board: Board, clock: Clock) -> None:
    """Score the demo's traffic, and show the board what the demo would show it."""
    settings = Settings()
    router = Router(settings.scoring, settings.actions, partitions=PARTITIONS)
    plan = Plan(CUSTOMERS, START, 1, events=RECORDS, rates=Rates(), trouble=2.0)
    for block in Simulation(plan).blocks():
        # A record from the future is one that is later than its arrival.
        outcome = router.process(block.values, int(block.arrival.max()))
        clock.now += len(block.values) / RATE
        board.sent += len(block.values)
        board.done += len(block.values)
        board.duplicates += outcome.duplicates
        board.rejected.update(one.reason for one in outcome.rejected)
        for emitted in outcome.signals:
            if b"cx.signal." in emitted.value:
                board.signal(read_signal(emitted.value))
        board.rates(clock.now)


def picture() -> str:
    """The screen as SVG, which loads nothing from anywhere."""
    clock, board = Clock(), Board(kafka="localhost:9092", metrics="http://127.0.0.1:9464/metrics")
    filled(board, clock)
    console = Console(
        record=True,
        width=WIDTH,
        height=HEIGHT,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
    )
    screen = Screen(board, console, clock)
    screen.note(f"{CUSTOMERS:,} customers: {RATE:,.0f} touchpoints a second")
    console.print(screen.render())
    # Rich has its font fetched from a CDN; the fonts that a computer has do as well.
    local = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace(
        "Fira Code, monospace", "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
    )
    svg = console.export_svg(title="cxstream demo", code_format=local, unique_id="demo")
    return "\n".join(line.rstrip() for line in svg.splitlines() if line.strip()) + "\n"


if __name__ == "__main__":
    made = picture()
    if sys.argv[1:] == ["--check"]:
        if PICTURE.read_text("utf-8") != made:
            sys.exit(f"{PICTURE} is not what the demo shows: {COMMAND}")
    else:
        PICTURE.write_text(made, "utf-8")
