"""Records to cx.touchpoints, keyed by customer, at a pace, and never before they have happened.

A worker rejects what lies more than minutes after the broker's clock. So a simulation that goes faster than
time begins in the past, and where it catches up with the present it goes on as fast as time does.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cxstream.kafka.producer import Sender, sending
from cxstream.model.parameters import DAY_MS, HOUR_MS
from cxstream.simulate.stream import RECORDS_PER_CUSTOMER_DAY, Block, Simulation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cxstream.settings import Settings
    from cxstream.simulate.rows import Floats, Ints

_ENDLESS_DAYS = 30
# Days are not all alike: a span that is guessed gets this much more.
_SPARE = 1.1


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast to send, at most.

    Attributes:
        rate: records a second; None: as fast as it goes.
        speed: seconds of event time a second; None: as fast as it goes.
        seconds: after how long to end; None: when there are no more records.
        history: days of event time to send first as fast as it goes; the pace and the seconds count from then.
    """

    rate: float | None = None
    speed: float | None = None
    seconds: float | None = None
    history: float = 0.0


def start_to_end_now(customers: int, days: float | None, events: int | None, pace: Pace) -> int:
    """Return the beginning, ms UTC, from which a simulation ends about now."""
    if days is not None:
        span = days * DAY_MS
    elif pace.speed is not None and pace.seconds is not None:
        span = pace.speed * pace.seconds * 1000
    elif events is not None or (pace.rate is not None and pace.seconds is not None):
        records = events if events is not None else (pace.rate or 0) * (pace.seconds or 0)
        span = records / (customers * RECORDS_PER_CUSTOMER_DAY) * DAY_MS * _SPARE + HOUR_MS
    else:
        span = _ENDLESS_DAYS * DAY_MS
    return round(time.time() * 1000 - span - pace.history * DAY_MS)


async def send(
    simulation: Simulation,
    settings: Settings,
    pace: Pace,
    stop: asyncio.Event,
    progress: Callable[[int], None],
    caught_up: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Send the records of the simulation until there are no more, time is over, or `stop` is set.

    When it returns, Kafka has confirmed exactly the records that the simulation's tally counts.

    Args:
        simulation: whose records to send.
        settings: where Kafka is.
        pace: how fast.
        stop: ends it in good order.
        progress: called with the number of records just sent.
        caught_up: waited for between the history and the rest.

    Raises:
        BrokerError: Kafka does not answer, or does not confirm.
        TopicError: cx.touchpoints is missing or differs from the contract.
    """
    async with sending(settings) as sender:
        feed = _Feed(simulation, sender, pace, stop, progress, caught_up)
        for block in simulation.blocks():
            await feed.block(block)
            if feed.over:
                return


class _Feed:
    def __init__(
        self,
        simulation: Simulation,
        sender: Sender,
        pace: Pace,
        stop: asyncio.Event,
        progress: Callable[[int], None],
        caught_up: Callable[[], Awaitable[None]] | None,
    ) -> None:
        self._simulation = simulation
        self._sender = sender
        self._pace = pace
        self._stop = stop
        self._progress = progress
        self._caught_up = caught_up
        self._keys = np.array(simulation.subjects, object)
        self._paced_from = simulation.plan.start + pace.history * DAY_MS
        self._begun: float | None = None if pace.history else _now()
        self._paced = 0

    async def block(self, block: Block) -> None:
        """Send a block as its records fall due; returns early when it is time to stop."""
        done = 0
        if self._begun is None:
            done = int(np.searchsorted(block.arrival, self._paced_from))
            await self._send_due(block, 0, block.arrival[:done].astype(np.float64))
            if done == len(block.values):
                return
            await self._sender.flush()
            if self._caught_up and not self.over:
                await self._caught_up()
            self._begun = _now()
        await self._send_due(block, done, self._due(block.arrival[done:], self._begun))

    def _due(self, arrival: Ints, begun: float) -> Floats:
        """Return when each of the next paced records may leave, ms since the epoch, in rising order."""
        due: Floats = arrival.astype(np.float64)
        if self._pace.rate is not None:
            due = np.maximum(due, begun + (self._paced + np.arange(len(due))) * 1000 / self._pace.rate)
        if self._pace.speed is not None:
            due = np.maximum(due, begun + (arrival - self._paced_from) / self._pace.speed)
        self._paced += len(due)
        return due

    async def _send_due(self, block: Block, start: int, due: Floats) -> None:
        done, end = start, start + len(due)
        while done < end and not self.over:
            upto = start + int(np.searchsorted(due, _now(), side="right"))
            if upto > done:
                await self._send(block, done, upto)
                done = upto
            if done < end:
                await self._sender.flush()
                await self._pause(due[done - start])

    @property
    def over(self) -> bool:
        """Whether it is time to stop."""
        return self._stop.is_set() or _now() >= self._end

    @property
    def _end(self) -> float:
        if self._begun is None or self._pace.seconds is None:
            return float("inf")
        return self._begun + self._pace.seconds * 1000

    async def _send(self, block: Block, start: int, end: int) -> None:
        part = block.rows[start:end]
        await self._sender.send(self._keys[part["cust"]].tolist(), block.values[start:end])
        self._simulation.tally.add(part)
        self._progress(end - start)

    async def _pause(self, until: float) -> None:
        until = min(until, self._end)
        with contextlib.suppress(TimeoutError):
            # A wait of some length lets records gather, so that a batch is more than one of them.
            await asyncio.wait_for(self._stop.wait(), max(0.02, (until - _now()) / 1000))


def _now() -> float:
    return time.time() * 1000
