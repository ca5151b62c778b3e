"""The demo from beginning to end."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cxstream.demo import children
from cxstream.demo.watch import Watch
from cxstream.kafka.admin import ensure_topics
from cxstream.model.errors import BrokerError, CxstreamError
from cxstream.simulate import topic
from cxstream.simulate.faults import Rates
from cxstream.simulate.stream import Plan, Simulation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cxstream.demo.board import Board
    from cxstream.demo.children import Pages, Worker
    from cxstream.demo.view import View
    from cxstream.local.broker import LocalKafka
    from cxstream.settings import Settings

PARTITIONS = 4
_REFRESH_SECONDS = 0.25
# The traffic is laid out to end now; without a given end it must not run out of past soon.
_ENDLESS_SECONDS = 1800.0
# The first start of a worker compiles its kernels before it scores anything.
_PATIENCE_SECONDS = 120.0
# Who presses Ctrl-C waits for the last results, but not for ever.
_LAST_SECONDS = 5.0
_TROUBLE = 2.0


@dataclass(frozen=True, slots=True)
class Show:
    """What to show.

    Attributes:
        customers: how many.
        rate: touchpoints a second.
        seconds: after how long to end, from the first touchpoint at this rate; None: when asked.
        history: days of the customers' lives that are sent first, as fast as it goes.
        seed: of all chance.
        console: whether to run the console over a warehouse, too.
    """

    customers: int
    rate: float
    seconds: float | None
    history: float
    seed: int
    console: bool


async def run(
    show: Show,
    settings: Settings,
    config: str | None,
    broker: LocalKafka,
    board: Board,
    view: View,
    stop: asyncio.Event,
) -> None:
    """Send, score and watch until it is time to stop.

    Args:
        show: what to show.
        settings: of the running local Kafka.
        config: settings file for the worker.
        broker: the local Kafka.
        board: takes what is seen.
        view: shows it.
        stop: ends it cleanly.

    Raises:
        BrokerError: Kafka or the worker broke down, or the worker does not keep up.
        TopicError: a topic cannot be created.
    """
    board.kafka = settings.kafka
    await ensure_topics(settings, PARTITIONS)
    with ExitStack() as stack:
        worker = stack.enter_context(children.worker(settings, config))
        pages = stack.enter_context(children.pages(settings, config)) if show.console else None
        watch = Watch(settings, board, view.tell, PARTITIONS)
        try:
            async with asyncio.TaskGroup() as tasks:
                background = [
                    tasks.create_task(watch.run()),
                    tasks.create_task(_keep_watch(broker, [each for each in (worker, pages) if each], view)),
                ]
                await _until(stop, worker.ready(view.note))
                board.metrics = worker.metrics
                if pages:
                    background.append(tasks.create_task(_open(pages, board, view)))
                if not stop.is_set():
                    await _send(show, settings, board, view, stop)
                    view.note("waiting for the last results ...")
                    await _scored(board, stop)
                    await asyncio.sleep(2 * _REFRESH_SECONDS)  # for the view to have the last signals
                    await watch.ask()
                for task in background:
                    task.cancel()
        except* CxstreamError as errors:
            raise _first(errors) from None
        view.note("stopping the worker and the console ..." if pages else "stopping the worker ...")


async def _send(show: Show, settings: Settings, board: Board, view: View, stop: asyncio.Event) -> None:
    pace = topic.Pace(show.rate, None, show.seconds or _ENDLESS_SECONDS, show.history)
    start = topic.start_to_end_now(show.customers, None, None, pace)
    paced = topic.Pace(show.rate, None, show.seconds, show.history)
    simulation = Simulation(Plan(show.customers, start, show.seed, rates=Rates(), trouble=_TROUBLE))
    days = f"{show.history:g} days of history, then " if show.history else ""
    view.note(f"{show.customers:,} customers: {days}{show.rate:,.0f} touchpoints a second")

    def sent(records: int) -> None:
        board.sent += records

    async def caught_up() -> None:
        await _scored(board, stop)
        board.history = board.sent

    await topic.send(simulation, settings, paced, stop, sent, caught_up)


async def _open(pages: Pages, board: Board, view: View) -> None:
    """Show where the console is, once it is there."""
    board.console = await pages.ready()
    view.note(f"console: {board.console}")


async def _keep_watch(broker: LocalKafka, running: Sequence[Worker | Pages], view: View) -> None:
    """Refresh the view, and end everything as soon as one of the children has ended."""
    while True:
        for each in running:
            each.check()
        if not broker.running:
            raise broker.failure()
        view.refresh()
        await asyncio.sleep(_REFRESH_SECONDS)


async def _scored(board: Board, stop: asyncio.Event) -> None:
    """Wait until all that was sent is scored; not much longer once it is time to stop.

    Raises:
        BrokerError: the worker scores nothing.
    """
    done, waited = board.done, 0.0
    while board.done < board.sent and not (stop.is_set() and waited >= _LAST_SECONDS):
        await asyncio.sleep(_REFRESH_SECONDS)
        waited = waited + _REFRESH_SECONDS if board.done == done else 0.0
        done = board.done
        if waited >= _PATIENCE_SECONDS:
            raise BrokerError(
                f"the worker has scored nothing for {_PATIENCE_SECONDS:.0f} s, and {board.sent - done:,} of "
                f"{board.sent:,} touchpoints wait for it: this computer is too busy, or too slow for the rate"
            )


async def _until(stop: asyncio.Event, waiting: object) -> None:
    """Wait for something, or until it is time to stop."""
    tasks = [asyncio.ensure_future(waiting), asyncio.ensure_future(stop.wait())]  # type: ignore[call-overload]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if tasks[0].done():
            tasks[0].result()
    finally:
        for task in tasks:
            task.cancel()


def _first(errors: BaseExceptionGroup[CxstreamError]) -> CxstreamError:
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
