"""Ctrl-C and SIGTERM as a wish to end in good order."""

from __future__ import annotations

import asyncio
import signal


def on_signals(stop: asyncio.Event) -> list[int]:
    """Set `stop` at the first SIGINT or SIGTERM; the next one ends the process at once.

    Returns:
        An empty list that takes the number of the signal.
    """
    loop = asyncio.get_running_loop()
    asked: list[int] = []

    def ask(number: int) -> None:
        asked.append(number)
        stop.set()
        loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ask, number)
    return asked
