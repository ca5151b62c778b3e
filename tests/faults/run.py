"""One run: topics afresh, traffic, the fault, drain, stop, check."""

from __future__ import annotations

import asyncio
import random
import shutil
import time
import traceback
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from cxstream.kafka.admin import administration, ensure_topics
from cxstream.settings import Settings
from cxstream.topology import FORGET, TOPICS
from faults.errors import NotHereError
from faults.fleet import Fleet
from faults.traffic import Load, Traffic
from faults.verdict import Question, Verdict, judge
from faults.watcher import Watcher

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping
    from pathlib import Path

    from faults.clock import Clock
    from faults.cluster import Cluster
    from faults.links import Links
    from faults.reader import Record

PARTITIONS = 6
_GONE_SECONDS = 60.0
_FAULT_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault.

    Attributes:
        name: as the command line has it.
        what: in a line.
        act: makes the fault happen, while traffic flows.
        workers: slots whose workers run from the beginning.
        load: the traffic.
        options: of the workers, after `cxstream worker`.
        environment: of the worker in a slot.
        drain_seconds: how long it may take until everything is committed.
        small_disk: the third broker has a small disk.
        replayed: `cxstream replay` is asked too: not where the times of the log play a part.
        needs: raises NotHereError where it cannot be done.
        settings: other settings than the usual ones, by section, of workers and check; of a run with a seed.
        limits: the largest batch that a topic takes, in bytes, where that is another than the usual one.
    """

    name: str
    what: str
    act: Callable[[Run], Awaitable[None]]
    workers: tuple[int, ...] = (0, 1)
    load: Load = field(default_factory=Load)
    options: tuple[str, ...] = ("--no-ticker",)
    environment: Callable[[Run, int], dict[str, str]] | None = None
    drain_seconds: float = 120.0
    small_disk: bool = False
    replayed: bool = True
    needs: Callable[[], None] | None = None
    settings: Callable[[int], dict[str, dict[str, Any]]] | None = None
    limits: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Result:
    """What one run came to, as the report has it.

    Attributes:
        kind: its name.
        seed: gives the same run again.
        verdict: of the check; None: the run did not get so far.
        error: why it did not, or what else was wrong.
        gap: longest time without a new signal of some partition while traffic flowed, in seconds.
        recovery: longest time from the end of a fault until all partitions commit again, in seconds.
        deaths: workers that ended by themselves.
        peaks: the most memory that each worker has had, in bytes.
        steps: what was done, when (seconds from the first record).
        seconds: how long the run took.
        phases: how long each part of it took, in seconds.
        artefacts: where the logs and topics of a run that failed are.
        skipped: why it could not be done here.
    """

    kind: str
    seed: int
    verdict: Verdict | None = None
    error: str | None = None
    gap: float = 0.0
    recovery: float | None = None
    deaths: list[str] = field(default_factory=list)
    peaks: dict[str, int] = field(default_factory=dict)
    steps: list[tuple[float, str]] = field(default_factory=list)
    seconds: float = 0.0
    phases: dict[str, float] = field(default_factory=dict)
    artefacts: Path | None = None
    skipped: str | None = None

    @property
    def good(self) -> bool:
        """Everything is as promised."""
        return self.error is None and self.skipped is None and self.verdict is not None and self.verdict.good


class Run:
    """What a fault gets to work with.

    Attributes:
        kind: the kind of fault.
        seed: of all chance in this run.
        rng: the chance.
        cluster: the brokers.
        links: the workers' networks.
        settings: where Kafka is, past the proxy, and the group of the workers.
        fleet: the workers.
        traffic: what is sent.
        watcher: what is seen.
        kept: records that are deleted in this run after they were read, by partition; the check reads them here.
        clocks: those of workers that can be moved, by slot.
        beyond: records that lie beyond what a batch may inflate to, by partition: first and last offset.
        rejected_limit: the largest batch that cx.rejected has taken at every moment, in bytes; None for the usual one.
        folder: the run's own.
    """

    fleet: Fleet
    traffic: Traffic
    watcher: Watcher

    def __init__(self, kind: Kind, seed: int, cluster: Cluster, links: Links, folder: Path) -> None:
        self.kind = kind
        self.seed = seed
        self.rng = random.Random(f"{kind.name}-{seed}")
        self.cluster = cluster
        self.links = links
        self.folder = folder
        self.kept: dict[int, list[Record]] = {}
        self.clocks: dict[int, Clock] = {}
        self.beyond: dict[int, list[tuple[int, int]]] = {}
        self.rejected_limit: int | None = None
        self.result = Result(kind.name, seed)
        group = f"faults-{kind.name}-{seed}-{time.time_ns() // 1_000_000 % 10**8}"
        self._others = kind.settings(seed) if kind.settings else {}
        worker = {**self._others.get("worker", {}), "group": group}
        self.settings = Settings(kafka=cluster.bootstrap, **{**self._others, "worker": worker})
        self._over: list[float] = []
        self._stop = asyncio.Event()

    # --- for the faults

    async def moment(self, least: float, most: float) -> None:
        """Wait for a seeded time, in seconds."""
        await asyncio.sleep(self.rng.uniform(least, most))

    def note(self, what: str) -> None:
        """Write down what is done."""
        began = self.traffic.began or time.monotonic()
        self.result.steps.append((round(time.monotonic() - began, 2), what))

    def over(self, what: str) -> None:
        """Write down that a fault is over: recovery is counted from here."""
        self.note(what)
        self._over.append(time.monotonic())

    def change_group(self, group: str) -> None:
        """From now on workers of another group are started, and watched."""
        worker = self.settings.worker.model_copy(update={"group": group})
        self.settings = self.settings.model_copy(update={"worker": worker})
        self.watcher.group = self.fleet.group = group

    async def recovered(self, seconds: float = 90.0) -> None:
        """Wait until every partition has committed anew since the last fault was over, so that the next one hits."""
        since, deadline = self._over[-1], time.monotonic() + seconds
        while True:
            now = time.monotonic()
            with suppress(Exception):
                ends = await self.watcher.ends()
                if self.watcher.recovery(since, now, ends) is not None:
                    return
            if now > deadline:
                raise TimeoutError(f"not every partition commits again within {seconds:.0f} s of the fault")
            await asyncio.sleep(0.2)

    # --- the run

    async def go(self) -> Result:
        """Do it all; whatever goes wrong is in the result."""
        began = time.monotonic()
        try:
            if self.kind.needs:
                self.kind.needs()
            await self._go()
        except NotHereError as error:
            self.result.skipped = str(error)
        except Exception as error:  # noqa: BLE001 - a run that breaks is a run that failed, and the next one follows
            self._failed(error)
        self.result.seconds = time.monotonic() - began
        return self.result

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self.result.phases[name] = round(time.monotonic() - began, 1)

    async def _go(self) -> None:
        with self._phase("topics"):
            await _afresh(self.settings)
            for topic, limit in self.kind.limits.items():
                await self.limit(topic, limit)
        self.traffic = Traffic(self.settings, self.kind.load, self.seed, PARTITIONS, erases=self._erases)
        await self.traffic.prepare()
        async with AsyncExitStack() as stack:
            self.watcher = await stack.enter_async_context(Watcher(self.settings, PARTITIONS))
            self.fleet = await stack.enter_async_context(
                Fleet(
                    self.cluster.bootstrap_of,
                    self.settings.worker.group,
                    self.folder,
                    list(self.kind.options),
                    self._environment,
                )
            )
            self.result.deaths = self.fleet.deaths
            with self._phase("workers ready"):
                await self.fleet.start(*self.kind.workers)
            with self._phase("traffic and fault"):
                await self._traffic_and_fault()
            with self._phase("drain"):
                await self._drain()
            with self._phase("stop"):
                await self.fleet.stop(*self.fleet.workers)
            self._check_workers()
        with self._phase("check"):
            await self._check()

    @property
    def _erases(self) -> bool:
        # Requests to be erased and the second opinion exclude each other: the runs of a kind take turns.
        return self.seed % 2 == 1

    def _environment(self, slot: int) -> dict[str, str]:
        given = {
            f"CXSTREAM_{section}__{name}".upper(): str(value)
            for section, values in self._others.items()
            for name, value in values.items()
        }
        return given | (self.kind.environment(self, slot) if self.kind.environment else {})

    async def limit(self, topic: str, size: int) -> None:
        """Let a topic take batches of at most this many bytes."""
        [config] = [each.config for each in TOPICS if each.name == topic]
        config = {**config, "max.message.bytes": str(size)}
        async with administration(self.settings) as admin:
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, config)])

    def _check_workers(self) -> None:
        """Fail the run where a worker crashed, or had more memory than it may."""
        self.result.peaks = peaks = self.fleet.peaks
        if self.fleet.crashes:
            self._failed(AssertionError(f"ended by a signal: {'; '.join(self.fleet.crashes)}"))
        most = self.settings.worker.memory_mib
        if most is not None and (
            large := {name: peak >> 20 for name, peak in peaks.items() if peak >> 20 > most}
        ):
            self._failed(AssertionError(f"workers had more than worker.memory_mib, {most} MiB: {large}"))

    async def _traffic_and_fault(self) -> None:
        """Both at once; what goes wrong is noted, as the check says more about it than the error does."""
        sending = asyncio.create_task(self.traffic.run(self._stop))
        acting = asyncio.create_task(self._act())
        try:
            await asyncio.wait([sending, acting], return_when=asyncio.FIRST_EXCEPTION)
            if sending.done() and not acting.done():
                acting.cancel()
            # Where the fault failed the traffic still ends in good order, so that the check can say what came of it.
            await asyncio.wait([sending, acting])
            await asyncio.gather(sending, acting)
        except Exception as error:  # noqa: BLE001 - whatever it is, the run has failed and is checked all the same
            self._failed(error)
        finally:
            sending.cancel()
            acting.cancel()
            await asyncio.wait([sending, acting])

    def _failed(self, error: BaseException) -> None:
        said = f"{type(error).__name__}: {error}"
        self.result.error = f"{self.result.error}; {said}" if self.result.error else said
        with (self.folder / "error.txt").open("a") as file:
            file.writelines(traceback.format_exception(error))

    async def _act(self) -> None:
        await self.traffic.flows.wait()
        try:
            async with asyncio.timeout(_FAULT_SECONDS + self.kind.load.seconds):
                await self.kind.act(self)
        finally:
            self._stop.set()

    async def _drain(self) -> None:
        after = f"{self.kind.drain_seconds:.0f} s after the traffic"
        if not await self.watcher.all_requests_taken(self.kind.drain_seconds):
            self._failed(
                TimeoutError(f"{after} {FORGET.name} is committed up to {self.watcher.requested} alone")
            )
        ends = await self.watcher.last()
        if not await self.watcher.reached(ends, self.kind.drain_seconds):
            committed = dict(sorted(self.watcher.committed.items()))
            self._failed(TimeoutError(f"{after} partitions are committed up to {committed} of {ends}"))
        self.result.gap = self.watcher.longest_gap(self.traffic.began, self.traffic.ended)
        seen = [self.watcher.recovery(at, time.monotonic(), ends) for at in self._over]
        self.result.recovery = max((each for each in seen if each is not None), default=None)

    async def _check(self) -> None:
        await self.cluster.healthy()
        async with Watcher(self.settings, PARTITIONS) as watcher:
            committed = await watcher.first()
        self.result.verdict = await judge(
            Question(
                self.settings,
                PARTITIONS,
                committed,
                None if self.kept else self.traffic.sent,
                self.traffic.asked,
                self.kept,
                self.folder if self.kind.replayed and not self._erases else None,
                self.traffic.places,
                self.beyond,
                self.kind.limits,
                self.rejected_limit,
            )
        )
        (self.folder / "touchpoints.ndjson").unlink(missing_ok=True)
        shutil.rmtree(self.folder / "replayed", ignore_errors=True)


async def _afresh(settings: Settings) -> None:
    """Make the contract's topics anew, empty."""
    names = {topic.name for topic in TOPICS}
    deadline = time.monotonic() + _GONE_SECONDS
    async with administration(settings) as admin:
        while left := names & set(await admin.list_topics()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{', '.join(sorted(left))}: deleted, and still there")
            await admin.delete_topics(sorted(left))
            await asyncio.sleep(0.1)
    await ensure_topics(settings, PARTITIONS, 3)


def as_json(result: Result) -> dict[str, Any]:
    """A result as the report file has it."""
    verdict = result.verdict
    found: dict[str, Any] = {
        "kind": result.kind,
        "seed": result.seed,
        "good": result.good,
        "seconds": round(result.seconds, 1),
        "longest_gap_s": round(result.gap, 2),
        "recovery_s": None if result.recovery is None else round(result.recovery, 2),
        "steps": [{"at_s": at, "what": what} for at, what in result.steps],
        "phases_s": result.phases,
        "deaths": result.deaths,
        "peaks_mib": {name: peak >> 20 for name, peak in result.peaks.items()},
    }
    if verdict:
        found |= {
            "events": verdict.events,
            "ticks": verdict.ticks,
            "erased": verdict.erased,
            "signals": verdict.signals,
            "rejected": verdict.rejected,
            "lost": verdict.difference.lost,
            "repeated": verdict.difference.repeated,
            "wrong": verdict.difference.wrong,
            "cards_wrong": verdict.cards.lost + verdict.cards.wrong,
            "faults": verdict.faults,
            "examples": verdict.difference.examples + verdict.cards.examples,
        }
    optional = {
        "error": result.error,
        "skipped": result.skipped,
        "artefacts": None if result.artefacts is None else str(result.artefacts),
    }
    return found | {name: value for name, value in optional.items() if value is not None}
