"""Ctrl-C and SIGTERM end a command in the same way: it cleans up, and ends with 128 + the number of the signal.

    every command           `interruptible`   SIGTERM does what Ctrl-C does: it raises, or cancels what asyncio runs
    what writes files       `Interrupts`      ... and a second signal does not break into the cleaning up
    what ends in good order                   handlers of its own (asyncio's): the worker, a follower, the demo

`interruptible` gives the exit status to what others let pass.
"""

from __future__ import annotations

import functools
import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

F = TypeVar("F", bound="Callable[..., Any]")

BY_SIGNAL = 128
"""What shells add to the number of a signal."""


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Have SIGTERM do what Ctrl-C does, and make an exit status of both.

    Raises:
        SystemExit: one has come.
    """
    terminated = False

    def arrived(_: int, frame: FrameType | None) -> None:
        nonlocal terminated
        terminated = True
        interrupt = signal.getsignal(signal.SIGINT)
        # A shell lets what runs in the background ignore Ctrl-C.
        if not callable(interrupt):
            raise Terminated
        # asyncio's cancels what it runs.
        interrupt(signal.SIGINT, frame)

    # Only the main thread gets signals, and only it may say what they do.
    alone = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, arrived) if alone else None
    try:
        yield
    except (KeyboardInterrupt, click.Abort) as error:
        terminated = terminated or isinstance(error, Terminated)
        raise SystemExit(BY_SIGNAL + (signal.SIGTERM if terminated else signal.SIGINT)) from None
    finally:
        if alone and not terminated:
            signal.signal(signal.SIGTERM, before)


def whole(function: F) -> F:
    """A command that leaves all of what it writes, or nothing of it, when it is interrupted."""

    @functools.wraps(function)
    def within(*args: Any, **options: Any) -> Any:
        with Interrupts():
            return function(*args, **options)

    wrapped: Any = within
    result: F = wrapped
    return result


class Interrupts:
    """Ctrl-C and SIGTERM interrupt, but never what is done after an exception: nothing breaks into the cleaning up.

    A context manager. After an interrupt it stays so until the process ends; otherwise everything is as before.
    """

    def __init__(self) -> None:
        self._first: int | None = None
        self._ignored = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                # A shell lets what runs in the background ignore Ctrl-C.
                if number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._arrived)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if self._first is None:
            for number, before in self._before.items():
                signal.signal(number, before)
        elif isinstance(error, Exception):
            # A library has made another error of it, as DuckDB does.
            raise self._interrupt() from error

    def _arrived(self, number: int, _: object) -> None:
        if self._ignored:
            return
        self._first = self._first or number
        # Python drops an interrupt that comes in a library's callback: the next one counts, too.
        if sys.exc_info()[1] is None:
            raise self._interrupt()

    def _interrupt(self) -> KeyboardInterrupt:
        return Terminated() if self._first == signal.SIGTERM else KeyboardInterrupt()

    def check(self) -> None:
        """Interrupt if a signal has come and a library has dropped the exception."""
        if self._first is not None:
            raise self._interrupt()

    def ignore(self) -> None:
        """From now on it is too late for an interrupt."""
        self._ignored = True
        self.check()
