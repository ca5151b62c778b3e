"""An event loop in which nothing happens by chance: time jumps, and a seeded generator picks who runs next.

    ready handles  --pick(seed)-->  run one  -->  more ready handles
    none ready     --> the time of the earliest timer

Every handle belongs to a process, the one whose code asked for it (a context variable says so). A process that
is paused has its handles kept, as SIGSTOP would; one that is dead never gets them back: no cancellation, no
`finally`, it just never runs again.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
from asyncio import events
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Coroutine


_THREAD_SECONDS = 0.01


class Process:
    """What lives and dies together.

    Attributes:
        name: for the trace.
        paused: its handles wait.
        dead: its handles are never run again.
        steps: how many of its handles have run.
        kept: its handles that were due since.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.paused = False
        self.dead = False
        self.steps = 0
        self.kept: list[Due] = []


class Due:
    """What a loop is to run: a handle of asyncio that costs a third, for it keeps no name, no traceback and no loop.

    Args:
        callback: what to call.
        args: with what.
        context: where; it says whose this is.
    """

    __slots__ = ("args", "callback", "cancelled", "context", "process")

    def __init__(
        self, callback: Callable[..., Any], args: tuple[Any, ...], context: contextvars.Context
    ) -> None:
        self.callback = callback
        self.args = args
        self.context = context
        self.process = context.get(_process, WORLD)
        self.cancelled = False

    def cancel(self) -> None:
        """Never run it."""
        self.cancelled = True
        # What has hold of this need not have hold of what it would have called.
        self.callback, self.args = _nothing, ()


def _nothing() -> None:
    pass


WORLD = Process("world")
_process: contextvars.ContextVar[Process] = contextvars.ContextVar("process", default=WORLD)


def current() -> Process:
    """The process whose code is running."""
    return _process.get()


class StuckError(AssertionError):
    """Nothing can ever happen any more, or far too much does."""


class Loop(asyncio.AbstractEventLoop):
    """Runs handles in an order that the generator decides; the time is that of the timers.

    Args:
        chance: decides.
        in_order: run the handles of one process in the order asyncio would; if not, in any.
    """

    def __init__(self, chance: random.Random, *, in_order: bool) -> None:
        self.before_step: Callable[[Process], None] | None = None
        self.errors: list[dict[str, Any]] = []
        self.steps = 0
        self._chance = chance
        self._in_order = in_order
        self._now = 0.0
        self._ready: list[Due] = []
        self._timers: list[tuple[float, int, Due]] = []
        self._count = 0
        self._tasks: list[tuple[asyncio.Task[Any], Process]] = []
        self._closed = False
        self._stopped = False

    # --- what asyncio asks of a loop

    def time(self) -> float:
        return self._now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return events._get_running_loop() is self

    def is_closed(self) -> bool:
        return self._closed

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Coroutine[Any, Any, Any], *, name: str | None = None, context: Any = None
    ) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.append((task, current() if context is None else context.get(_process, WORLD)))
        return task

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Any = None) -> Due:
        due = Due(callback, args, contextvars.copy_context() if context is None else context)
        if not self._closed:
            self._ready.append(due)
        return due

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any, context: Any = None) -> Due:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any, context: Any = None) -> Due:
        due = Due(callback, args, contextvars.copy_context() if context is None else context)
        if not self._closed:
            self._count += 1
            heapq.heappush(self._timers, (when, self._count, due))
        return due

    def run_in_executor(self, executor: None, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """No thread: the work is done at once, but some time later than it was asked for."""
        future = self.create_future()
        self.call_later(self._chance.expovariate(1 / _THREAD_SECONDS), _work, future, func, args)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.errors.append(context)

    # --- running

    def start(self, process: Process, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start the first task of a process; what it starts belongs to the process, too."""
        context = contextvars.copy_context()
        context.run(_process.set, process)
        return self.create_task(work, name=process.name, context=context)

    def resume(self, process: Process) -> None:
        """Let a paused process run again: all that waited for it is due."""
        process.paused = False
        kept, process.kept = process.kept, []
        self._ready += kept

    def run(self, *, steps: int) -> None:
        """Run until `stop`.

        Raises:
            StuckError: nothing is left to do, or it takes more steps than that.
        """
        events._set_running_loop(self)
        self._stopped = False
        try:
            while not self._stopped:
                if not self._ready:
                    self._let_time_pass()
                else:
                    self._step(self._picked())
                if self.steps >= steps:
                    raise StuckError(f"still busy after {steps} steps, at {self._now:.1f} s")
        finally:
            events._set_running_loop(None)

    def stop(self) -> None:
        """Run nothing more."""
        self._stopped = True

    def dispose(self) -> None:
        """End every task, the dead included, so that nothing of this loop is left for the garbage collector."""
        self.before_step = None
        for _, process in self._tasks:
            process.dead = False
            self.resume(process)
        events._set_running_loop(self)
        try:
            for _ in range(100):
                pending = [task for task, _ in self._tasks if not task.done()]
                if not pending:
                    break
                for task in pending:
                    task.cancel()
                while self._ready:
                    self._run(self._ready.pop(0))
        finally:
            events._set_running_loop(None)
            self._closed = True
        for task, _ in self._tasks:
            if task.done() and not task.cancelled():
                task.exception()
        self._tasks.clear()
        self._timers.clear()
        self._ready.clear()

    def _step(self, due: Due) -> None:
        if due.cancelled:
            return
        process = due.process
        if process is not WORLD and self.before_step is not None:
            self.before_step(process)
        if process.dead or process.paused:
            # What the dead leave is needed once more, to dispose of their tasks.
            process.kept.append(due)
            return
        self.steps += 1
        process.steps += 1
        self._run(due)

    def _run(self, due: Due) -> None:
        try:
            due.context.run(due.callback, *due.args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 - as asyncio does
            self.call_exception_handler({"message": f"Exception in {due.callback}", "exception": error})

    def _picked(self) -> Due:
        ready = self._ready
        if len(ready) == 1:
            return ready.pop()
        index = int(self._chance.random() * len(ready))
        if self._in_order:
            process = ready[index].process
            index = next(i for i, due in enumerate(ready) if due.process is process)
        return ready.pop(index)

    def _let_time_pass(self) -> None:
        timers = self._timers
        while timers and timers[0][2].cancelled:
            heapq.heappop(timers)
        if not timers:
            raise StuckError(f"nothing is ready and nothing will be, at {self._now:.1f} s")
        self._now = now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= now:
            self._ready.append(heapq.heappop(timers)[2])


def _work(future: asyncio.Future[Any], func: Callable[..., Any], args: tuple[Any, ...]) -> None:
    if future.cancelled():
        return
    try:
        future.set_result(func(*args))
    except Exception as error:  # noqa: BLE001 - whoever waits for it is to have it
        future.set_exception(error)
