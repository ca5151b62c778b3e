"""Requests between processes and the broker: slow, lost on the way there, lost on the way back, refused.

A request that has been sent is the network's: it arrives even if its sender has died meanwhile.
"""

from __future__ import annotations

import contextvars
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from aiokafka.errors import KafkaError, NodeNotReadyError, RequestTimedOutError, UnknownError

if TYPE_CHECKING:
    import asyncio
    import random
    from collections.abc import Callable

    from simulation.loop import Loop
    from simulation.trace import Trace

T = TypeVar("T")


@dataclass(slots=True)
class Weather:
    """How bad the network is.

    Attributes:
        latency: mean of the time one way takes, in seconds; it is never the same twice.
        lost: share of requests that never arrive.
        unanswered: share of requests that take effect, but whose answer never comes.
        refused: share of requests that Kafka refuses for good, for a reason of its own.
    """

    latency: float = 0.002
    lost: float = 0.0
    unanswered: float = 0.0
    refused: float = 0.0


class Network:
    """Carries requests; the seeded generator decides how.

    Attributes:
        weather: how bad it is now.
        down: nothing works any more; every request fails at once.
    """

    def __init__(self, loop: Loop, chance: random.Random, trace: Trace) -> None:
        self.weather = Weather()
        self.down = False
        self._loop = loop
        self._chance = chance
        self._trace = trace
        self._world = contextvars.Context()

    def happens(self, share: float) -> bool:
        """True as often as the share says."""
        return share > 0 and self._chance.random() < share

    def delay(self) -> float:
        """How long something takes."""
        return self._chance.expovariate(1.0) * self.weather.latency

    async def call(self, what: str, execute: Callable[[], T], *, patience: float = 10.0) -> T:
        """Have the broker execute something.

        Args:
            what: for the trace.
            execute: what the broker does, in no time.
            patience: how long to wait for an answer, in seconds.

        Raises:
            KafkaError: what the broker raised, or what befell the request; it may have taken effect.
        """
        if self.down:
            raise NodeNotReadyError
        answer: asyncio.Future[T] = self._loop.create_future()
        weather = self.weather
        if self.happens(weather.lost):
            self._fail(answer, what, "lost", patience)
        elif self.happens(weather.refused):
            self._later(self.delay(), _resolve, answer, UnknownError(f"{what} refused"), None)
            self._trace.add("refused", what)
        elif self.happens(weather.unanswered):
            self._later(self.delay(), self._executed, execute)
            self._fail(answer, what, "unanswered", patience)
        else:
            self._later(self.delay(), self._arrive, answer, execute)
        return await answer

    def _arrive(self, answer: asyncio.Future[T], execute: Callable[[], T]) -> None:
        self._later(self.delay(), _resolve, answer, *self._executed(execute))

    @staticmethod
    def _executed(execute: Callable[[], T]) -> tuple[KafkaError | None, T | None]:
        try:
            return None, execute()
        except KafkaError as error:
            return error, None

    def _fail(self, answer: asyncio.Future[T], what: str, how: str, patience: float) -> None:
        # Either the connection breaks, which is noticed, or nothing is heard until the time is up.
        self._trace.add(how, what)
        if self.happens(0.5):
            self._later(self.delay() * 2, _resolve, answer, NodeNotReadyError(), None)
        else:
            self._later(patience, _resolve, answer, RequestTimedOutError(), None)

    def _later(self, delay: float, callback: Callable[..., object], *args: object) -> None:
        self._loop.call_later(delay, callback, *args, context=self._world)


def _resolve(answer: asyncio.Future[T], error: BaseException | None, value: T) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(value)
    else:
        answer.set_exception(error)
