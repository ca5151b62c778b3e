"""What goes wrong: deaths, pauses, rebalances, storms, compaction, at chosen times and in the middle of things."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from cxstream.topology import SNAPSHOTS
from simulation.loop import WORLD, Process
from simulation.network import Weather

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from simulation.cluster import Cluster

_STORM = Weather(latency=0.2, lost=0.2, unanswered=0.2, refused=0.1)


class Chaos:
    """Does it, until it is told to stop.

    Args:
        cluster: to whom.
        chance: what and when.
    """

    def __init__(self, cluster: Cluster, chance: random.Random) -> None:
        self._cluster = cluster
        self._chance = chance
        self._scenario = cluster.scenario
        self._left = self._steps()
        self._over = False
        self._sleepers: list[Process] = []

    async def rage(self) -> None:
        """For as long as the scenario says; then all is well."""
        cluster, scenario = self._cluster, self._scenario
        cluster.network.weather = replace(scenario.weather)
        cluster.loop.before_step = self._before_step
        end = cluster.loop.time() + scenario.turmoil_seconds
        while (left := end - cluster.loop.time()) > 0:
            mean = scenario.seconds_between_events
            await asyncio.sleep(min(left, self._chance.expovariate(1 / mean)) if mean else left)
            if mean and cluster.loop.time() < end:
                self._happen()
        self._calm()

    def _calm(self) -> None:
        cluster = self._cluster
        self._over = True
        cluster.loop.before_step = None
        cluster.network.weather = Weather()
        cluster.trace.add("calm")
        for process in self._sleepers:
            cluster.loop.resume(process)

    def _steps(self) -> int:
        mean = self._scenario.steps_between_faults
        return int(self._chance.expovariate(1 / mean)) + 1 if mean else -1

    def _before_step(self, process: Process) -> None:
        """Count the steps of the workers; some are not taken."""
        if self._left < 0:
            return
        self._left -= 1
        if self._left <= 0:
            self._left = self._steps()
            self._strike(process)

    def _strike(self, process: Process) -> None:
        if self._chance.random() < 0.5:
            self._cluster.kill(process)
            self._again()
        else:
            self._pause(process)

    def _happen(self) -> None:
        events: tuple[tuple[int, Callable[[], None]], ...] = (
            (2, self._kill_one),
            (3, self._pause_one),
            (3, self._close_one),
            (3, self._cluster.group.unsettle),
            (2, self._storm),
            (2, self._compact),
            (2, self._delete),
            (1, self._one_more),
        )
        self._chance.choices([event for _, event in events], [weight for weight, _ in events])[0]()

    def _kill_one(self) -> None:
        if process := self._anyone():
            self._cluster.kill(process)
            self._again()

    def _pause_one(self) -> None:
        if process := self._anyone():
            self._pause(process)

    def _close_one(self) -> None:
        if process := self._anyone():
            self._cluster.close(process)
            self._again()

    def _one_more(self) -> None:
        if len(self._cluster.living) < 4:
            self._cluster.start_worker()

    def _anyone(self) -> Process | None:
        living = [process for process in self._cluster.living if not process.paused]
        return self._chance.choice(living) if living else None

    def _pause(self, process: Process) -> None:
        if process is WORLD or process.paused:
            return
        session = self._scenario.settings.worker.session_seconds
        seconds = self._chance.choice((0.01, 0.5, session, session * 1.5, session * 2)) * (
            0.5 + self._chance.random()
        )
        self._cluster.trace.add("paused", process.name, round(seconds, 3))
        process.paused = True
        self._sleepers.append(process)
        self._later(seconds, self._resume, process)

    def _resume(self, process: Process) -> None:
        if process.paused:
            self._cluster.trace.add("resumed", process.name)
            self._cluster.loop.resume(process)

    def _again(self) -> None:
        self._later(self._chance.choice((0.01, 1.0, 12.0)), self._cluster.start_worker)

    def _storm(self) -> None:
        self._cluster.trace.add("storm")
        self._cluster.network.weather = replace(_STORM)
        self._later(self._chance.random() * 5, self._blow_over)

    def _blow_over(self) -> None:
        if not self._over:
            self._cluster.network.weather = replace(self._scenario.weather)

    def _compact(self) -> None:
        for partition in range(self._scenario.partitions):
            tp = SNAPSHOTS.name, partition
            stop = self._cluster.broker.log(tp).end
            self._cluster.broker.compact(tp, stop - int(self._chance.random() ** 2 * stop))

    def _delete(self) -> None:
        """Retention, which takes nothing that a saved state does not cover."""
        for partition in range(self._scenario.partitions):
            self._cluster.delete_saved(partition)

    def _later(self, delay: float, callback: Callable[..., object], *args: object) -> None:
        self._cluster.later(delay, callback, *args)
