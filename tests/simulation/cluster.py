"""Everything that a simulation consists of, put together: broker, group, workers, a source, and what befalls them."""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from cxstream.scoring.engine import MARKER_KEY
from cxstream.topology import FORGET, SNAPSHOTS, TOUCHPOINTS
from simulation.broker import Broker, Row
from simulation.group import Group
from simulation.histories import Asked, history, home, requests
from simulation.kafka import Kafka
from simulation.loop import WORLD, Loop, Process
from simulation.member import Worker
from simulation.network import Network
from simulation.scenario import GROUP
from simulation.trace import Trace

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from simulation.scenario import Scenario


class Request(NamedTuple):
    """A record of cx.forget, where it was written."""

    partition: int
    offset: int
    asked: Asked


class Cluster:
    """The simulated world.

    Attributes:
        living: processes that have not died and are not to close.
        everybody: every worker there ever was.
        requests: what was written to cx.forget, in order.
        ending: nobody starts any more.
    """

    def __init__(self, scenario: Scenario, chance: random.Random, *, in_order: bool) -> None:
        self.scenario = scenario
        self.loop = Loop(chance, in_order=in_order)
        self.trace = Trace(self.loop.time)
        self.broker = Broker(self.loop.time, self.trace)
        self.broker.on_decided = self._decided
        self.network = Network(self.loop, chance, self.trace)
        session = scenario.settings.worker.session_seconds
        self.group = Group(
            self.loop,
            chance,
            self.trace,
            partitions=scenario.partitions,
            session=session,
            rebalance=session * 1.3,
        )
        self.living: list[Process] = []
        self.everybody: dict[Process, Worker] = {}
        self.requests: list[Request] = []
        self.ending = False
        self._chance = chance
        self._world = contextvars.Context()

    def later(self, delay: float, callback: Callable[..., object], *args: object) -> None:
        """Have the world do something after a while."""
        self.loop.call_later(delay, callback, *args, context=self._world)

    # --- workers

    def start_worker(self) -> None:
        """One more, unless it is time to go home."""
        if self.ending:
            return
        process = Process(f"worker-{len(self.everybody)}")
        self.trace.add("starts", process.name)
        scenario = self.scenario
        kafka = self.kafka()
        worker = Worker(
            process.name,
            scenario.settings,
            broker=self.broker,
            network=self.network,
            group=self.group,
            kafka=kafka,
            chance=self._chance,
            trace=self.trace,
            feeding=scenario.feeding,
        )
        self.living.append(process)
        self.everybody[process] = worker
        self.loop.start(process, worker.live())

    def kafka(self) -> Kafka:
        """Clients for one process."""
        return Kafka(
            self.broker,
            self.network,
            self._chance,
            self.trace,
            group=GROUP,
            batch_bytes=self.scenario.batch_bytes,
            transaction_seconds=self.scenario.transaction_seconds,
            count=self.scenario.partitions,
        )

    def kill(self, process: Process) -> None:
        """Its tasks vanish."""
        if process is WORLD or process.dead:
            return
        self.trace.add("dies", process.name, f"step {process.steps}")
        process.dead = True
        if process in self.living:
            self.living.remove(process)

    def close(self, process: Process) -> None:
        """Stop it in good order."""
        self.trace.add("is to close", process.name)
        self.living.remove(process)
        self.everybody[process].close()

    @property
    def closing(self) -> bool:
        """Somebody is on his way out."""
        return any(not process.dead and not worker.closed for process, worker in self.everybody.items())

    # --- the world's own work

    async def run_source(self) -> None:
        """Write the histories a piece at a time."""
        scenario = self.scenario
        rows = {p: history(number)[: scenario.records] for p, number in enumerate(scenario.histories)}
        asked = {
            p: [*reversed(requests(number, p, scenario.partitions))]
            for p, number in enumerate(scenario.histories)
        }
        pace = scenario.turmoil_seconds * self._chance.choice((0.1, 0.8)) / max(1, scenario.records)
        written = dict.fromkeys(rows, 0)
        self.broker.claim("source", 3600.0)
        while rows:
            partition = self._chance.choice(list(rows))
            count = 1 + int(self._chance.random() ** 2 * 40)
            piece, rows[partition] = rows[partition][:count], rows[partition][count:]
            if not rows[partition]:
                del rows[partition]
            await self._write((TOUCHPOINTS.name, partition), piece)
            written[partition] += len(piece)
            while asked[partition] and asked[partition][-1].after <= written[partition]:
                await self._ask(asked[partition].pop())
            await asyncio.sleep(self._chance.random() * pace * len(piece) * 2)

    async def _ask(self, asked: Asked) -> None:
        """Write a request, mostly where its customer belongs."""
        partition, count = home(asked.row.key or b"", self.scenario.partitions), self.scenario.partitions
        if self._chance.random() < 0.2:
            partition = self._chance.randrange(count)
        tp = FORGET.name, partition
        await self._write(tp, [asked.row])
        offset = self.broker.log(tp).records[-1].offset
        self.requests.append(Request(partition, offset, asked))
        self.trace.add("asked in vain" if asked.refused else "asked to erase", f"{tp[0]}-{tp[1]}", offset)

    async def _write(self, tp: tuple[str, int], piece: list[Row]) -> None:
        broker = self.broker
        if self._chance.random() >= self.scenario.transactional_source:
            broker.append(tp, piece)
            return
        for commit in (self._chance.random() < 0.5, True):
            epoch = broker.identities["source"].epoch
            broker.add_partition("source", epoch, tp)
            broker.produce("source", epoch, tp, piece, broker.identities["source"].sequences.get(tp, 0))
            await asyncio.sleep(self._chance.random() * 0.5)
            broker.end("source", epoch, commit=commit)
            while "source" in broker.busy:  # noqa: ASYNC110 - the broker knows of no events
                await asyncio.sleep(0.02)
            if commit:
                return

    async def keep_time(self) -> None:
        """What Kafka does by the clock."""
        while True:
            await asyncio.sleep(0.5)
            self.broker.expire()
            self.group.look()

    def delete_saved(self, partition: int) -> None:
        """Delete source records that the committed saved state already has in it."""
        for record in reversed(self.broker.log((SNAPSHOTS.name, partition)).records):
            if record.key == MARKER_KEY and record.transaction is not None and record.transaction.committed:
                if record.value is not None and not record.transaction.unmarked:
                    offset = msgspec.json.decode(record.value)["offset"]
                    self.trace.add("deleted", f"{TOUCHPOINTS.name}-{partition}", f"before {offset}")
                    self.broker.delete_before((TOUCHPOINTS.name, partition), offset)
                return

    def _decided(self, name: str) -> None:
        self.later(self._marker_delay(), self._settle, name)

    def _settle(self, name: str) -> None:
        if self.broker.settle(name, int(self._chance.random() * 64)):
            self.later(self._marker_delay(), self._settle, name)

    def _marker_delay(self) -> float:
        return self._chance.expovariate(1.0) * self.scenario.marker_seconds
