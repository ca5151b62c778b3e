"""One seed, from its scenario to the verdict."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import structlog
from aiokafka.errors import KafkaError

from cxstream.worker import feed
from cxstream.worker.ownership import outbox
from simulation.chaos import Chaos
from simulation.checker import Checker
from simulation.cluster import Cluster
from simulation.loop import WORLD, StuckError
from simulation.poison import poison
from simulation.requests import ViolationError
from simulation.scenario import Scenario, draw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Far more than the longest takes; who needs more will never be done.
_STEPS = 400_000
_PATIENCE_SECONDS = 900.0


@dataclass(slots=True)
class Result:
    """What became of a seed.

    Attributes:
        seed: which.
        scenario: what it stands for.
        failure: why it failed; empty if it did not.
        digest: of everything that happened.
        trace: what happened, a line each; empty unless asked for or failed.
        counts: how often things happened that a simulation is for.
    """

    seed: int
    scenario: Scenario
    failure: str
    digest: str
    trace: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


def run(seed: int, *, keep_trace: bool = False, **worker: Any) -> Result:
    """Run a seed; the same seed does the same.

    Args:
        seed: which.
        keep_trace: tell what happened even if it did not fail.
        worker: settings of the workers that are not left to the seed.
    """
    chance = random.Random(seed)
    scenario = draw(chance)
    if worker:
        settings = scenario.settings
        settings = settings.model_copy(update={"worker": settings.worker.model_copy(update=worker)})
        scenario = replace(scenario, settings=settings)
    cluster = Cluster(scenario, chance, in_order=chance.random() < 0.5)
    simulation = _Simulation(cluster, chance)
    with (
        patch.object(feed, "CHUNK", scenario.chunk),
        patch.object(outbox, "WORTH_A_THREAD", 3),
        poison(),
        _logs_into(cluster, simulation.report),
        _no_collection(),
    ):
        failure = simulation.run()
        digest = cluster.trace.digest()
        trace = [*cluster.trace.lines()] if keep_trace or failure else []
        cluster.network.down = True
        cluster.loop.dispose()
    return Result(seed, scenario, failure, digest, trace, cluster.trace.counts())


class _Simulation:
    def __init__(self, cluster: Cluster, chance: random.Random) -> None:
        self.problems: list[str] = []
        self._cluster = cluster
        self._chaos = Chaos(cluster, chance)
        self._checker = Checker(cluster, self.report)

    def report(self, problem: str) -> None:
        """Something is wrong: it need not go on."""
        self.problems.append(problem)
        self._cluster.loop.stop()

    def run(self) -> str:
        """Why it failed, or nothing."""
        loop = self._cluster.loop
        story = loop.start(WORLD, self._tell())
        story.add_done_callback(lambda _: loop.stop())
        try:
            loop.run(steps=_STEPS)
        except StuckError as stuck:
            return f"{stuck}; {self._checker.lag()}"
        if self.problems:
            return self.problems[0]
        if (error := story.exception()) is not None:
            if not isinstance(error, ViolationError):
                raise error
            return str(error)
        return next((told for told in map(_told, loop.errors) if told), "")

    async def _tell(self) -> None:
        cluster, checker = self._cluster, self._checker
        keeping = asyncio.create_task(cluster.keep_time())
        source = asyncio.create_task(cluster.run_source())
        for _ in range(cluster.scenario.workers):
            cluster.start_worker()
        await self._chaos.rage()
        await source
        await self._patiently(checker.source_lag)
        checker.read_once()
        await self._patiently(checker.lag)
        cluster.ending = True
        for process in list(cluster.living):
            cluster.close(process)
        await self._patiently(lambda: "somebody does not close" if cluster.closing else "")
        await self._patiently(lambda: f"{cluster.broker.busy} have no end" if cluster.broker.busy else "")
        checker.check()
        await checker.check_saved_state()
        keeping.cancel()

    async def _patiently(self, lag: Any) -> None:
        """Wait until nothing is left to come."""
        loop = self._cluster.loop
        end = loop.time() + _PATIENCE_SECONDS
        while left := lag():
            if loop.time() > end:
                raise ViolationError(f"left alone for {_PATIENCE_SECONDS:.0f} s, and {left}")
            if not self._cluster.living and not self._cluster.closing:
                self._cluster.start_worker()
            await asyncio.sleep(0.5)


def _told(context: dict[str, Any]) -> str:
    error = context.get("exception")
    if error is None or isinstance(error, (KafkaError, asyncio.CancelledError)):
        return ""
    return f"{context['message']}: {error!r}"


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """A run leaves few cycles behind, and to look for them all the time takes 7 % of it."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextlib.contextmanager
def _logs_into(cluster: Cluster, report: Callable[[str], None]) -> Iterator[None]:
    """What the workers log goes into the trace; an exception that nobody expected is a problem."""

    def take(_logger: object, level: str, event: dict[str, Any]) -> dict[str, Any]:
        if event.pop("exc_info", None):
            report(f"{event['event']}: {event.get('error')}")
        # How long something took on this computer is not part of what happened.
        facts = [f"{name}={value}" for name, value in event.items() if name != "event"]
        cluster.trace.add(f"[{level}] {event['event']}", *facts)
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[take], cache_logger_on_first_use=False)
    try:
        yield
    finally:
        structlog.configure(**before)
